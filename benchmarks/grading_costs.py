"""What the parts of grading cost: kappa, the fundus crop, NT-Xent, and patches from the store against decoding.

    OMP_NUM_THREADS=1 python benchmarks/grading_costs.py --photographs DIR/fundus_hrf/full_resolution

``DIR`` has photographs of 3504 x 2336 pixels. Patches: of each photograph, one box and two patches of 128 pixels of its
512-pixel image, as ``lesion_contrast`` cuts them. ``store`` reads the image from the image store, ``photograph`` decodes,
crops and resizes it each time, ``small file`` decodes a JPEG of 512 pixels, as the release does. One thread; medians.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch

from modicum.data.fundus_crop import fundus_box
from modicum.data.image import ImageRef
from modicum.data.prepared import StoreSettings, read_prepared
from modicum.data.stores.image_store import ImageStore
from modicum.engine.environment import environment
from modicum.engine.inputs.batches import to_unit_range
from modicum.losses import nt_xent
from modicum.progress import set_quiet
from modicum.tasks.classification.metrics import quadratic_kappa
from modicum.transforms.patches import cut_patches, patch_corners

RESULTS = Path(__file__).parent / "results" / "grading_costs.json"
SETTINGS = StoreSettings(512, 512, crop="fundus", filter="lanczos")


def median_ms(work: Callable[[], object], repeats: int = 7) -> float:
    """Milliseconds of a call, the median of several after one that does not count."""
    work()
    spent = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        spent.append(1000 * (time.perf_counter() - began))
    return statistics.median(spent)


def kappa() -> float:
    generator = np.random.default_rng(0)
    truth, predicted = generator.integers(0, 5, (2, 50_000))
    return median_ms(lambda: quadratic_kappa(truth, predicted, 5))


def crop(photograph: Path) -> float:
    pixels = cv2.resize(cv2.imread(str(photograph)), (2000, 1500)).transpose(2, 0, 1)
    return median_ms(lambda: fundus_box(np.ascontiguousarray(pixels)))


def contrast() -> float:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 768, 128, generator=generator).requires_grad_(True)
    return median_ms(lambda: nt_xent(first, second).backward())


def two_patches(images: torch.Tensor) -> torch.Tensor:
    """Two patches around one box of each image."""
    boxes = torch.tensor([[240.0, 250.0, 262.0, 270.0]]).expand(len(images), 4)
    corners = [patch_corners(boxes, (512, 512), 128, torch.rand(len(images), 2)) for _ in range(2)]
    return torch.cat([cut_patches(images, one, 128) for one in corners])


def patches(photographs: list[Path]) -> dict[str, float]:
    """Milliseconds an image for each way."""
    refs = [ImageRef(path) for path in photographs]
    with tempfile.TemporaryDirectory() as folder:
        store = ImageStore.build_or_open(refs, Path(folder) / "store", SETTINGS)
        rows = np.arange(len(refs))
        small = []
        for number in rows:
            small.append(Path(folder) / f"{number}.jpg")
            cv2.imwrite(
                str(small[-1]), store.get(rows[[number]])[0][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100]
            )

        def from_store() -> torch.Tensor:
            return two_patches(to_unit_range(torch.from_numpy(store.get(rows))))

        def from_photographs() -> torch.Tensor:
            pixels = np.stack([read_prepared(ref, SETTINGS)[1] for ref in refs])
            return two_patches(to_unit_range(torch.from_numpy(pixels)))

        def from_small_files() -> torch.Tensor:
            pixels = np.stack([cv2.imread(str(path)) for path in small])
            return two_patches(to_unit_range(torch.from_numpy(pixels)))

        ways = {"store": from_store, "photograph": from_photographs, "small file": from_small_files}
        return {name: median_ms(way) / len(refs) for name, way in ways.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path, required=True)
    options = parser.parse_args()
    set_quiet(True)
    torch.set_num_threads(1)
    photographs = sorted(options.photographs.glob("*.jpg"))
    found = {
        "kappa of 50,000 predictions, ms": kappa(),
        "fundus box of 2000 x 1500 pixels, ms": crop(photographs[0]),
        "NT-Xent of 768 pairs with gradient, ms": contrast(),
        **{f"two patches of an image, {way}, ms": value for way, value in patches(photographs).items()},
    }
    content = {
        "command": __doc__.split("\n")[2].strip(),
        "date": time.strftime("%Y-%m-%d"),
        "environment": environment(),
    }
    RESULTS.write_text(json.dumps({**content, "medians": found}, indent=1) + "\n")
    for name, value in found.items():
        print(f"{name}: {value:.2f}")


if __name__ == "__main__":
    main()
