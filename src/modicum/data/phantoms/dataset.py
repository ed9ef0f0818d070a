"""Writes synthetic data sets to disk: PNG images, masks and a manifest, like a real data set.

Each patient's images depend only on the data set's seed and the patient's number, so a larger data set
begins with the smaller one's patients.
"""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from modicum.atomic_files import atomic_file
from modicum.data.phantoms.camera import CAMERAS
from modicum.data.phantoms.chest import ChestPhantom, chest
from modicum.data.phantoms.chest_findings import FINDINGS
from modicum.data.phantoms.eye import Eye
from modicum.data.phantoms.fields import stream
from modicum.data.phantoms.fundus import GRADE_PROBABILITIES, FundusPhantom, draw_grade, fundus
from modicum.data.phantoms.lesions import LESIONS
from modicum.data.phantoms.mr_pairs import mr_pair
from modicum.errors import InputError, ResourceError, did_you_mean
from modicum.output_paths import check_output
from modicum.progress import track

Fractions = Mapping[str, float | int]
_GOLDEN = (np.sqrt(5) - 1) / 2
_OWN_IMAGE = r"(images|t1)/p\d{5,}.*\.png"
_EYES: tuple[Eye, Eye] = ("L", "R")


def patient_seed(seed: int, patient: int) -> int:
    """The phantom seed of one patient of a data set."""
    return int(stream(seed, "patient", patient).integers(2**62))


def patient_split(seed: int, patient: int, fractions: Fractions) -> str:
    """The split of a patient, independent of the number of patients.

    Steps of the golden ratio spread any run of patients evenly over the splits, where random draws could
    leave a small one empty.
    """
    fraction = (stream(seed, "split").random() + patient * _GOLDEN) % 1.0
    limits = np.cumsum(list(fractions.values())) / sum(fractions.values())
    return list(fractions)[min(int(np.searchsorted(limits, fraction, side="right")), len(fractions) - 1)]


def write_phantoms(kind: str, folder: Path | str, patients: int, size: int = 512, seed: int = 0) -> Path:
    """Writes a data set of a kind (``fundus``, ``chest`` or ``mr``), split 70 : 15 : 15; returns the manifest's path.

    Raises:
        InputError: an unknown kind, or an argument outside its range.
        ResourceError: a file cannot be written.
    """
    writers: dict[str, Callable[..., Path]] = {
        "fundus": write_fundus_dataset,
        "chest": write_chest_dataset,
        "mr": write_mr_dataset,
    }
    if kind not in writers:
        raise InputError(f"unknown kind of phantoms '{kind}'", did_you_mean(kind, writers))
    check_output("FOLDER", Path(folder), folder=True)
    _check_own_manifest(Path(folder) / "manifest.csv")
    return writers[kind](folder, patients, size, seed, fractions={"train": 0.7, "val": 0.15, "test": 0.15})


def _check_own_manifest(manifest: Path) -> None:
    """Raises InputError where phantoms would go over another data set."""
    if not manifest.is_file():
        return
    with manifest.open(encoding="utf-8", errors="replace", newline="") as file:
        first = next(csv.DictReader(file), None) or {}
    if not re.fullmatch(_OWN_IMAGE, str(first.get("image"))):
        raise InputError(
            f"'{manifest}' is of a data set that phantoms did not write", "choose another folder"
        )


def write_fundus_dataset(
    folder: Path | str,
    patients: int,
    size: int = 512,
    seed: int = 0,
    grade_probabilities: Sequence[float | int] = GRADE_PROBABILITIES,
    fractions: Fractions | None = None,
    domains: Sequence[str] = ("clinic",),
    masks: bool = True,
    jpeg: int | None = None,
) -> Path:
    """Writes images of both eyes of a number of patients; returns the manifest's path.

    The manifest's columns: ``image``, ``label`` (the grade), ``patient``, ``eye``, ``domain`` and, with
    ``fractions``, ``split``. With masks also ``mask`` (vessels: 0 or 255), ``lesions`` (0, or 1 + index in
    LESIONS; the later of overlapping types) and ``disc`` (0, 1 disc, 2 cup).

    Args:
        folder: folder for ``manifest.csv``, ``images/`` and ``masks/``; existing files are replaced.
        size: side of the images in pixels.
        grade_probabilities: shares of grades 0 to 4 among the eyes.
        fractions: shares of patients by split, for instance ``{"train": 0.7, "val": 0.15, "test": 0.15}``.
        domains: cameras; each patient is photographed with one of them.
        jpeg: JPEG quality to compress the images with before writing, or None.

    Raises:
        InputError: if an argument is outside its range.
        ResourceError: if a file cannot be written.
    """
    _check(patients, fractions)
    for domain in domains:
        if domain not in CAMERAS:
            raise InputError(f"unknown camera domain '{domain}'", did_you_mean(domain, CAMERAS))
    folder, rows = Path(folder), []
    for patient in track(range(patients), "making fundus images"):
        phantom_seed = patient_seed(seed, patient)
        domain = domains[int(stream(phantom_seed, "domain").integers(len(domains)))]
        for eye in _EYES:
            grade = draw_grade(phantom_seed, eye, grade_probabilities)
            phantom = fundus(phantom_seed, size, grade, eye, domain, jpeg)
            name = f"p{patient:05d}_{eye}"
            row = {"image": f"images/{name}.png", "label": str(grade), "patient": f"p{patient:05d}"}
            row |= {"eye": eye, "domain": domain}
            if fractions:
                row["split"] = patient_split(seed, patient, fractions)
            _write_png(folder / row["image"], phantom.image)
            if masks:
                row |= _write_fundus_masks(folder, name, phantom)
            rows.append(row)
    return _write_manifest(folder, rows)


def _write_fundus_masks(folder: Path, name: str, phantom: FundusPhantom) -> dict[str, str]:
    lesions = np.zeros(phantom.vessels.shape, np.uint8)
    for value, kind in enumerate(LESIONS, start=1):
        lesions[phantom.lesions[kind]] = value
    pictures = {
        "mask": phantom.vessels.astype(np.uint8) * 255,
        "lesions": lesions,
        "disc": phantom.disc.astype(np.uint8) + phantom.cup.astype(np.uint8),
    }
    row = {}
    for column, picture in pictures.items():
        kind = "vessels" if column == "mask" else column
        row[column] = f"masks/{name}_{kind}.png"
        _write_png(folder / row[column], picture)
    return row


def write_chest_dataset(
    folder: Path | str,
    patients: int,
    size: int = 512,
    seed: int = 0,
    fractions: Fractions | None = None,
    masks: bool = True,
) -> Path:
    """Writes one radiograph for each of a number of patients; returns the manifest's path.

    The manifest's columns: ``image``, ``labels:<finding>`` (1 or 0) for each of FINDINGS, ``patient``,
    ``view``, ``report`` and, with ``fractions``, ``split``. With masks also ``mask`` (lungs: 0, 1 right, 2
    left), ``heart`` (0 or 255) and ``mask:<finding>`` (0 or 255; blank where the finding is absent).

    Args and errors as for ``write_fundus_dataset``.
    """
    _check(patients, fractions)
    folder, rows = Path(folder), []
    for patient in track(range(patients), "making chest radiographs"):
        phantom = chest(patient_seed(seed, patient), size)
        name = f"p{patient:05d}"
        row = {"image": f"images/{name}.png", "patient": name, "view": phantom.view}
        row |= {f"labels:{finding}": str(value) for finding, value in phantom.labels.items()}
        row["report"] = phantom.report
        if fractions:
            row["split"] = patient_split(seed, patient, fractions)
        _write_png(folder / row["image"], phantom.image)
        if masks:
            row |= _write_chest_masks(folder, name, phantom)
        rows.append(row)
    return _write_manifest(folder, rows)


def _write_chest_masks(folder: Path, name: str, phantom: ChestPhantom) -> dict[str, str]:
    lungs = phantom.lungs["right"] + 2 * phantom.lungs["left"].astype(np.uint8)
    pictures = {"mask": lungs.astype(np.uint8), "heart": phantom.heart.astype(np.uint8) * 255}
    pictures |= {f"mask:{f}": mask.astype(np.uint8) * 255 for f, mask in phantom.masks.items()}
    row = {f"mask:{finding}": "" for finding in FINDINGS}
    for column, picture in pictures.items():
        kind = "lungs" if column == "mask" else column.removeprefix("mask:")
        row[column] = f"masks/{name}_{kind}.png"
        _write_png(folder / row[column], picture)
    return row


def write_mr_dataset(
    folder: Path | str,
    patients: int,
    size: int = 256,
    seed: int = 0,
    fractions: Fractions | None = None,
    displacement: float | int = 8.0,
) -> Path:
    """Writes one slice of each of a number of heads in T1 and T2 contrast; returns the manifest's path.

    The manifest's columns: ``image`` (T1), ``target`` (T2), ``patient`` and, with ``fractions``, ``split``. In ``train``
    (and without a split) the head has moved between the two; in ``val`` and ``test`` they are aligned.

    Args:
        displacement: largest displacement of training pairs, in pixels of a 256-pixel image.

    Other args and errors as for ``write_fundus_dataset``.
    """
    _check(patients, fractions)
    folder, rows = Path(folder), []
    for patient in track(range(patients), "making MR pairs"):
        pair = mr_pair(patient_seed(seed, patient), size, displacement)
        name = f"p{patient:05d}"
        row = {"image": f"t1/{name}.png", "target": f"t2/{name}.png", "patient": name}
        if fractions:
            row["split"] = patient_split(seed, patient, fractions)
        second = pair.misaligned if row.get("split", "train") == "train" else pair.target
        for column, picture in (("image", pair.source), ("target", second)):
            _write_png(folder / row[column], ((picture + 1) * 127.5).round().astype(np.uint8))
        rows.append(row)
    return _write_manifest(folder, rows)


def _check(patients: int, fractions: Fractions | None) -> None:
    if patients < 1:
        raise InputError(f"number of patients {patients} is less than 1", "pass for instance --patients 40")
    if fractions is not None:
        for name, share in fractions.items():
            if name not in ("train", "val", "test"):
                raise InputError(f"unknown split '{name}'", did_you_mean(name, ("train", "val", "test")))
            if share < 0:
                raise InputError(
                    f"share {share} of split '{name}' is negative",
                    "use shares of 0 or more, for instance 0.7",
                )
        if sum(fractions.values()) <= 0:
            raise InputError(
                "the shares of the splits add up to 0", "use for instance train=0.7, val=0.15, test=0.15"
            )


def _write(path: Path, content: bytes) -> None:
    try:
        with atomic_file(path, durable=False) as file:
            file.write(content)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ResourceError(f"{path.name} cannot be written: {reason}", "choose another folder") from error


def _write_png(path: Path, picture: UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"]) -> None:
    stored = picture[..., ::-1] if picture.ndim == 3 else picture
    _write(path, cv2.imencode(".png", stored)[1].tobytes())


def _write_manifest(folder: Path, rows: list[dict[str, str]]) -> Path:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    _write(folder / "manifest.csv", text.getvalue().encode())
    return folder / "manifest.csv"
