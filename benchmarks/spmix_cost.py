"""What SPMix's mixing costs: a step against the same network's GPaCo step, and saliency of 10,000 images, once.

    python benchmarks/spmix_cost.py [--rounds 15]

Steps of both methods alternate, with the loss, the views, the backward pass and the optimiser, on the same images; the
table has the medians of the ratios of neighbouring steps. Limit: 1.15.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from modicum.engine.environment import environment
from modicum.methods.base import Context
from modicum.methods.spmix import GPaCo, SPMix
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
VIEWS = {"query_augment": ["horizontal_flip"], "key_augment": ["horizontal_flip"], "queue": 1024}
IMAGES = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    rows = [case(*values, options.rounds) for values in CASES]
    images = torch.rand(32, 3, 224, 224)
    began = time.perf_counter()
    fine_grained_saliency(images)
    saliency = (time.perf_counter() - began) / len(images)
    content = {
        "command": "python benchmarks/spmix_cost.py",
        "date": time.strftime("%Y-%m-%d"),
        "environment": environment(),
        "limit": 1.15,
        "steps": rows,
        "saliency": {"milliseconds_per_image_of_224": 1000 * saliency, "seconds_of_10000": IMAGES * saliency},
    }
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    for row in rows:
        print(f"{row['backbone']} {row['size']} px, {row['mix']}: {row['ratio']:.2f} times GPaCo's step")
    print(f"saliency of {IMAGES} images of 224 px: {IMAGES * saliency:.0f} s")


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
            began = time.perf_counter()
            loss = sum(stage.updates()[0].losses(given).values())
            optimizers[name].zero_grad()
            loss.backward()  # type: ignore[union-attr]
            optimizers[name].step()
            if number >= 2:
                seconds[name].append(time.perf_counter() - began)
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


if __name__ == "__main__":
    main()
