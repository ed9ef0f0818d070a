"""What the image store brings per epoch, against decoding and resizing every epoch.

    python benchmarks/image_store.py DATA --out benchmarks/results/image_store.json

DATA is the folder with ``fundus_dr_grading`` and ``fundus_hrf``. One process, one thread. An epoch is: all images, in
a shuffled order, as uint8 batches of 16 of the network's size. In each repeat all ways are run one after another, and
ratios are taken within a repeat, so that a machine that is slower for a while does not favour any.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from math import ceil
from operator import itemgetter
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import cv2
import numpy as np
from PIL import Image

from modicum.data.image import ImageRef
from modicum.data.stores.image_store import ImageStore, StoreSettings
from modicum.progress import set_quiet

BATCH = 16


def batches(count: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """One epoch's positions, shuffled."""
    order = generator.permutation(count)
    yield from (order[start : start + BATCH] for start in range(0, count, BATCH))


def pillow(paths: list[Path], size: int, draft: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Decoding as most training code does it: Pillow, RGB, antialiased bilinear."""

    def get(positions: np.ndarray) -> np.ndarray:
        images = []
        for position in positions:
            with Image.open(paths[position]) as image:
                if draft:
                    image.draft("RGB", (size, size))
                small = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
            images.append(np.asarray(small))
        return np.stack(images)

    return get


def epoch(get: Callable[[np.ndarray], np.ndarray], count: int, seed: int) -> float:
    """Seconds for one epoch."""
    start = time.perf_counter()
    for positions in batches(count, np.random.default_rng(seed)):
        assert len(get(positions)) == len(positions)
    return time.perf_counter() - start


def one_repeat(paths: list[Path], size: int, seed: int) -> dict[str, float]:
    """Seconds of an epoch each way, and what the store takes."""
    refs, count = [ImageRef(path) for path in paths], len(paths)
    settings = StoreSettings(size, size)
    parent = Path(tempfile.mkdtemp(prefix="image-store-"))
    try:
        seconds = {
            "pillow": epoch(pillow(paths, size, draft=False), count, seed),
            "pillow_draft": epoch(pillow(paths, size, draft=True), count, seed),
        }
        start = time.perf_counter()
        store = ImageStore.build_or_open(refs, parent, settings)
        seconds["store_build"] = time.perf_counter() - start
        seconds["store_first_epoch"] = seconds["store_build"] + epoch(store.get, count, seed)
        # Small sets take microseconds: the mean of several epochs.
        rounds = max(3, 400 // count)
        seconds["store_later_epoch"] = sum(epoch(store.get, count, seed + n) for n in range(rounds)) / rounds
        start = time.perf_counter()
        again = ImageStore.build_or_open(refs, parent, settings)
        seconds["store_reopen"] = time.perf_counter() - start
        seconds["bytes_on_disk"] = sum(
            file.stat().st_size for file in again.folder.rglob("*") if file.is_file()
        )
    finally:
        shutil.rmtree(parent)
    return seconds


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def break_even(once: float, later: float, other: float) -> int:
    """The first number of epochs after which the store has cost less in all."""
    return ceil((once - later) / (other - later)) if other > later else 0


def summary(repeats: list[dict[str, float]], count: int, size: int, source_bytes: int) -> dict:
    """All figures of one data set."""

    def of(function: Callable[[dict[str, float]], float]) -> dict[str, float]:
        return spread([function(repeat) for repeat in repeats])

    return {
        "images": count,
        "size": size,
        "source_bytes": source_bytes,
        "store_bytes": int(repeats[0]["bytes_on_disk"]),
        "repeats": len(repeats),
        "seconds": {name: of(itemgetter(name)) for name in repeats[0] if name != "bytes_on_disk"},
        "later_epoch_images_per_second": of(lambda r: count / r["store_later_epoch"]),
        "pillow_images_per_second": of(lambda r: count / r["pillow"]),
        "times_faster_than_pillow": of(lambda r: r["pillow"] / r["store_later_epoch"]),
        "times_faster_than_pillow_draft": of(lambda r: r["pillow_draft"] / r["store_later_epoch"]),
        "first_epoch_relative_to_pillow": of(lambda r: r["store_first_epoch"] / r["pillow"]),
        "first_epoch_relative_to_pillow_draft": of(lambda r: r["store_first_epoch"] / r["pillow_draft"]),
        "break_even_epochs": of(
            lambda r: break_even(r["store_first_epoch"], r["store_later_epoch"], r["pillow"])
        ),
        "break_even_epochs_against_draft": of(
            lambda r: break_even(r["store_first_epoch"], r["store_later_epoch"], r["pillow_draft"])
        ),
    }


def machine() -> dict:
    """What ran it, without names."""
    flags = ""
    if Path("/proc/cpuinfo").exists():
        flags = Path("/proc/cpuinfo").read_text()
    features = [name for name in ("avx2", "avx512f", "avx512_bf16", "sha_ni", "pclmulqdq") if name in flags]
    libraries = ("numpy", "pillow", "opencv-python-headless", "pyarrow")
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "cpu_features": features,
        "load_average_at_start": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: version(name) for name in libraries},
        "date": datetime.now(UTC).date().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    set_quiet(True)
    cv2.setNumThreads(1)
    sets = {
        "fundus_dr_grading": ("fundus_dr_grading", 224),
        "fundus_hrf_full_resolution": ("fundus_hrf/full_resolution", 512),
    }
    result: dict = {"machine": machine(), "data": {}}
    for name, (folder, size) in sets.items():
        paths = sorted(path for path in (arguments.data / folder).rglob("*") if path.suffix.lower() == ".jpg")
        # Imports and the page cache are warm for all ways alike.
        epoch(pillow(paths, size, draft=False), len(paths), 0)
        one_repeat(paths[:3], size, 0)
        repeats = [one_repeat(paths, size, seed) for seed in range(arguments.repeats)]
        result["data"][name] = summary(repeats, len(paths), size, sum(path.stat().st_size for path in paths))
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
