"""How a comparison tests: on the data's own split, or on every domain in turn."""

import re

from modicum.data.held_out import check_truth, domains_of
from modicum.data.manifest import Manifest
from modicum.errors import InputError, did_you_mean
from modicum.tasks import DenseTask, task_class

LEAVE_ONE_DOMAIN_OUT = "leave-one-domain-out"
PROTOCOLS = ("split", LEAVE_ONE_DOMAIN_OUT)


def check_protocol(name: str) -> None:
    """Raises :class:`~modicum.errors.InputError` for an unknown one."""
    if name not in PROTOCOLS:
        raise InputError(f"unknown protocol '{name}'", did_you_mean(name, PROTOCOLS))


def folds_of(protocol: str, manifest: Manifest, task: str) -> tuple[str, ...]:
    """The domains that are held out in turn; none where the data's own split is tested on.

    Raises:
        InputError: the data have no two domains, two domains would have one folder, or a domain has nothing to be
            tested by.
    """
    if protocol != LEAVE_ONE_DOMAIN_OUT:
        return ()
    domains = domains_of(manifest)
    if issubclass(task_class(task), DenseTask):
        check_truth(manifest)
    words = [fold_word(domain) for domain in domains]
    for domain, word in zip(domains, words, strict=True):
        if words.count(word) > 1:
            raise InputError(
                f"domain '{domain}' and another one would both be called '{word}' in names of runs",
                "rename one of them in the table",
            )
    return tuple(domains)


def fold_word(domain: str) -> str:
    """A domain as a part of a run's name."""
    return re.sub(r"[^\w.+,=-]+", "_", domain)
