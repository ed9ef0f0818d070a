"""What SPMix's mixing costs: a step against the same network's GPaCo step, and saliency of 10,000 thumbnails, once.

    python benchmarks/spmix_cost.py [--rounds 9]

Steps of both methods alternate, with the loss, the views, the backward pass and the optimiser, on the same images; the
table has the medians of the ratios of neighbouring steps, in processor time, as other programs may run beside it. Limit:
1.15. Saliency is computed into a store as a training does it, and asked for again.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modicum.data.stores.image_store import StoreSettings
from modicum.engine.environment import environment
from modicum.engine.inputs.extraction import Extraction, extracted
from modicum.methods.base import Context
from modicum.methods.spmix import GPaCo, SaliencyStage, SPMix
from modicum.nn import Backbone
from modicum.tasks import task_from_dict
from modicum.transforms import fine_grained_saliency

RESULTS = Path(__file__).parent / "results" / "spmix_cost.json"
TASK = {"name": "classification", "kind": "multi-class", "classes": list("abcdefg"), "ordered": False,
        "specificity": 0.95}  # fmt: skip
CASES = (
    ("vit_tiny_patch16_224", 224, "tokens", 4),
    ("resnet18", 128, "pixels", 8),
    ("resnet18", 128, "features", 8),
    ("test_resnet", 32, "pixels", 64),
)
FLIPS = [{"name": "horizontal_flip", "p": 0.5}]
VIEWS: dict[str, Any] = {"query_augment": FLIPS, "key_augment": FLIPS, "queue": 1024}
IMAGES, THUMBNAIL = 10_000, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    rows = [case(*values, options.rounds) for values in CASES]
    images = torch.rand(32, 3, 224, 224)
    began = time.process_time()
    fine_grained_saliency(images)
    large = 1000 * (time.process_time() - began) / len(images)
    first, again = of_thumbnails()
    content = {
        "command": "python benchmarks/spmix_cost.py",
        "date": time.strftime("%Y-%m-%d"),
        "environment": environment(),
        "limit": 1.15,
        "steps": rows,
        "saliency": {
            "milliseconds_per_image_of_224": large,
            "thumbnails": IMAGES,
            "side": THUMBNAIL,
            "first_training": first,
            "later_training": again,
        },
    }
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    for row in rows:
        print(f"{row['backbone']} {row['size']} px, {row['mix']}: {row['ratio']:.2f} times GPaCo's step")
    print(f"saliency of an image of 224 px: {large:.1f} ms")
    for name, part in (("first", first), ("later", again)):
        print(f"{name} training: {part['computed']} of {IMAGES} maps computed, {part['seconds']:.1f} s")


def case(backbone: str, size: int, mix: str, batch: int, rounds: int) -> dict[str, object]:
    """Seconds of a step of both, and their ratio."""
    torch.manual_seed(0)
    labels = np.arange(70) % 7
    context = Context(
        task_from_dict(TASK), lambda: Backbone(backbone, (size, size)), {"label": labels}, {}, image_size=(size, size)
    )  # fmt: skip
    stages = {
        "gpaco": GPaCo(GPaCo.Config(**VIEWS), context).stages()[-1].train(),
        "spmix": SPMix(SPMix.Config(mix=mix, **VIEWS), context).stages()[-1].train(),
    }
    optimizers = {name: torch.optim.AdamW(stage.parameters(), 1e-4) for name, stage in stages.items()}
    given = {"image": torch.rand(batch, 3, size, size), "saliency": torch.rand(batch, 1, size, size)}
    given |= {f"partner_{name}": value.clone() for name, value in given.items()}
    given |= {name: torch.arange(batch) % 7 for name in ("label", "partner_label")}
    seconds: dict[str, list[float]] = {name: [] for name in stages}
    for number in range(rounds + 2):
        for name, stage in stages.items():
            began = time.process_time()
            loss = sum(stage.updates()[0].losses(given).values())
            optimizers[name].zero_grad()
            loss.backward()  # type: ignore[union-attr]
            optimizers[name].step()
            if number >= 2:
                seconds[name].append(time.process_time() - began)
    ratios = [s / g for s, g in zip(seconds["spmix"], seconds["gpaco"], strict=True)]
    return {
        "backbone": backbone,
        "size": size,
        "mix": mix,
        "batch": batch,
        "gpaco_seconds": statistics.median(seconds["gpaco"]),
        "spmix_seconds": statistics.median(seconds["spmix"]),
        "ratio": statistics.median(ratios),
        "ratios": [min(ratios), max(ratios)],
    }


class Thumbnails:
    """Stands for the store of decoded images: random ones, as many as there are numbers."""

    settings = StoreSettings(THUMBNAIL, THUMBNAIL)

    def get(self, positions: np.ndarray) -> np.ndarray:
        return np.stack([
            np.random.default_rng(position).integers(0, 256, (THUMBNAIL, THUMBNAIL, 3), np.uint8)
            for position in positions
        ])  # fmt: skip

    def keys_of(self, positions: np.ndarray) -> list[str]:
        return [f"{position:064x}" for position in positions]


class Counted(SaliencyStage):
    computed = 0

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        self.computed += len(batch["image"])
        return super().forward(batch)


def of_thumbnails() -> tuple[dict[str, float], dict[str, float]]:
    """Maps computed and processor time of a first training's saliency stage, and of a later one's."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            stage = Counted("fine_grained", (THUMBNAIL, THUMBNAIL))
            given = (stage, Thumbnails(), np.arange(IMAGES), Path(folder), {}, 64, "32", torch.device("cpu"))
            began = time.process_time()
            extracted(Extraction(*given), mode="store")  # type: ignore[arg-type]
            found.append({"computed": stage.computed, "seconds": time.process_time() - began})
    return found[0], found[1]


if __name__ == "__main__":
    main()
