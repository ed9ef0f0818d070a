"""Fields of view in prediction: a run that learned inside them alone says nothing outside.

The field of an image is the one that its table names, or is found in the image, if the finder gave the fields that the
run was trained with (:func:`found_as_given`).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool

from modicum.data.beside_slices import beside_slice, without_slice
from modicum.data.field_of_view import field_of_view
from modicum.data.image import ImageRef, MedicalImage
from modicum.data.layouts.given_images import fields_given
from modicum.data.manifest import Manifest
from modicum.data.mask_codes import codes_of
from modicum.data.plane import misplaced
from modicum.data.readers import read_image
from modicum.engine.inputs.preparation import PreparedData
from modicum.errors import BrokenImageError
from modicum.tasks import DenseTask, Task
from modicum.wording import count_of

AGREEMENT = 0.95
"""Overlap (intersection over union) of found and given fields, the median over training images, from which on fields are
found for new images."""
FIELDS = "field_of_view"
"""Where ``model.json`` and the card of an exported network have what :func:`found_as_given` says."""
_COMPARED = 16


@dataclass
class FieldsOfView:
    """The fields of view of images that are predicted.

    Attributes:
        given: the file of an image's field, by the image; of a volume, by the volume.
        finds: whether that of any other image is looked for in it.
        counts: how many were ``given``, ``found`` and ``none``.
    """

    given: Mapping[ImageRef, ImageRef] = field(default_factory=dict)
    finds: bool = False
    counts: Counter[str] = field(default_factory=Counter)

    def inside(
        self, ref: ImageRef, image: MedicalImage, size: tuple[int, int]
    ) -> Bool[np.ndarray, "height width"] | None:
        """Where an image may be predicted; None for everywhere.

        Args:
            ref: names the image.
            image: its pixels, which may be decoded at a reduced size.
            size: height and width of its file.

        Raises:
            BrokenImageError: the file of its field cannot be read, has another size or number of slices, or lies
                elsewhere.
        """
        file = self._file(ref)
        if file is not None:
            field_image = read_image(file, empty=True)
            codes = codes_of(field_image)
            if codes.shape != size:
                raise BrokenImageError(
                    str(ref),
                    f"its field of view has {codes.shape[1]} x {codes.shape[0]} pixels, it has {size[1]} x {size[0]}",
                )
            elsewhere = misplaced(
                (image.plane, image.spacing), (field_image.plane, field_image.spacing), size
            )
            if elsewhere is not None:
                raise BrokenImageError(str(ref), f"its field of view {elsewhere}")
            self.counts["given"] += 1
            return codes != 0
        inside = field_of_view(image.pixels) if self.finds else None
        self.counts["none" if inside is None else "found"] += 1
        if inside is None or inside.shape == size:
            return inside
        return cv2.resize(inside.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) != 0

    def _file(self, ref: ImageRef) -> ImageRef | None:
        """The file of an image's field; of a slice, where that of its volume is given, the part at the slice."""
        if ref in self.given:
            return self.given[ref]
        volume = next((one for one in without_slice(ref) if one in self.given), None)
        return None if volume is None else beside_slice(self.given[volume], volume, ref)

    def note(self, learned_inside: bool) -> str:
        """What was predicted inside a field of view alone, in a sentence; empty where there is nothing to say."""
        if not (learned_inside or self.counts["given"] or self.counts["found"]):
            return ""
        parts = [
            f"{count_of(self.counts[how], 'field')} of view {how}"
            for how in ("given", "found")
            if self.counts[how]
        ]
        if self.counts["none"]:
            parts.append(
                f"none for {count_of(self.counts['none'], 'image')}, predicted outside too, which was not learned "
                "(name fields of view in a column 'fov' of a table)"
            )
        return "; ".join(parts) if len(parts) > 0 else ""


def found_as_given(prepared: PreparedData, task: Task) -> dict[str, Any] | None:
    """How well fields of view that are found agree with those that the training images have; None where they have none.

    Returns:
        ``images`` compared, ``agreement`` (the median overlap), and ``finds``: whether that is enough to find the fields
        of new images.
    """
    column = task.region_column if isinstance(task, DenseTask) else None
    manifest = prepared.manifest
    if column is None or column not in manifest.table:
        return None
    rows = [row for row in prepared.rows("train") if isinstance(manifest.table[column].iloc[row], str)]
    if not rows:
        return None
    chosen = [rows[index] for index in np.linspace(0, len(rows) - 1, min(_COMPARED, len(rows))).astype(int)]
    overlaps = []
    for row in chosen:
        image, file = (
            ImageRef.parse(manifest.table[name].iloc[row], manifest.root) for name in ("image", column)
        )
        given = codes_of(read_image(file, empty=True)) != 0
        field = field_of_view(read_image(image, empty=True).pixels)
        same = field is not None and field.shape == given.shape
        overlaps.append((field & given).sum() / max(1, (field | given).sum()) if same else 0.0)
    agreement = float(np.median(overlaps))
    return {"images": len(chosen), "agreement": agreement, "finds": agreement >= AGREEMENT}


def fields_of_run(
    model: Mapping[str, Any], given: Mapping[ImageRef, ImageRef], task: Task
) -> FieldsOfView | None:
    """The fields of view for a finished run's predictions; None where it learned everywhere and none are given.

    Args:
        model: the content of ``model.json``; that of an older run has no ``field_of_view``, and nothing is looked for.
        given: see :class:`FieldsOfView`.
        task: may ask for them to be looked for, whatever was learned.
    """
    facts = model.get(FIELDS)
    asked = isinstance(task, DenseTask) and task.finds_region
    if facts is None and not given and not asked:
        return None
    return FieldsOfView(given, asked or bool(facts and facts.get("finds")))


def fields_of_rows(manifest: Manifest, model: Mapping[str, Any], task: Task) -> FieldsOfView | None:
    """:func:`fields_of_run` for the rows of a manifest."""
    if not isinstance(task, DenseTask):
        return None
    files = zip(manifest.refs(), fields_given(manifest), strict=True)
    return fields_of_run(model, {ref: file for ref, file in files if file is not None}, task)
