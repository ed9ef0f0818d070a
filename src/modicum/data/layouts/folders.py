"""Reads folders of images: one folder per class, with or without train, val and test; or just images."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from modicum.data.image import ImageRef
from modicum.data.layouts.columns import split_of
from modicum.data.layouts.unread_files import unread_notes
from modicum.data.manifest import Manifest, text_column
from modicum.errors import InputError

# A folder with this name contains the images and is not a class.
_IMAGE_FOLDERS = {"images", "image", "imgs", "img"}
Entry = tuple[str, str | None, str | None]
"""Reference, label and split of an image."""
_IGNORED = {"__MACOSX", "__pycache__"}


def read_folder(folder: Path) -> Manifest:
    """Reads a folder of images as a manifest.

    Sub-folders named train, val, test (or training, valid, validation, testing) are splits; other
    sub-folders with images are classes; a sub-folder ``images`` contains the images and is not a class. Images at any
    depth below a class folder belong to it. Hidden files and ``__MACOSX`` are ignored. The order is
    natural: ``2.png`` before ``10.png``.

    Raises:
        InputError: there are no images.
    """
    entries, notes = _entries(folder, folder, None)
    if not entries:
        unread = unread_notes(folder)
        raise InputError(
            f"folder '{folder.name}' contains no images" + "".join(f"; {note}" for note in unread[:3]),
            "pass a folder of images, or a table",
        )
    entries.sort(key=lambda entry: natural_key(entry[0]))
    table = pd.DataFrame({"image": [image for image, _, _ in entries]})
    labels, splits = [label for _, label, _ in entries], [split for _, _, split in entries]
    if any(labels):
        table["label"] = text_column(labels)
    if any(splits):
        table["split"] = text_column(splits)
    return Manifest(table, folder.absolute(), source=folder.name, name=folder.absolute().name, notes=notes)


def images_manifest(images: Sequence[Path | str]) -> Manifest:
    """A manifest of single images: paths, or references (``a.dcm#frame=3``) as text.

    Raises:
        InputError: there are none.
    """
    if not images:
        raise InputError("no images given", "pass image files or a folder")
    here = Path.cwd()
    refs = [ImageRef(here / i) if isinstance(i, Path) else ImageRef.parse(i, here) for i in images]
    paths = [Path(os.path.normpath(ref.path)) for ref in refs]
    root = Path(os.path.commonpath([path.parent for path in paths]))
    texts = [
        str(replace(ref, path=path.relative_to(root), root=None))
        for ref, path in zip(refs, paths, strict=True)
    ]
    source = refs[0].path.name if len(refs) == 1 else f"{len(refs)} images"
    return Manifest(pd.DataFrame({"image": texts}), root, source=source, name=root.name)


def holds_images(folder: Path) -> bool:
    """Whether there is an image anywhere below a folder."""
    return bool(_entries(folder, folder, None)[0])


def natural_key(text: str) -> list[tuple[int, int | str]]:
    """A key that sorts numbers inside names by value."""
    return [(0, int(word)) if word.isdecimal() else (1, word) for word in re.split(r"(\d+)", text) if word]


def _entries(folder: Path, root: Path, split: str | None) -> tuple[list[Entry], list[str]]:
    """The images in a folder of classes (or of splits), and notes."""
    images, folders = list_folder(folder)
    plain: list[Entry] = [(reference_below(path, root), None, split) for path in images]
    splits = [] if split else [path for path in folders if split_of(path.name)]
    if splits:
        entries: list[Entry] = []
        notes: list[str] = []
        for path in splits:
            more, more_notes = _entries(path, root, split_of(path.name))
            entries += more
            notes += more_notes
        left_out = len(plain) + sum(bool(images_below(path)) for path in folders if path not in splits)
        if left_out:
            notes.append(
                f"'{folder.name}' has {', '.join(p.name for p in splits)}; everything else in it is left out"
            )
        return entries, notes
    held = [path for path in folders if path.name.lower() in _IMAGE_FOLDERS]
    if held:
        inside: list[Entry] = [(reference_below(path, root), None, split) for path in images_below(held[0])]
        ignored = [path.name for path in folders if path != held[0]]
        notes = [f"images are those in '{held[0].name}/'; left out: {', '.join(ignored)}"] if ignored else []
        return plain + inside, notes
    labelled: list[Entry] = [
        (reference_below(path, root), name.name, split) for name in folders for path in images_below(name)
    ]
    notes = [f"{len(plain)} images of '{folder.name}' are in no class folder"] if plain and labelled else []
    return plain + labelled, notes


def list_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """Image files and sub-folders of a folder, without hidden ones and leftovers of archives."""
    from modicum.data.readers import is_image_file

    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(
            f"folder '{folder}' cannot be read ({error.strerror})", "check its permissions"
        ) from None
    seen = [entry for entry in entries if not entry.name.startswith(".") and entry.name not in _IGNORED]
    folders = [Path(entry.path) for entry in seen if entry.is_dir() and not is_output(Path(entry.path))]
    # An array file is a data set, not an image.
    images = [
        path
        for path in (Path(entry.path) for entry in seen if entry.is_file())
        if path.suffix.lower() != ".npz" and is_image_file(path)
    ]
    return images, folders


def is_output(folder: Path) -> bool:
    """Whether a folder among the images is a run, a comparison or predicted pictures, which are no data."""
    made_of = ({"recipe.yaml", "status.json"}, {"compare.yaml"}, {"predictions.json", "predictions.csv"})
    return any(all((folder / name).is_file() for name in names) for names in made_of)


def images_below(folder: Path, above: tuple[str, ...] = ()) -> list[Path]:
    """All image files below a folder; links to a folder above are not followed."""
    real = os.path.realpath(folder)
    if real in above:
        return []
    images, folders = list_folder(folder)
    return images + [path for inner in folders for path in images_below(inner, (*above, real))]


def reference_below(path: Path, root: Path) -> str:
    """The reference of a file below a root, for a manifest.

    Raises:
        InputError: its name is not valid UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        readable = os.fsencode(path.name).decode(errors="replace")
        raise InputError(f"file name '{readable}' is not valid UTF-8", "rename the file") from None
    return str(ImageRef(path.relative_to(root)))
