"""Does RegGAN's registration network find the true field? Made heads whose second contrast is bent by a known one.

    OMP_NUM_THREADS=1 python benchmarks/learning/reggan/fields.py    # some minutes a seed

Mode nc+r learns from T1 to a misaligned T2 of heads (``modicum.data.phantoms.mr_pairs``), each bent by its own smooth
field; it sees neither the fields nor the aligned T2. On heads that were not learned from, the end-point error is the
mean length of the difference between the field that was found and the true one, inside the head, in pixels. The identity
(no registration) has the mean length of the true field.

Nothing in the loss ties the translation to the place of its source: the generator may move all its pictures by some
amount, if registration takes it back, and a shift costs no smoothness. So the error is also given without the shift that
is common to all test heads.

``reachable`` is what the paper's two losses can tell at best: a field fitted to each pair by itself, the aligned T2 in
the translation's place. Along an edge, and where tissue is uniform, a picture does not show how it has moved.

Writes ``benchmarks/results/reggan_fields.json``.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from modicum.data.phantoms.mr_pairs import BACKGROUND, mr_pair
from modicum.engine.environment import environment
from modicum.engine.recipe.settings import TrainingSettings
from modicum.engine.training.optimizers import make_optimizer
from modicum.losses import correction_loss, smoothness_loss
from modicum.methods.reggan import TRAINING, RegGanConfig, RegGanStage
from modicum.nn import folded_share, warp

RESULTS = Path(__file__).parents[2] / "results" / "reggan_fields.json"
SIDE, BATCH, LR = 128, 2, 1e-3
NETWORKS: dict[str, Any] = {"width": 8, "blocks": 3, "discriminator_width": 8, "registration_width": 16}
TRAIN, TEST = 300, 24
DISPLACEMENT = 12.0
"""Longest arrow of each field, in pixels of a 256-pixel picture."""


def heads(first: int, count: int) -> dict[str, Tensor]:
    """Pairs in [0, 1] with their truth: the aligned second contrast, the field, and where the bent head is."""
    made = [mr_pair(seed, SIDE, DISPLACEMENT) for seed in range(first, first + count)]

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(pair, name) for pair in made]))

    images = {name: (stacked(key)[:, None] + 1) / 2 for name, key in (
        ("image", "source"), ("target", "misaligned"), ("aligned", "target"),
    )}  # fmt: skip
    return {**images, "field": stacked("field"), "head": stacked("misaligned") != BACKGROUND}


def mean_length(field: Tensor, head: Tensor) -> float:
    """Of arrows inside the head, in pixels."""
    return field.norm(dim=1)[head].mean().item()


@torch.no_grad()
def measured(stage: RegGanStage, test: dict[str, Tensor]) -> dict[str, float]:
    """End-point error and what follows from it, on heads that were not learned from."""
    found, made = stage.displacement(test), stage(test)
    difference_of_fields = found - test["field"]
    error = mean_length(difference_of_fields, test["head"])
    identity = mean_length(test["field"], test["head"])
    inside = difference_of_fields.movedim(1, -1)[test["head"]]
    shift = inside.mean(0)
    centred = (inside - shift).norm(dim=1).mean().item()
    difference = {
        name: (picture - test["target"]).abs()[test["head"][:, None]].mean().item()
        for name, picture in (("unmoved", made), ("moved", warp(made, found)))
    }
    return {
        "end_point_error": error,
        "identity_error": identity,
        "ratio": error / identity,
        "common_shift": shift.norm().item(),
        "error_without_shift": centred,
        "ratio_without_shift": centred / identity,
        "nmae_unmoved": difference["unmoved"],
        "nmae_moved": difference["moved"],
        "folded_share": folded_share(found).mean().item(),
    }


def reachable(rounds: int = 250) -> float:
    """End-point error, as a share of the identity's, of fields that minimise the paper's losses pair by pair."""
    test, config = heads(0, TEST // 4), RegGanConfig()
    aligned, misaligned = 2 * test["aligned"] - 1, 2 * test["target"] - 1
    coarse = torch.zeros(len(aligned), 2, SIDE // 4, SIDE // 4, requires_grad=True)
    optimizer = torch.optim.Adam([coarse], lr=0.1)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, rounds)
    for _ in range(rounds):
        field = functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic", align_corners=True)
        correction = config.correction_weight * correction_loss(warp(aligned, field), misaligned)
        optimizer.zero_grad()
        (correction + config.smoothness_weight * smoothness_loss(field)).backward()
        optimizer.step()
        schedule.step()
    error = mean_length(field.detach() - test["field"], test["head"])
    return error / mean_length(test["field"], test["head"])


def learned(seed: int, steps: int, every: int) -> Iterator[dict[str, float]]:
    """What is measured every so many steps of one training."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    train, test = heads(10_000 * (seed + 1), TRAIN), heads(0, TEST)
    stage = RegGanStage(RegGanConfig(**NETWORKS), (SIDE, SIDE))
    updates = list(stage.updates())
    settings = TrainingSettings(**TRAINING | {"lr": LR})
    optimizers = [make_optimizer(update, settings) for update in updates]
    began = time.process_time()
    for step in range(1, steps + 1):
        rows = torch.randint(TRAIN, (BATCH,), generator=generator)
        batch = {name: train[name][rows] for name in ("image", "target")}
        for update, optimizer in zip(updates, optimizers, strict=True):
            stage.requires_grad_(False)
            for parameter in update.parameters:
                parameter.requires_grad_(True)
            optimizer.zero_grad()
            torch.stack(list(update.losses(batch).values())).sum().backward()
            optimizer.step()
        if step % every == 0:
            seconds = time.process_time() - began
            yield {"step": step, "processor_seconds": round(seconds, 1), **measured(stage, test)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--every", type=int, default=100)
    given = parser.parse_args()
    seeds: dict[int, list[dict[str, float]]] = {}
    content = {
        "settings": {
            "image_size": SIDE, "batch_size": BATCH, "lr": LR, "train_heads": TRAIN, "test_heads": TEST,
            "largest_displacement_pixels": DISPLACEMENT * SIDE / 256, **NETWORKS,
        },
        "environment": environment(),
        "reachable_ratio": reachable(),
        "seeds": seeds,
    }  # fmt: skip
    print(f"reachable: {content['reachable_ratio']:.2f} of the identity's", flush=True)
    for seed in given.seeds:
        seeds[seed] = []
        for found in learned(seed, given.steps, given.every):
            seeds[seed].append(found)
            print(
                f"seed {seed} step {found['step']}: end-point error {found['end_point_error']:.3f} px, "
                f"{found['ratio']:.2f} of the identity's, {found['ratio_without_shift']:.2f} without the common shift "
                f"of {found['common_shift']:.2f} px ({found['processor_seconds']:.0f} s)",
                flush=True,
            )
            RESULTS.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
