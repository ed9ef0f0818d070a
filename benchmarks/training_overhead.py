"""Training with modicum's engine against a plain PyTorch loop: same network, batches, optimiser, thread.

    OMP_NUM_THREADS=1 python benchmarks/training_overhead.py

Writes ``benchmarks/results/training_overhead.json``. Both train resnet10t on 64-pixel images in batches of 32
with AdamW and clipped gradients, from images in memory, without augmentation or validation. The engine does on top
what it always does: a learning rate and a seed for every step, losses and history, meters, checks for signals.
Rounds alternate, so that other work on the machine meets both alike. Times are of the processor (one thread), and
of the wall clock beside them. A loop that keeps PyTorch's default AdamW is timed too: the engine's is fused.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import modicum  # noqa: F401 - before anything that imports torchvision

# isort: split
import numpy as np
import timm
import torch
from torch import nn
from torch.nn import functional as F

from modicum.engine.inputs.batches import StageData, Stored
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.run_folder import RunFolder
from modicum.engine.training.stage_trainer import StageTrainer
from modicum.methods.full import FineTuneStage, FullConfig
from modicum.nn import Backbone, Classifier, linear_head
from modicum.tasks import Classification

RESULTS = Path(__file__).parent / "results" / "training_overhead.json"
IMAGES, SIDE, BATCH, WARM = 32 * 12, 64, 32, 2


def records() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.integers(256, size=(IMAGES, SIDE, SIDE, 3), dtype=np.uint8), np.arange(IMAGES) % 5


class Ticks:
    """When each batch was asked for: processor and wall-clock seconds of the steps between."""

    def __init__(self) -> None:
        self.processor: list[float] = []
        self.wall: list[float] = []

    def __call__(self) -> None:
        self.processor.append(time.process_time())
        self.wall.append(time.perf_counter())

    def per_step(self) -> dict[str, float]:
        """The median of the steps after the first few, in milliseconds."""
        return {
            name: 1000 * float(np.median(np.diff(times)[WARM:]))
            for name, times in (("processor_ms", self.processor), ("wall_ms", self.wall))
        }


def network() -> Classifier:
    torch.manual_seed(0)
    backbone = Backbone("resnet10t", (SIDE, SIDE))
    return Classifier(backbone, linear_head(backbone.num_features, 5))


def plain_loop(fused: bool) -> dict[str, float]:
    """What one would write by hand."""
    images, labels = records()
    model, ticks = network().train(), Ticks()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=fused or None)
    order = np.random.default_rng(0).permutation(IMAGES)
    for start in range(0, IMAGES, BATCH):
        ticks()
        rows = order[start : start + BATCH]
        batch = torch.from_numpy(images[rows]).permute(0, 3, 1, 2).contiguous().float().div_(255)
        loss = F.cross_entropy(model(batch), torch.from_numpy(labels[rows]))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return ticks.per_step()


def engine_loop() -> dict[str, float]:
    """The same through the engine."""
    images, labels = records()
    ticks, rows = Ticks(), np.arange(IMAGES)

    def read(positions: np.ndarray) -> np.ndarray:
        ticks()
        return images[positions]

    task = Classification("multi-class", [str(number) for number in range(5)])
    recipe = make_recipe(
        "made", "full", {"epochs": 1, "batch_size": BATCH, "image_size": SIDE, "augment": "none"}
    )
    data = StageData({"image": Stored(read, rows[None])}, {"label": labels}, rows, rows[:0], labels)
    stage = FineTuneStage(network(), task.loss({}, {}), FullConfig())
    with tempfile.TemporaryDirectory() as folder:
        StageTrainer(stage, recipe, RunFolder(Path(folder)), data, task, torch.device("cpu")).run()
    return ticks.per_step()


def spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 2),
        "min": round(min(values), 2),
        "max": round(max(values), 2),
    }


def machine() -> dict:
    import lightning

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor())
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_when_done": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "timm": timm.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=11)
    rounds = arguments.parse_args().rounds
    torch.set_num_threads(1)
    loops = {
        "plain": lambda: plain_loop(fused=True),
        "engine": engine_loop,
        "plain_default_adamw": lambda: plain_loop(fused=False),
    }
    times: dict[str, list[dict[str, float]]] = {name: [] for name in loops}
    for _ in range(rounds):
        for name, loop in loops.items():
            times[name].append(loop())
    found = {
        name: {clock: spread([one[clock] for one in rounds_]) for clock in ("processor_ms", "wall_ms")}
        for name, rounds_ in times.items()
    }
    ratios = [
        100 * (engine["processor_ms"] / plain["processor_ms"] - 1)
        for engine, plain in zip(times["engine"], times["plain"], strict=True)
    ]
    results = {
        "command": "OMP_NUM_THREADS=1 python benchmarks/training_overhead.py",
        "machine": machine(),
        "network": "resnet10t",
        "image_side": SIDE,
        "batch_size": BATCH,
        "rounds": rounds,
        "steps_a_round": IMAGES // BATCH - 1 - WARM,
        "milliseconds_a_step": found,
        "overhead_percent": spread(ratios),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
