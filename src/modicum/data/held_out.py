"""Holds out one domain for testing, to evaluate on an unseen camera or centre."""

import numpy as np

from modicum.data.manifest import Manifest, class_order, path_columns
from modicum.errors import InputError, did_you_mean
from modicum.wording import count_of, listed


def domains_of(manifest: Manifest) -> list[str]:
    """The domains of a manifest, in the order of :func:`~modicum.data.manifest.class_order`.

    Raises:
        InputError: there is no column ``domain``, a row has none, or all have the same.
    """
    if "domain" not in manifest.table:
        columns = ", ".join(str(name) for name in manifest.table.columns)
        raise InputError(
            f"{manifest.source}: no column 'domain' (columns: {columns})",
            "add a column with each image's camera or centre, or pass its name with --domain COLUMN",
        )
    column = manifest.table["domain"]
    for row in np.flatnonzero(column.isna())[:1]:
        raise InputError(
            f"{manifest.describe_row(int(row))}: domain is blank", "fill in the cell or delete the row"
        )
    domains = class_order(column)
    if len(domains) < 2:
        raise InputError(
            f"{manifest.source}: all images are of domain '{domains[0]}', and at least two domains are needed",
            "add images of another domain",
        )
    return domains


def hold_out(manifest: Manifest, domain: str) -> Manifest:
    """Sets the split so that ``test`` is one domain and ``train`` are all others.

    An existing split is ignored. A validation split is drawn from training later, by
    :func:`~modicum.data.splits.carve_validation`.

    Raises:
        InputError: an unknown domain, or a patient of it is in another one too; see also :func:`domains_of`.
    """
    domains = domains_of(manifest)
    if domain not in domains:
        raise InputError(f"{manifest.source}: no domain '{domain}'", did_you_mean(domain, domains))
    held = (manifest.table["domain"] == domain).to_numpy(dtype=bool)
    _refuse_shared(manifest, held, domain)
    had_split = "split" in manifest.table and manifest.table["split"].notna().any()
    other_domains = listed([name for name in domains if name != domain])
    notes = [
        f"held out for the test: domain {domain} ({count_of(int(held.sum()), 'image')}); learned: {other_domains}"
    ]
    if had_split:
        notes.append("the data's own split is ignored, because a domain is held out")
    return manifest.with_columns(notes, split=np.where(held, "test", "train").astype(object))


def check_truth(manifest: Manifest) -> None:
    """Checks that every domain can be tested on. Raises :class:`InputError` for one without masks (or targets)."""
    named = [name for name in path_columns(manifest.table) if name not in {"image", "fov", "saliency"}]
    if not named:
        return  # the task reports missing columns
    seen = manifest.table[named].notna().any(axis=1)
    for domain in domains_of(manifest):
        if not seen[manifest.table["domain"] == domain].any():
            raise InputError(
                f"{manifest.source}: no image of domain '{domain}' has a {named[0].partition(':')[0]}",
                "add them, or leave the domain's rows out",
            )


def _refuse_shared(manifest: Manifest, held: np.ndarray, domain: str) -> None:
    patients = np.array(manifest.patients(), dtype=object)
    shared = sorted(set(patients[held]) & set(patients[~held]))
    if shared:
        raise InputError(
            f"{manifest.source}: {count_of(len(shared), 'patient')} of domain '{domain}' also seen in "
            f"other domains ({listed(name.partition(':')[2] for name in shared)})",
            "remove their rows from one of the domains: test patients must not be in training",
        )
