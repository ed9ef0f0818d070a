"""Which row of a manifest a file of boxes means."""

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from modicum.data.boxes.box_file import BoxFile
from modicum.data.boxes.boxes import count_of_boxes
from modicum.data.boxes.options import BoxOptions
from modicum.data.manifest import Manifest, split_reference
from modicum.data.readers.content import SUFFIX_FORMATS
from modicum.errors import InputError
from modicum.wording import count_of, listed


class ImageIndex:
    """Rows of a manifest by path, name, and name without ending."""

    def __init__(self, manifest: Manifest) -> None:
        self._texts = [str(text) for text in manifest.table["image"]]
        self._parts = [_parts(text) for text in self._texts]
        self._roots = [PurePosixPath(manifest.root.absolute()), PurePosixPath(manifest.root.resolve())]
        self._by_text = _grouped(self._texts)
        self._by_name = _grouped(names[-1] for names, _ in self._parts)
        self._by_stem = _grouped(_stem(names[-1]) for names, _ in self._parts)

    def rows(self, image: str) -> list[int]:
        """The rows that an image of a file of boxes can be; the first of these ways that finds any counts.

        The same path; a path that ends like the other; such a path without ending; the same name; the same name without
        ending.
        """
        image = self._relative(image.replace("\\", "/"))
        if image in self._by_text:
            return self._by_text[image]
        names, part = _parts(image)
        for stem, by_name in ((False, self._by_name), (True, self._by_stem)):
            name = _stem(names[-1]) if stem else names[-1]
            rows = [row for row in by_name.get(name, ()) if part in ("", self._parts[row][1])]
            paths = [row for row in rows if _ends_alike(names, self._parts[row][0])]
            if paths or rows:
                return self._deepest(names, paths) if paths else rows
        return []

    def _relative(self, image: str) -> str:
        path = PurePosixPath(image)
        for root in self._roots:
            if path.is_absolute() and path.is_relative_to(root):
                return path.relative_to(root).as_posix()
        return path.as_posix()

    def _deepest(self, names: tuple[str, ...], rows: list[int]) -> list[int]:
        """Of paths that end alike, those that have the most folders in common with it."""
        common = [min(len(names), len(self._parts[row][0])) for row in rows]
        return [row for row, count in zip(rows, common, strict=True) if count == max(common)]


def matched_rows(
    box_file: BoxFile, manifest: Manifest, options: BoxOptions
) -> tuple[dict[int, str], list[str]]:
    """For rows of a manifest, what the file of boxes calls their image; and notes.

    An image without boxes may be missing in the manifest: nothing is lost then.

    Raises:
        InputError: an image has no row (unless ``unmatched`` is ``drop``), could be several, or two are of one row.
    """
    index = ImageIndex(manifest)
    image_of: dict[int, str] = {}
    missing: list[str] = []
    for image, boxes in box_file.images.items():
        rows = index.rows(image)
        if len(rows) > 1:
            texts = listed((f"'{manifest.table['image'].iloc[row]}'" for row in rows), 2)
            raise InputError(
                f"{box_file.place(image)}: '{image}' can be {count_of(len(rows), 'image')} of {manifest.source} "
                f"({texts})",
                "write the path of the one that is meant",
            )
        if not rows:
            missing += [image] if len(boxes) else []
            continue
        if rows[0] in image_of:
            raise InputError(
                f"{box_file.name}: '{image_of[rows[0]]}' and '{image}' are both the image "
                f"'{manifest.table['image'].iloc[rows[0]]}' of {manifest.source}",
                "keep one of them, or write the path of the one that is meant",
            )
        image_of[rows[0]] = image
    if missing and (options.unmatched == "refuse" or not image_of):
        more = f" (and {count_of(len(missing) - 1, 'other image')})" if len(missing) > 1 else ""
        raise InputError(
            f"{box_file.place(missing[0])}: no image of {manifest.source} is '{missing[0]}'{more}",
            "write names as the data have them, or leave such images out with --box-options unmatched=drop",
        )
    if not missing:
        return image_of, []
    lost = sum(len(box_file.images[image]) for image in missing)
    return image_of, [
        f"{box_file.name}: left out: {count_of_boxes(lost)} of {count_of(len(missing), 'image')} "
        "that the data do not have"
    ]


def _grouped(names: Iterable[str]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    return rows


def _parts(text: str) -> tuple[tuple[str, ...], str]:
    """Folders and name of a reference, and its fragment."""
    file, fragment = split_reference(text)
    return PurePosixPath(file).parts or ("",), fragment


def _stem(name: str) -> str:
    lower = name.lower()
    ending = next((suffix for suffix in SUFFIX_FORMATS if lower.endswith(suffix)), "")
    return name[: len(name) - len(ending)] if ending else name


def _ends_alike(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether the folders of the shorter path are the last ones of the longer."""
    pairs: Iterator[tuple[str, str]] = zip(one[-2::-1], other[-2::-1], strict=False)
    return all(first == second for first, second in pairs)
