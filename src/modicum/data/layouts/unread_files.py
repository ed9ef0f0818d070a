"""Files in a folder of images that hold images too, but in a format that is not read: counted, with what to do."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from modicum.wording import count_of

_VOLUME = "convert them to NIfTI (.nii.gz), for instance with SimpleITK"
_PICTURE = "convert them to PNG"
_ARRAY = "save them as .npz with arrays train_images, train_labels, ..."
_ARROW = "write them as Parquet (of Hugging Face datasets: to_parquet('train.parquet'))"
_OCT = "export them as DICOM or TIFF with the device's software"
_SLIDE = "export regions of them as PNG or TIFF"
_VIDEO = "save their frames as PNG"
_ARCHIVE = "unpack them"
_SHEET = "if they describe the images, save them as CSV and give that"
_ZIPPED = (
    ".tar.gz",
    ".dcm.gz",
    ".csv.gz",
    ".tsv.gz",
    ".json.gz",
    ".png.gz",
    ".tif.gz",
    ".nrrd.gz",
    ".img.gz",
)
_REMEDIES = {
    **dict.fromkeys(
        (".mha", ".mhd", ".nrrd", ".nhdr", ".mgz", ".mgh", ".mnc", ".hdr", ".img", ".par"), _VOLUME
    ),
    **dict.fromkeys(
        (".jp2", ".j2k", ".jpx", ".jxl", ".heic", ".heif", ".avif", ".svg", ".pdf", ".psd"), _PICTURE
    ),
    **dict.fromkeys((".exr", ".fits", ".fit", ".tga", ".dng", ".cr2", ".nef", ".arw", ".raw"), _PICTURE),
    **dict.fromkeys((".jls", ".jxr", ".wdp", ".jph", ".jpc", ".xcf", ".eps"), _PICTURE),
    **dict.fromkeys((".arrow", ".feather"), _ARROW),
    **dict.fromkeys((".e2e", ".fda", ".fds", ".oct", ".vol"), _OCT),
    **dict.fromkeys(
        (".npy", ".mat", ".h5", ".hdf5", ".nc", ".pkl", ".pt", ".tfrecord", ".tfrecords", ".lmdb", ".mdb"),
        _ARRAY,
    ),
    **dict.fromkeys((".svs", ".ndpi", ".mrxs", ".scn", ".czi", ".vsi", ".bif", ".lif", ".nd2"), _SLIDE),
    **dict.fromkeys((".mp4", ".avi", ".mov", ".wmv", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v"), _VIDEO),
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods", ".numbers", ".sav", ".rds"), _SHEET),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".rar", ".7z", ".bz2", ".xz", ".zst", *_ZIPPED), _ARCHIVE),
}


def unread_notes(folder: Path) -> list[str]:
    """A note for each remedy: how many files below a folder are not read, by the endings of their names."""
    counts: dict[str, Counter[str]] = {}
    for name in _names(folder):
        lower = name.lower()
        ending = next((e for e in (*_ZIPPED, Path(lower).suffix) if lower.endswith(e)), "")
        if ending in _REMEDIES:
            counts.setdefault(_REMEDIES[ending], Counter())[ending] += 1
    return [
        f"not read: {count_of(kinds.total(), 'file')} "
        f"({', '.join(f'{number:,} {ending}' for ending, number in kinds.most_common())}); {remedy}"
        for remedy, kinds in counts.items()
    ]


def _names(folder: Path) -> Iterator[str]:
    for _, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__MACOSX"]
        yield from (name for name in sorted(names) if not name.startswith("."))
