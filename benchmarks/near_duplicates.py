"""Which changed copies the search for near-duplicates finds, and what it takes for copies that is none.

    python benchmarks/near_duplicates.py ../shared/data

``DATA`` holds the public sets named in :data:`SETS`. Three measurements, each with the functions that ``inspect`` and
``fit`` call:

*Recall*: a changed copy of each image is searched among all of them, once at the images' own size and once of pictures
of 64 x 64 pixels. ``search`` is the whole search, ``resembles`` the hash alone (what ``evaluate`` knows training images
by), ``hash`` the first filter of the search. ``other`` counts pairs of a copy and an image of another patient.

*False alarms*: pairs among the images themselves, and among them and 28-pixel radiographs, of different patients.

*Size*: copies of radiographs among 1,000 to 100,000 thumbnails that are made: drawn from the normal distribution of
real radiographs' thumbnails (principal components). Candidates are 30 times rarer among them than among real radiographs
(``nearer_than_72_bits`` of the result): real sets meet the limits of the search earlier.
"""

import argparse
import io
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import pandas as pd
from PIL import Image, ImageEnhance, ImageOps

from modicum.data.checks.near_duplicates import (
    HASH_DISTANCE,
    RESEMBLES,
    THUMBNAIL,
    hamming_pairs,
    perceptual_hash,
    search_near_duplicates,
)
from modicum.data.grey_levels import grey_levels
from modicum.data.image_facts import picture_of
from modicum.progress import set_quiet
from modicum.version import __version__

RESULTS = Path(__file__).parent / "results" / "near_duplicates.json"
SETS = {
    "fundus_dr_grading": ("images", "labels.csv", "image", "patient"),
    "fundus_hrf": ("images", "labels.csv", "image", None),
    "cxr_covid": ("images", "labels.csv", "image", "patient"),
    "skin_ham10000": ("images", "labels.csv", "image", "lesion_id"),
    "octa_vessels": ("images", "manifest.csv", "file", "subject"),
    "ct_mr_slices": (".", None, None, None),
}
"""Folder, table and its columns of names and patients; without one each image is a patient."""
RADIOGRAPHS = "cxr_covid"
"""The set whose images are planted among others."""
LARGEST = 800  # pixels; larger images are reduced first, as decoding at a reduced scale does
Change = Callable[[Image.Image], Image.Image]


def jpeg(quality: int) -> Change:
    def change(image: Image.Image) -> Image.Image:
        data = io.BytesIO()
        image.save(data, "JPEG", quality=quality)
        return Image.open(data).convert("RGB")

    return change


def resized(factor: float) -> Change:
    return lambda image: image.resize(
        (max(1, round(factor * image.width)), max(1, round(factor * image.height))),
        Image.Resampling.BICUBIC,
    )


def cropped(share: float) -> Change:
    """Cuts a share of the side off at each of the four sides."""

    def change(image: Image.Image) -> Image.Image:
        x, y = round(share * image.width), round(share * image.height)
        return image.crop((x, y, image.width - x, image.height - y))

    return change


def brighter(factor: float) -> Change:
    return lambda image: ImageEnhance.Brightness(image).enhance(factor)


SINGLE: dict[str, Change] = {
    "JPEG 95": jpeg(95),
    "JPEG 75": jpeg(75),
    "JPEG 50": jpeg(50),
    "half size": resized(0.5),
    "double size": resized(2.0),
    "crop 2 %": cropped(0.02),
    "crop 5 %": cropped(0.05),
    "crop 10 %": cropped(0.10),
    "brightness -10 %": brighter(0.9),
    "brightness +10 %": brighter(1.1),
    "brightness +25 %": brighter(1.25),
    "mirrored": ImageOps.mirror,
    "upside down": ImageOps.flip,
}
PAIRED = ("JPEG 50", "half size", "crop 2 %", "crop 5 %", "brightness +10 %", "mirrored")


def composed(first: Change, second: Change) -> Change:
    return lambda image: second(first(image))


def changes() -> dict[str, Change]:
    """Single changes, and two at a time: JPEG is always the last."""
    found = dict(SINGLE)
    for a, b in combinations(PAIRED, 2):
        if not (a.startswith("crop") and b.startswith("crop")):
            last, first = (a, b) if a.startswith("JPEG") else (b, a)
            found[f"{first}, {last}"] = composed(SINGLE[first], SINGLE[last])
    return found


class Picture(NamedTuple):
    """An image by what the search sees of it."""

    thumbnail: np.ndarray
    closer: np.ndarray


def picture(image: Image.Image) -> Picture:
    """As a scan of the file, and a closer look at it."""
    grey = grey_levels(np.asarray(image, np.float32).transpose(2, 0, 1) / 255)
    smaller = min(image.size)
    side = 128 if smaller >= 128 else 64 if smaller >= 64 else THUMBNAIL
    return Picture(picture_of(grey, THUMBNAIL), picture_of(grey, side))


class Source(NamedTuple):
    """An image of a set."""

    collection: str
    patient: str
    image: Image.Image


def sources(data: Path, most: int | None) -> list[Source]:
    """The images of all sets, or the first few of each."""
    found = []
    for collection, (folder, table, name, patient) in SETS.items():
        patients = {}
        if table is not None and patient is not None:
            rows = pd.read_csv(data / collection / table, dtype=str)
            patients = {
                Path(file).name: who
                for file, who in zip(rows[name], rows[patient], strict=True)
                if not pd.isna(who)
            }
        paths = sorted(
            path
            for path in (data / collection / folder).rglob("*")
            if path.suffix in (".jpg", ".jpeg", ".png")
        )
        for path in paths[:most]:
            image = Image.open(path).convert("RGB")
            reduced = image.reduce(max(1, max(image.size) // LARGEST))
            found.append(Source(collection, f"{collection}/{patients.get(path.name, path.name)}", reduced))
    return found


def recall(found: Sequence[bool], collections: Sequence[str]) -> dict[str, Any]:
    """Share of the copies that were found, of all and of each set."""
    table = pd.Series(found).groupby(np.array(collections)).mean()
    return {
        "all": round(float(np.mean(found)), 4),
        **{name: round(float(share), 4) for name, share in table.items()},
    }


def searched(originals: list[Picture], copies: list[Picture], patients: Sequence[str]) -> dict[str, Any]:
    """What each filter finds of copies among all originals."""
    count, number = len(originals), pd.factorize(np.array(patients))[0]
    both = originals + copies
    thumbnails = np.stack([one.thumbnail for one in both])

    def wanted(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.asarray((first < count) & (second >= count))

    result = search_near_duplicates(thumbnails, lambda row: both[row].closer, wanted)
    pairs = {(pair.first, pair.second - count) for pair in result.pairs}
    apart = hamming_pairs(perceptual_hash(thumbnails), RESEMBLES, wanted)
    near = set(zip(apart[0].tolist(), (apart[1] - count).tolist(), strict=True))
    own = [
        hash_distance(one.thumbnail, other.thumbnail) for one, other in zip(originals, copies, strict=True)
    ]
    return {
        "search": [(row, row) in pairs for row in range(count)],
        "resembles": [(row, row) in near for row in range(count)],
        "hash": [distance <= HASH_DISTANCE for distance in own],
        "other": sum(bool(number[a] != number[b]) for a, b in pairs),
        "other_resembling": sum(bool(number[a] != number[b]) for a, b in near),
        "limits": result.limits,
    }


def hash_distance(first: np.ndarray, second: np.ndarray) -> int:
    one, other = perceptual_hash(np.stack([first, second]))
    return int(np.bitwise_count(one ^ other).sum())


def measure_recall(images: list[Source], side: int | None) -> dict[str, Any]:
    """Recall of every change, at the images' own size or of square pictures of a size."""
    start = [one.image if side is None else small(one.image, side) for one in images]
    originals = [picture(image) for image in start]
    collections, patients = [one.collection for one in images], [one.patient for one in images]
    table = {}
    for name, change in changes().items():
        found = searched(originals, [picture(change(image)) for image in start], patients)
        table[name] = {key: recall(found[key], collections) for key in ("search", "resembles", "hash")} | {
            key: found[key] for key in ("other", "other_resembling", "limits")
        }
        shares = [f"{key} {table[name][key]['all']:.3f}" for key in ("search", "resembles")]
        print(f"{side or 'own':>4} {name:32s}", *shares, table[name]["other"], flush=True)
    return table


def small(image: Image.Image, side: int) -> Image.Image:
    return image.resize((side, side), Image.Resampling.BOX)


def radiographs_28(data: Path) -> np.ndarray:
    """28-pixel radiographs, as thumbnails; none where the set is not there."""
    if not (data / "cxr_pneumoniamnist").is_dir():
        return np.zeros((0, THUMBNAIL, THUMBNAIL), np.uint8)
    with np.load(data / "cxr_pneumoniamnist" / "pneumoniamnist_balanced.npz") as file:
        pictures = np.concatenate([file["train_images"], file["val_images"]])
    return np.stack([picture_of(one.astype(np.float32) / 255, THUMBNAIL) for one in pictures])


def measure_false_alarms(images: list[Source], more: np.ndarray) -> dict[str, Any]:
    """Pairs of different patients, of all sets and with 28-pixel radiographs, whose patients are not known."""
    pictures = [picture(one.image) for one in images]
    thumbnails = np.concatenate([np.stack([one.thumbnail for one in pictures]), more])
    number = pd.factorize(
        np.array([one.patient for one in images] + [f"28/{row}" for row in range(len(more))])
    )[0]
    collections = [one.collection for one in images] + ["cxr_pneumoniamnist"] * len(more)

    def wanted(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.asarray(number[first] != number[second])

    found = search_near_duplicates(
        thumbnails, lambda row: pictures[row].closer if row < len(pictures) else None, wanted
    )
    near = hamming_pairs(perceptual_hash(thumbnails), RESEMBLES, wanted)
    return {
        "images": len(thumbnails),
        "pairs_of_different_patients": int(len(number) * (len(number) - 1) // 2),
        "search": counted(collections, [(pair.first, pair.second) for pair in found.pairs]),
        "search_similarity": [round(pair.similarity, 3) for pair in found.pairs[:50]],
        "resembles": counted(collections, zip(near[0].tolist(), near[1].tolist(), strict=True)),
        "limits": found.limits,
    }


def counted(collections: Sequence[str], pairs: Any) -> dict[str, int]:
    names = [" and ".join(sorted({collections[a], collections[b]})) for a, b in pairs]
    return {str(name): int(count) for name, count in pd.Series(names, dtype=object).value_counts().items()}


def made_thumbnails(real: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Thumbnails drawn from the normal distribution of real ones."""
    flat = real.reshape(len(real), -1).astype(np.float64)
    mean = flat.mean(0)
    _, sizes, directions = np.linalg.svd(flat - mean, full_matrices=False)
    generator = np.random.default_rng(seed)
    parts = []
    for start in range(0, count, 10_000):
        number = min(10_000, count - start)
        weights = generator.normal(size=(number, len(sizes))) * (sizes / np.sqrt(len(real) - 1))
        parts.append((mean + weights @ directions).clip(0, 255).round().astype(np.uint8))
    return np.concatenate(parts).reshape(-1, THUMBNAIL, THUMBNAIL)


PARTS = ("false_alarms", "size", "recall")
PLANTED = ("JPEG 50", "half size", "crop 2 %", "crop 5 %", "brightness +10 %", "crop 2 %, JPEG 50")


def measure_size(images: list[Source], more: np.ndarray, counts: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Copies of radiographs among ever more others: each image with one of the changes, in turn."""
    chosen = [one for one in images if one.collection == RADIOGRAPHS]
    names = [PLANTED[row % len(PLANTED)] for row in range(len(chosen))]
    known, number = changes(), len(chosen)
    pictures = [picture(one.image) for one in chosen]
    pictures += [picture(known[name](one.image)) for name, one in zip(names, chosen, strict=True)]
    real = np.concatenate([np.stack([one.thumbnail for one in pictures[:number]]), more])
    for count in counts:
        thumbnails = np.concatenate(
            [np.stack([one.thumbnail for one in pictures]), made_thumbnails(real, count)]
        )
        start = time.perf_counter()
        found = search_near_duplicates(
            thumbnails, lambda row: pictures[row].closer if row < len(pictures) else None
        )
        seconds = time.perf_counter() - start
        pairs = {(pair.first, pair.second) for pair in found.pairs}
        hits = [(row, row + number) in pairs for row in range(number)]
        yield {
            "images": len(thumbnails),
            "seconds": round(seconds, 1),
            "recall": recall(hits, names),
            "pairs_with_made_ones": sum(b >= 2 * number for _, b in pairs),
            "limits": found.limits,
            "nearer_than_72_bits": {"real": near_share(real), "made": near_share(thumbnails[2 * number :])},
        }


def near_share(thumbnails: np.ndarray, most: int = 3000) -> float:
    """Share of the pairs whose hashes are candidates."""
    some = thumbnails[np.random.default_rng(1).permutation(len(thumbnails))[:most]]
    return round(
        hamming_pairs(perceptual_hash(some), HASH_DISTANCE).shape[1] / (len(some) * (len(some) - 1) / 2), 7
    )


def machine() -> dict[str, Any]:
    """What ran it, without names."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "modicum": __version__,
        "date": datetime.now(UTC).date().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, help="Most images of a set; all by default.")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 10_000, 30_000, 100_000])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--again", action="store_true", help="Measure again what was measured before.")
    parser.add_argument("--out", type=Path, default=RESULTS, help="What other parts gave before is kept.")
    arguments = parser.parse_args()
    result: dict[str, Any] = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    known = [part for part in arguments.parts if part in result]
    if known and not arguments.again:
        parser.error(
            f"{arguments.out} has {', '.join(known)}: name other --parts, another --out, or pass --again"
        )
    set_quiet(True)
    cv2.setNumThreads(1)
    images, more = sources(arguments.data, arguments.images), radiographs_28(arguments.data)
    of_these = {
        "images": pd.Series([one.collection for one in images]).value_counts().to_dict(),
        "most_of_a_set": arguments.images,
        "machine": machine(),
    }
    if "false_alarms" in arguments.parts:
        result["false_alarms"] = measure_false_alarms(images, more) | of_these
        print(json.dumps(result["false_alarms"]), flush=True)
    if "size" in arguments.parts:
        rows = []
        for row in measure_size(images, more, arguments.sizes):
            print(json.dumps(row), flush=True)
            rows.append(row)
        result["size"] = {"rows": rows} | of_these
    if "recall" in arguments.parts:
        result["recall"] = {
            str(side or "own"): measure_recall(images, side) for side in (64, None)
        } | of_these
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
