"""Does RegGAN's registration network find known motion? Made heads, moved by the paper's noise or bent.

    OMP_NUM_THREADS=1 python benchmarks/learning/reggan/known_motion.py    # half an hour for everything

Mode nc+r learns from T1 and a T2 that is moved anew each time it is shown; the T1 stays where it is. ``affine`` turns,
shifts and zooms it (misalignment level 5), ``elastic`` bends it by smooth random fields. On heads and motions that were
not learned from, the end-point error is the mean length of the difference between the field that was found and the true
one, inside the head, in pixels; the identity's is the mean length of the true field.

Nothing in the paper's loss ties the translation to the place of its source: the generator may shift all its pictures and
the registration shift them back. So the error is also given without the shift that is common to all heads, and each
motion is learned twice: as in the paper, and with ``anchor_weight``. The learning rate falls to zero along a cosine in
both; the paper keeps it. Writes ``benchmarks/results/reggan_known_motion.json``.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modicum.data.phantoms.mr_pairs import mr_pair
from modicum.engine.environment import environment
from modicum.engine.recipe.settings import TrainingSettings
from modicum.engine.training.optimizers import make_optimizer, set_learning_rate
from modicum.methods.reggan import TRAINING, RegGanConfig, RegGanStage
from modicum.transforms import AffineMisalignment, ElasticMisalignment

RESULTS = Path(__file__).parents[2] / "results" / "reggan_known_motion.json"
SIDE, BATCH, LR, STEPS = 64, 4, 4e-4, 1050
TRAIN, TEST, EVERY, ANCHOR = 300, 24, 150, 0.4
FIRST_TEST = 20_000  # heads 10,000 to 10,023, and seeds 0 to 2, were looked at while the setting was chosen
LEVEL = 5
ELASTIC: dict[str, Any] = {"sigma": 12.0, "control_points": 4}  # of a 256-pixel picture: 3 pixels here
NETWORKS: dict[str, Any] = {"width": 16, "blocks": 3, "discriminator_width": 16, "registration_width": 16}


def heads(first: int, count: int) -> tuple[Tensor, Tensor]:
    """T1 and T2 of heads that lie on each other, ``[count, 1, SIDE, SIDE]`` in [0, 1]."""
    made = [mr_pair(seed, SIDE, 0) for seed in range(first, first + count)]
    first_contrast, second = (
        np.stack([getattr(pair, name) for pair in made]) for name in ("source", "target")
    )
    return tuple((torch.from_numpy(part)[:, None].float() + 1) / 2 for part in (first_contrast, second))  # type: ignore


def moved(images: Tensor, motion: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images moved at random, and the displacements in pixels (rows first) that say where each pixel was read."""
    if motion == "elastic":
        bend = ElasticMisalignment(background=0.0, **ELASTIC)
        field = bend.draw(len(images), (SIDE, SIDE), generator)
        return bend.move(images, field), field
    affine = AffineMisalignment(level=LEVEL, background=0.0)
    step = affine.draw(len(images), (SIDE, SIDE), generator)
    rows, columns = torch.meshgrid(*[torch.arange(SIDE, dtype=torch.float64)] * 2, indexing="ij")
    places = step.matrix @ torch.stack([columns, rows, torch.ones_like(rows)]).reshape(3, -1)
    across, down = places[:, :2].reshape(len(images), 2, SIDE, SIDE).unbind(1)
    return affine.move(images, step), torch.stack([down - rows, across - columns], 1).float()


@torch.no_grad()
def measured(stage: RegGanStage, pair: dict[str, Tensor], truth: Tensor) -> dict[str, float]:
    """End-point errors inside the heads, in pixels and as shares of the identity's."""
    inside = pair["target"][:, 0] > 0
    difference = (stage.displacement(pair) - truth).movedim(1, -1)[inside]
    shift = difference.mean(0)
    identity = truth.norm(dim=1)[inside].mean().item()
    error, centred = (found.norm(dim=1).mean().item() for found in (difference, difference - shift))
    return {
        "identity_px": identity, "error_px": error, "ratio": error / identity,
        "common_shift_px": shift.norm().item(), "ratio_without_shift": centred / identity,
    }  # fmt: skip


def learn(seed: int, motion: str, anchor: float, steps: int) -> list[dict[str, float]]:
    """Errors while mode nc+r learns."""
    sources, targets = heads(0, TRAIN)
    unseen, still = heads(FIRST_TEST, TEST)
    shown, truth = moved(still, motion, torch.Generator().manual_seed(2026))
    torch.manual_seed(seed)
    stage = RegGanStage(RegGanConfig(mode="nc+r", anchor_weight=anchor, **NETWORKS), (SIDE, SIDE))
    updates = stage.updates()
    optimizers = [make_optimizer(update, TrainingSettings(**{**TRAINING, "lr": LR})) for update in updates]
    generator, began, found = torch.Generator().manual_seed(seed), time.process_time(), []
    for step in range(1, steps + 1):
        rows = torch.randint(TRAIN, (BATCH,), generator=generator)
        batch = {"image": sources[rows], "target": moved(targets[rows], motion, generator)[0]}
        for update, optimizer in zip(updates, optimizers, strict=True):
            stage.requires_grad_(False)
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.requires_grad_(True)
            set_learning_rate(optimizer, 0.5 * (1 + math.cos(math.pi * (step - 1) / steps)))
            optimizer.zero_grad()
            torch.stack(list(update.losses(batch).values())).sum().backward()
            optimizer.step()
        if step % EVERY == 0:
            found.append({"step": step, **measured(stage, {"image": unseen, "target": shown}, truth)})
            print(f"{motion}, anchor {anchor:g}, seed {seed}, step {step}: {found[-1]['ratio']:.3f} of the identity's "
                  f"{found[-1]['identity_px']:.2f} px, {found[-1]['ratio_without_shift']:.3f} without the shift "
                  f"({time.process_time() - began:.0f} s)", flush=True)  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4, 5])
    parser.add_argument("--motions", nargs="+", choices=("affine", "elastic"), default=["affine", "elastic"])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    settings = {
        "side": SIDE, "batch": BATCH, "lr": LR, "steps": given.steps, "level": LEVEL, "elastic": ELASTIC,
        "test_heads": [FIRST_TEST, FIRST_TEST + TEST], **NETWORKS,
    }  # fmt: skip
    content: dict[str, Any] = {"settings": settings, "environment": environment(), "runs": []}
    for motion in given.motions:
        for anchor in (ANCHOR, 0.0):
            for seed in given.seeds:
                course = learn(seed, motion, anchor, given.steps)
                content["runs"].append({"motion": motion, "anchor": anchor, "seed": seed, "course": course})
                given.out.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
