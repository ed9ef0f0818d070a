"""Output files of dense prediction: single images, whole NIfTI volumes, DICOM images by their series."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from modicum.data.image import ImageRef
from modicum.data.readers import dicom_header
from modicum.data.readers.content import format_of_file
from modicum.data.volumes import nifti_volumes
from modicum.errors import BrokenImageError, InputError
from modicum.progress import say
from modicum.wording import count_of

SUFFIX = "_predicted"
"""Suffix of predictions, between the name of the source and the file extension."""
_ENDINGS = {"picture": ".png", "nifti": ".nii.gz", "dicom": ".dcm"}

Kind = Literal["picture", "nifti", "dicom"]


@dataclass(frozen=True)
class Job:
    """One file to write.

    Attributes:
        name: of the source, as it was given.
        refs: its one image, or the slices of its volume.
        kind: of the file.
        file: where, below the folder of predictions.
        series: of a DICOM image, a value that tells series apart; not to be shown.
        error: why there is nothing to write.
    """

    name: str
    refs: tuple[ImageRef, ...]
    kind: Kind
    file: PurePosixPath
    series: str = ""
    error: BrokenImageError | None = None

    @property
    def whole(self) -> bool:
        """Whether it is a volume of slices."""
        return self.kind == "nifti"


def planned(
    given: Sequence[str | Path], names: Sequence[str], refs: Sequence[ImageRef], suffix: str = SUFFIX
) -> list[Job]:
    """The output files of images and volumes, in the given order.

    A NIfTI file that is named without a slice is a volume (or several, of a series), and a DICOM file of several
    frames is each of them. A single slice of a NIfTI volume becomes a picture.

    Args:
        given: what the user named.
        names: of the images in it, and
        refs: where they are (:func:`modicum.data.layouts.given_images.images_of`).
        suffix: between the source's name and the ending.
    """
    places = _below(given, names, refs)
    jobs: list[Job] = []
    for name, ref, place in zip(names, refs, places, strict=True):
        try:
            jobs += _jobs_of(name, ref, place)
        except BrokenImageError as error:
            jobs.append(Job(name, (ref,), "picture", place, error=error))
    return _distinct(jobs, suffix)


def as_picture(job: Job) -> Job:
    """A job of one DICOM image as one of a PNG file; any other as it is."""
    return replace(job, kind="picture", file=job.file.with_suffix(".png")) if job.kind == "dicom" else job


def without_own_output(
    given: Sequence[str | Path],
    names: Sequence[str],
    refs: Sequence[ImageRef],
    out: Path,
    option: str = "--out",
) -> tuple[list[str], list[ImageRef]]:
    """Leaves out earlier predictions, if their folder is inside the one that is predicted.

    Raises:
        InputError: predictions would go to the images' own folder, or nothing is left.
    """
    own_folder = out.resolve()
    folders = [Path(item).resolve() for item in given if Path(item).is_dir()]
    if own_folder in folders:
        raise InputError(f"{option} '{out}' is the folder of the images itself", "choose another folder")
    if not any(own_folder.is_relative_to(folder) for folder in folders):
        return list(names), list(refs)
    kept = [(name, ref) for name, ref in zip(names, refs, strict=True) if not _is_below(ref.path, own_folder)]
    if len(kept) < len(refs):
        say(f"left out: {count_of(len(refs) - len(kept), 'file')} in '{out}', where predictions go")
    if not kept:
        raise InputError(
            "no images found besides earlier predictions", "name the folder or table of the images to predict"
        )
    return [name for name, _ in kept], [ref for _, ref in kept]


def _is_below(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder)


def _jobs_of(name: str, ref: ImageRef, place: PurePosixPath) -> list[Job]:
    form = format_of_file(ref.path)
    if form == "nifti" and ref.index is None:
        volumes = nifti_volumes(ref.path, 2 if ref.axis is None else ref.axis)
        if ref.frame is not None:
            volumes = volumes[ref.frame : ref.frame + 1]
        several = len(volumes) > 1
        return [
            Job(name, volume.refs, "nifti", _labelled(place, f"_frame{number:03d}" if several else ""))
            for number, volume in enumerate(volumes)
        ]
    if form != "dicom":
        return [Job(name, (ref,), "picture", place)]
    header = dicom_header(ref.path, ["NumberOfFrames", "SeriesInstanceUID"])
    series = str(header.get("SeriesInstanceUID", "")) or str(ref.path)
    frames = int(header.get("NumberOfFrames") or 1)
    if frames == 1 or ref.frame is not None:
        return [Job(name, (ref,), "dicom", place, series)]
    return [
        Job(
            f"{name}#frame={at}",
            (replace(ref, frame=at),),
            "dicom",
            _labelled(place, f"_frame{at:04d}"),
            series,
        )
        for at in range(frames)
    ]


def _below(
    given: Sequence[str | Path], names: Sequence[str], refs: Sequence[ImageRef]
) -> list[PurePosixPath]:
    """The path of each prediction: as its image's below the given folder or table, or below their common folder."""
    places = []
    for name, ref in zip(names, refs, strict=True):
        part = ref.part
        text = name[: -len(part)] if part and name.endswith(part) else name
        parts = [one for one in PurePosixPath(text).parts if one not in ("/", "..", ".")]
        place = PurePosixPath(*parts) if parts else PurePosixPath("image")
        label = part.replace("#", "_").replace("&", "_").replace("=", "").replace("%", "")
        places.append(_labelled(place, label))
    outside = any(name.startswith(("/", "../")) for name in names)
    if outside or len(given) > 1 or list(names) == [str(given[0])]:
        shared = os.path.commonpath([place.parent.as_posix() or "." for place in places])
        if shared:
            places = [place.relative_to(shared) for place in places]
    return places


def _labelled(place: PurePosixPath, label: str) -> PurePosixPath:
    """A path with something added to its name, before the extension."""
    stem, ending = _split(place.name)
    return place.with_name(f"{stem}{label}{ending}")


def _split(name: str) -> tuple[str, str]:
    """A file's name and extension; a name whose last part is a number (a DICOM UID) has none."""
    if name.lower().endswith(".nii.gz"):
        return name[:-7], name[-7:]
    path = PurePosixPath(name)
    return (name, "") if path.suffix[1:].isdigit() or not path.suffix else (path.stem, path.suffix)


def _distinct(jobs: list[Job], suffix: str) -> list[Job]:
    """Jobs with the names of their files; where two would be alike, with the sources' endings in them."""
    files = [_written(job, suffix, full=False) for job in jobs]
    often = Counter(str(file).lower() for file in files)
    seen: Counter[str] = Counter()
    done = []
    for job, short in zip(jobs, files, strict=True):
        file = short if often[str(short).lower()] == 1 else _written(job, suffix, full=True)
        seen[str(file).lower()] += 1
        if (number := seen[str(file).lower()]) > 1:
            file = _labelled(file, f"_{number}")
        done.append(replace(job, file=file))
    return done


def _written(job: Job, suffix: str, full: bool) -> PurePosixPath:
    stem, ending = _split(job.file.name)
    plain = job.kind == "nifti" and ending.lower() == ".nii"
    return job.file.with_name(
        f"{job.file.name if full else stem}{suffix}{'.nii' if plain else _ENDINGS[job.kind]}"
    )
