"""Test protocols of a comparison: the data's own split, or every domain in turn."""

import re

from modicum.data.held_out import check_truth, domains_of
from modicum.data.manifest import Manifest
from modicum.errors import InputError, did_you_mean
from modicum.tasks import DenseTask, task_class

LEAVE_ONE_DOMAIN_OUT = "leave-one-domain-out"
PROTOCOLS = ("split", LEAVE_ONE_DOMAIN_OUT)


def check_protocol(name: str) -> None:
    """Raises :class:`~modicum.errors.InputError` for an unknown protocol."""
    if name not in PROTOCOLS:
        raise InputError(f"unknown protocol '{name}'", did_you_mean(name, PROTOCOLS))


def folds_of(protocol: str, manifest: Manifest, task: str) -> tuple[str, ...]:
    """The domains that are held out in turn; none with the data's own split.

    Raises:
        InputError: the data have fewer than two domains, two domains would share a folder, or a domain cannot be
            tested on.
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
                f"domain '{domain}' and another one would both be named '{word}' in run folders",
                "rename one of them in the table",
            )
    return tuple(domains)


def fold_word(domain: str) -> str:
    """A domain as part of a run's name."""
    return re.sub(r"[^\w.+,=-]+", "_", domain)
