"""OCT angiograms with vessel masks: OCTA-500 and ROSE."""

from pathlib import Path

from modicum.data.layouts.columns import split_of
from modicum.data.layouts.public.contents import any_name, images_in, inside, keyed, stem_of, subfolders
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import LayoutRows, Row, files_for
from modicum.errors import InputError, did_you_mean

# First and last subject of train, val and test, by the field's side in millimetres.
SUBJECTS = {
    "OCTA_3M": {"train": (10301, 10440), "val": (10441, 10450), "test": (10451, 10500)},
    "OCTA_6M": {"train": (10001, 10180), "val": (10181, 10200), "test": (10201, 10300)},
}
_TRUTH = r"ground ?truth|gt_largevessel"
_PROJECTIONS = r"projection ?maps"
_USUAL = "OCTA(ILM_OPL)"
_ROSE_LAYERS = ("SVC", "DVC", "SVC_DVC")
_ROSE_IMAGES = "img|original"


def is_octa_500(folder: Path) -> bool:
    """``OCTA_3M`` or ``OCTA_6M`` with projections and ground truth; possibly nested once."""
    base = _base(folder)
    return inside(base, _PROJECTIONS) is not None and inside(base, _TRUTH) is not None


def read_octa_500(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads OCTA-500 of one field of view, with one layer's projection; split by subject as published.

    Raises:
        InputError: an unknown projection, or several without a choice.
    """
    base = _base(folder)
    projections, truth = inside(base, _PROJECTIONS), inside(base, _TRUTH)
    layer = _layer(projections, options.projection)
    images = keyed(images_in(layer), r"(\d{5})")
    masks, notes = files_for(
        images, keyed(images_in(truth), r"(\d{5})") if truth else {}, "mask", required=True
    )
    notes.append(f"angiograms are the projections '{layer.name}'")
    if truth is not None and "truth" in truth.name.lower():
        notes.append("masks: 255 large vessels; in the first release 100 is the foveal avascular zone")
    rows: list[Row] = []
    for key, path in images.items():
        domain, split = _part_of(int(key))
        rows.append({"image": path, "mask": masks[key], "patient": key, "split": split, "domain": domain})
    return LayoutRows(rows, notes)


def _part_of(subject: int) -> tuple[str, str | None]:
    for domain, parts in SUBJECTS.items():
        for split, (first, last) in parts.items():
            if first <= subject <= last:
                return domain, split
    return "OCTA-500", None


def _base(folder: Path) -> Path:
    """The folder with the data: the release contains ``OCTA_6M/OCTA_6M/...``."""
    return inside(folder, folder.absolute().name) or folder


def _layer(projections: Path | None, wanted: str | None) -> Path:
    layers = {path.name: path for path in (subfolders(projections) if projections else [])}
    if wanted is not None and wanted not in layers:
        raise InputError(
            f"layout option projection: unknown projection '{wanted}'", did_you_mean(wanted, layers)
        )
    angiograms = [name for name in layers if name.upper().startswith("OCTA")]
    name = wanted or (_USUAL if _USUAL in layers else angiograms[0] if len(angiograms) == 1 else None)
    if name is None:
        raise InputError(
            f"'{projections.name if projections else ''}' has projections {', '.join(layers) or '(none)'}",
            f"set layout option projection to one of them, or complete the copy with {_USUAL}",
        )
    return layers[name]


def is_rose(folder: Path) -> bool:
    """``SVC/train/img`` and ``SVC/train/gt`` (ROSE-1), or ``train/original`` and ``train/gt`` (ROSE-2)."""
    return any(_is_rose_part(base) for base in _rose_bases(folder))


def read_rose(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads ROSE-1 (superficial, deep, and both plexuses of the same eyes) or ROSE-2.

    Raises:
        InputError: an unknown plexus.
    """
    bases = [base for base in _rose_bases(folder) if _is_rose_part(base)]
    layers = [base.name for base in bases if base != folder]
    wanted = options.projection
    if layers and wanted is not None:
        if wanted not in layers:
            raise InputError(
                f"layout option projection: unknown plexus '{wanted}'", did_you_mean(wanted, layers)
            )
        bases = [base for base in bases if base.name == wanted]
    result = LayoutRows([])
    for base in bases:
        for part in _parts(base):
            images_folder, truth = inside(part, _ROSE_IMAGES), inside(part, "gt")
            images = keyed(images_in(images_folder), "(.+)") if images_folder else {}
            masks, notes = files_for(
                images, keyed(images_in(truth), "(.+)") if truth else {}, "mask", required=True
            )
            result.notes += notes
            for key, path in images.items():
                row: Row = {"image": path, "mask": masks[key], "split": split_of(part.name)}
                if layers:  # the plexuses of one eye must stay together
                    row |= {"patient": f"{part.name}-{stem_of(path)}", "layer": base.name}
                result.rows.append({**row, "domain": "ROSE-1" if layers else "ROSE-2"})
    return result


def _rose_bases(folder: Path) -> list[Path]:
    return [folder, *(path for path in subfolders(folder) if path.name.upper() in _ROSE_LAYERS)]


def _parts(folder: Path) -> list[Path]:
    return [path for path in subfolders(folder) if split_of(path.name)]


def _is_rose_part(folder: Path) -> bool:
    return any(any_name(part, _ROSE_IMAGES) and any_name(part, "gt") for part in _parts(folder))
