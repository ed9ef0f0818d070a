"""Which of the given images are predicted, and that no prediction goes over what was read."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from modicum.data.layouts.given_images import GivenImages
from modicum.engine.inference.dense_jobs import without_own_output
from modicum.engine.inference.dense_output import ACCOUNT, TABLE
from modicum.engine.inference.maps import map_prefix
from modicum.engine.inference.quality_gate import QualityGate
from modicum.engine.recipe.settings import OF_RUN
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError
from modicum.output_paths import check_files, check_output


def without_earlier_maps(images: GivenImages, given: Sequence[str | Path], maps: Path | None) -> GivenImages:
    """The images without maps of an earlier prediction, where their folder is inside the one that is predicted.

    Raises:
        InputError: an image would be replaced by a map.
    """
    if maps is None:
        return images
    names, refs = without_own_output(given, images.names, images.refs, maps, "--maps")
    if len(refs) < len(images.refs):
        left = set(names)
        images = _taken(images, [index for index, name in enumerate(images.names) if name in left])
    folder = maps.resolve()
    for ref in refs:
        number = ref.path.name.partition("_")[0]
        if not number.isdecimal() or int(number) >= len(refs) or ref.path.resolve().parent != folder:
            continue
        if ref.path.name.startswith(map_prefix(int(number), refs[int(number)])):
            raise InputError(
                f"--maps '{maps}': '{ref.path}' is an image that is read", "choose another --maps"
            )
    return images


def good_enough(
    images: GivenImages,
    place: Path,
    quality: str | None,
    drop: Sequence[str],
    device: str | None,
    read: Sequence[Path],
) -> GivenImages:
    """The images that are good enough by an earlier run, whose grades are written beside the predictions."""
    if quality is None:
        return images
    out = place.with_name(f"{place.stem}_quality.csv")
    graded_by = RunFolder(Path(quality.removeprefix(OF_RUN)))
    check_output("--out", out, [*read, *graded_by.files()])
    gate = QualityGate(quality, tuple(drop), device)
    return _taken(images, np.flatnonzero(gate.keep(images.refs, images.names, images.facts, out)).tolist())


def _taken(images: GivenImages, rows: Sequence[int]) -> GivenImages:
    return replace(
        images,
        names=[images.names[index] for index in rows],
        refs=[images.refs[index] for index in rows],
        facts=images.facts.iloc[list(rows)].reset_index(drop=True),
    )


def check_not_over_images(
    place: Path, files: Sequence[Path], images: GivenImages, earlier: Sequence[Path] = ()
) -> None:
    """Raises InputError where a prediction would replace a file that was read, or that a table names."""
    for name in (TABLE, ACCOUNT):
        check_output("--out", place / name, images.tables)
    check_files("--out", files, [*images.named_files, *earlier])
