"""Known pairs of good photographs: each degraded by the classical model, with its parameters beside it."""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32

from modicum.atomic_files import write_text
from modicum.data.field_of_view import field_of_view
from modicum.data.image import ImageRef
from modicum.data.layouts import load_manifest
from modicum.data.layouts.asked_split import rows_of_split
from modicum.data.layouts.files_read import files_of, files_read
from modicum.data.layouts.given_images import FIELD, fields_given
from modicum.data.manifest import Manifest, path_columns
from modicum.data.mask_codes import codes_of
from modicum.data.readers import read_image
from modicum.data.writers import write_labels, write_png
from modicum.engine.randomness import derive_seed
from modicum.errors import BrokenImageError, InputError, did_you_mean
from modicum.output_paths import check_files, check_output
from modicum.progress import say, track
from modicum.transforms.degradation_parameters import COMBINATIONS, REFERENCE
from modicum.transforms.fundus_degradation import degrade, draw_degradation
from modicum.wording import count_of

TABLE = "manifest.csv"
_OWN_COLUMNS = ("image", "target", FIELD, "kind")


def write_degraded_pairs(
    data: str | Path,
    out: str | Path,
    *,
    kinds: Sequence[str] = COMBINATIONS,
    per_image: int = 1,
    reference: int = REFERENCE,
    seed: int = 0,
    split: str | None = None,
    **reading: Any,
) -> Path:
    """Writes pairs of degraded images and the images as they were, and a table of them.

    The table has ``image`` (degraded), ``target``, ``fov``, ``kind`` (three bits for blur, spots, illumination), and what
    the data say besides, masks copied. Parameters of each degradation are in a JSON file beside it, for
    :class:`~modicum.transforms.degradation_parameters.Degradation`. Images keep their size; both of a pair are black
    outside the field of view.

    Args:
        data: photographs, as for :func:`modicum.load`.
        out: folder for the pairs; files there by the same names are replaced.
        kinds: what to choose from by chance.
        per_image: degradations of each image.
        reference: side in pixels of the images that blur is stated for; smaller blurs more.
        seed: of all draws; an image's depend on its name and on this alone.
        split: rows to take; all by default.
        reading: ``columns``, ``images``, ``pairs``, ... as for :func:`modicum.load`.

    Returns:
        The table.

    Raises:
        InputError: an unknown kind, a number below 1, or no readable image.
    """
    for kind in kinds:
        if kind not in COMBINATIONS:
            raise InputError(f"unknown kind of degradation '{kind}'", did_you_mean(kind, COMBINATIONS))
    if not kinds or per_image < 1:
        raise InputError("nothing to degrade with", "give at least one kind, and one degradation an image")
    folder = Path(out)
    check_output("OUT", folder, [Path(data)], folder=True)
    manifest = load_manifest(data, missing="keep", unlabelled="keep", class_folders=False, **reading)
    manifest, _ = rows_of_split(manifest, split)
    fields = fields_given(manifest)
    names = _names(manifest)
    read = chain(
        files_read(Path(data), manifest, reading.get("split_lists"), reading.get("columns")),
        files_of(manifest),
    )
    check_files("OUT", _files_to_write(folder, manifest, names, per_image), read)
    rows: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    for row, ref in enumerate(track(manifest.refs(), "degrading")):
        try:
            pixels = read_image(ref, empty=True).pixels
            mask, how = _field(pixels, fields[row])
        except BrokenImageError as error:
            say(f"broken: {error.image}: {error.reason}")
            counts["broken"] += 1
            continue
        counts[how] += 1
        for number in range(per_image):
            generator = torch.Generator().manual_seed(derive_seed("degrade", seed, names[row], number))
            kind = kinds[int(torch.randint(len(kinds), (), generator=generator))]
            parameters = draw_degradation(generator, kind, reference=reference)
            worse = degrade(torch.from_numpy(pixels), parameters, torch.from_numpy(mask)).numpy()
            name = names[row] if per_image == 1 else f"{names[row]}_{number}"
            write_png(_made(folder / "degraded" / f"{name}.png"), worse)
            write_text(folder / "degraded" / f"{name}.json", parameters.model_dump_json(indent=1) + "\n")
            rows.append(
                {
                    **_beside(manifest, row, folder, names[row]),
                    "image": f"degraded/{name}.png",
                    "target": f"clean/{names[row]}.png",
                    FIELD: f"fov/{names[row]}.png",
                    "kind": kind,
                }
            )
        write_png(_made(folder / "clean" / f"{names[row]}.png"), pixels * mask)
        write_labels(_made(folder / "fov" / f"{names[row]}.png"), mask.astype(np.uint8) * 255)
    if not rows:
        raise InputError(f"no image of '{data}' could be read", "name a folder or table of photographs")
    if counts["none"]:
        say(
            f"no field of view was found in {count_of(counts['none'], 'image')}, degraded all over; "
            "name fields of view in a column 'fov' of a table"
        )
    table = pd.DataFrame(rows)
    first = ["image", "target", FIELD, "kind"]
    table = table[[*first, *(name for name in table if name not in first)]]
    write_text(folder / TABLE, table.to_csv(index=False))
    return folder / TABLE


def _field(
    pixels: Float32[np.ndarray, "channels height width"], given: ImageRef | None
) -> tuple[Bool[np.ndarray, "height width"], str]:
    """The field of view of an image, and whether it was ``given``, ``found``, or there is ``none`` (everything)."""
    if given is not None:
        codes = codes_of(read_image(given, empty=True))
        if codes.shape != pixels.shape[1:]:
            raise BrokenImageError(str(given), "has another size than its image")
        return codes != 0, "given"
    found = field_of_view(pixels)
    if found is None:
        return np.ones(pixels.shape[1:], dtype=bool), "none"
    return found, "found"


def _names(manifest: Manifest) -> list[str]:
    """A name for the files of each row: the image's own, numbered where several have the same."""
    stems = [
        f"{ref.path.name.split('.')[0]}{ref.part.replace('#', '_').replace('=', '')}"
        for ref in manifest.refs()
    ]
    often = Counter(stems)
    return [stem if often[stem] == 1 else f"{row:05d}_{stem}" for row, stem in enumerate(stems)]


def _beside(manifest: Manifest, row: int, folder: Path, name: str) -> Mapping[str, Any]:
    """What the data say of an image besides; files of masks are copied."""
    found: dict[str, Any] = {}
    files = set(path_columns(manifest.table))
    for column, value in manifest.table.iloc[row].items():
        if column in _OWN_COLUMNS or not isinstance(value, str):
            continue
        if column in files:
            source = manifest.root / value
            place = _place(str(column), name, source)
            shutil.copyfile(source, _made(folder / place))
            value = place
        found[str(column)] = value
    return found


def _files_to_write(folder: Path, manifest: Manifest, names: Sequence[str], per_image: int) -> Iterator[Path]:
    """The table, and the pictures of each row."""
    yield folder / TABLE
    files = [name for name in path_columns(manifest.table) if name not in _OWN_COLUMNS]
    for row, name in enumerate(names):
        for made in [name] if per_image == 1 else [f"{name}_{number}" for number in range(per_image)]:
            yield from (folder / "degraded" / f"{made}{ending}" for ending in (".png", ".json"))
        yield from (folder / part / f"{name}.png" for part in ("clean", "fov"))
        for column in files:
            if isinstance(value := manifest.table[column].iloc[row], str):
                yield folder / _place(column, name, manifest.root / value)


def _place(column: str, name: str, source: Path) -> str:
    """Where a file beside an image is copied to."""
    return f"{column.replace(':', '_')}/{name}{source.suffix}"


def _made(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
