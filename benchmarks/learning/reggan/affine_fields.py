"""Does RegGAN's registration network find the motion of the paper's noise? Made heads, moved by known affine maps.

    OMP_NUM_THREADS=1 python benchmarks/learning/reggan/affine_fields.py    # some minutes a seed

Mode nc+r learns from T1 and a T2 that is turned, shifted and zoomed anew each time it is shown (misalignment level 5; the
T1 stays where it is). On heads and motions that were not learned from, the end-point error is the mean length of the
difference between the field that was found and the true one, inside the head, in pixels; the identity's is the mean
length of the true field. Given for the weights of the last step and for their running average (decay 0.98), because
generator and registration can drift against each other: nothing in the loss ties the translation to the place of its
source. Writes ``benchmarks/results/reggan_affine_fields.json``.
"""

import argparse
import copy
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modicum.data.phantoms.mr_pairs import mr_pair
from modicum.engine.environment import environment
from modicum.engine.optimizers import make_optimizer
from modicum.engine.recipe import TrainingSettings
from modicum.methods.reggan import TRAINING, RegGanConfig, RegGanStage
from modicum.transforms import AffineMisalignment

RESULTS = Path(__file__).parents[2] / "results" / "reggan_affine_fields.json"
SIDE, BATCH, LR, DECAY = 64, 4, 4e-4, 0.98
TRAIN, TEST, LEVEL, EVERY = 300, 24, 5, 150
NETWORKS: dict[str, Any] = {"width": 16, "blocks": 3, "discriminator_width": 16, "registration_width": 16}


def heads(first: int, count: int) -> tuple[Tensor, Tensor]:
    """T1 and T2 of heads that lie on each other, ``[count, 1, SIDE, SIDE]`` in [0, 1]."""
    made = [mr_pair(seed, SIDE, 0) for seed in range(first, first + count)]
    first_contrast, second = (
        np.stack([getattr(pair, name) for pair in made]) for name in ("source", "target")
    )
    return tuple((torch.from_numpy(part)[:, None].float() + 1) / 2 for part in (first_contrast, second))  # type: ignore


def moved(images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images moved at random, and the displacements in pixels (rows first) that say where each pixel was read."""
    motion = AffineMisalignment(level=LEVEL, background=0.0)
    step = motion.draw(len(images), (SIDE, SIDE), generator)
    rows, columns = torch.meshgrid(*[torch.arange(SIDE, dtype=torch.float64)] * 2, indexing="ij")
    places = step.matrix @ torch.stack([columns, rows, torch.ones_like(rows)]).reshape(3, -1)
    across, down = places[:, :2].reshape(len(images), 2, SIDE, SIDE).unbind(1)
    return motion.move(images, step), torch.stack([down - rows, across - columns], 1).float()


@torch.no_grad()
def end_point_error(stage: RegGanStage, pair: dict[str, Tensor], truth: Tensor) -> float:
    """Inside the heads, in pixels."""
    return (stage.displacement(pair) - truth).norm(dim=1)[pair["target"][:, 0] > 0].mean().item()


def learn(seed: int, steps: int) -> list[dict[str, float]]:
    """Errors while mode nc+r learns."""
    sources, targets = heads(0, TRAIN)
    unseen, still = heads(10_000, TEST)
    shown, truth = moved(still, torch.Generator().manual_seed(99))
    test = {"image": unseen, "target": shown}
    identity = truth.norm(dim=1)[shown[:, 0] > 0].mean().item()
    torch.manual_seed(seed)
    stage = RegGanStage(RegGanConfig(mode="nc+r", **NETWORKS), (SIDE, SIDE))
    average = copy.deepcopy(stage)
    updates = stage.updates()
    optimizers = [make_optimizer(update, TrainingSettings(**{**TRAINING, "lr": LR})) for update in updates]
    generator, began, found = torch.Generator().manual_seed(seed), time.process_time(), []
    for step in range(1, steps + 1):
        rows = torch.randint(TRAIN, (BATCH,), generator=generator)
        batch = {"image": sources[rows], "target": moved(targets[rows], generator)[0]}
        for update, optimizer in zip(updates, optimizers, strict=True):
            stage.requires_grad_(False)
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.requires_grad_(True)
            optimizer.zero_grad()
            torch.stack(list(update.losses(batch).values())).sum().backward()
            optimizer.step()
        for mean, parameter in zip(average.parameters(), stage.parameters(), strict=True):
            mean.data.lerp_(parameter.data, 1 - DECAY)
        if step % EVERY == 0:
            last, averaged = (end_point_error(one, test, truth) / identity for one in (stage, average))
            found.append({"step": step, "identity_px": identity, "last": last, "averaged": averaged})
            print(f"seed {seed} step {step}: of the identity's {identity:.2f} px {last:.3f}, averaged {averaged:.3f} "
                  f"({time.process_time() - began:.0f} s)", flush=True)  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=1050)
    given = parser.parse_args()
    settings = {"side": SIDE, "batch": BATCH, "lr": LR, "level": LEVEL, "decay": DECAY, **NETWORKS}
    content: dict[str, Any] = {"settings": settings, "environment": environment(), "seeds": {}}
    for seed in given.seeds:
        content["seeds"][seed] = learn(seed, given.steps)
        RESULTS.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
