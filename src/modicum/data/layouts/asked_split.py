"""The rows that ``--split`` asks for."""

from modicum.data.layouts.columns import split_of
from modicum.data.manifest import OTHER_SPLIT, Manifest
from modicum.errors import InputError


def rows_of_split(manifest: Manifest, split: str | None) -> tuple[Manifest, str | None]:
    """The rows of a split, and its name; all rows and None where ``split`` is None, empty or ``all``.

    Raises:
        InputError: there is no such split.
    """
    if split in {None, "", "all"}:
        return manifest, None
    assert split is not None
    table = manifest.table
    # Words that are none of the known splits can be asked for by name.
    columns = [name for name in ("split", OTHER_SPLIT) if name in table]
    splits = splits_of(manifest)
    if split not in splits:
        split = split_of(split) or split
    if split not in splits:
        there = ", ".join(sorted(splits)) or "none"
        raise InputError(
            f"{manifest.source}: there is no split '{split}'", f"splits: {there}; or pass --split all"
        )
    return manifest.subset((table[columns] == split).any(axis=1).to_numpy(dtype=bool)), split


def splits_of(manifest: Manifest) -> set[str]:
    """All words for splits in a manifest."""
    columns = [name for name in ("split", OTHER_SPLIT) if name in manifest.table]
    return {word for name in columns for word in manifest.table[name].dropna()}
