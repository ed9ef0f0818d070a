"""What RegGAN costs: a training step against a plain implementation, other modes, operations, and translating a volume.

    OMP_NUM_THREADS=1 python benchmarks/reggan_cost.py                # some minutes of processor time
    OMP_NUM_THREADS=1 python benchmarks/reggan_cost.py --only step    # a section of the results anew
    OMP_NUM_THREADS=1 python benchmarks/reggan_cost.py --device cuda

Writes ``benchmarks/results/reggan_cost.json``, section by section. The published networks (16.2 million parameters) at
256x256 pixels, one channel. Rounds alternate, so that other work on the machine meets all alike; times are of the
processor on a CPU, of the wall clock on a GPU. Least times are compared: what else runs on the machine only adds.

* **agreement**: a step of mode nc+r as the engine makes it and the loop of ``reggan_plain.py``, from the same weights,
  have to agree on every loss.
* **step**: the time of these two; the plain loop is in float32.
* **modes**: steps of all modes in bfloat16, against nc+r.
* **operations**: floating-point operations of a step, counted: what both loops ask the hardware for.
* **prediction**: what ``modicum predict`` does with a NIfTI volume of 160 slices: seconds, and by how much resident
  memory grows; and the predictor's time against the generator's alone.
"""

import argparse
import contextlib
import json
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import modicum  # noqa: F401 - before anything that imports torchvision

# isort: split
import nibabel
import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from modicum.data.image import ImageRef
from modicum.data.prepared import StoreSettings
from modicum.engine.inference.dense_jobs import planned
from modicum.engine.inference.dense_output import DenseOutput
from modicum.engine.inference.dense_prediction import DensePredictor
from modicum.engine.recipe.settings import TrainingSettings
from modicum.engine.training.optimizers import make_optimizer
from modicum.methods.reggan import TRAINING, RegGanConfig, RegGanStage
from modicum.methods.reggan.method import Translation
from modicum.tasks.image_to_image.task import ImageToImage, ImageToImageOptions
from reggan_plain import PlainLoop
from training_overhead import machine

RESULTS = Path(__file__).parent / "results" / "reggan_cost.json"
SIDE, SLICES = 256, 160
Step = Callable[[], dict[str, float]]
# Ways of running the same step: precision, and settings of the method.
WAYS: dict[str, dict[str, Any]] = {
    "float32 (default on a CPU)": {},
    "float32, fakes=same": {"fakes": "same"},
    "bfloat16": {"bf16": True},
    "bfloat16, fakes=same": {"bf16": True, "fakes": "same"},
}


def pairs(batch: int, device: torch.device) -> dict[str, Tensor]:
    """Random images in [0, 1]; what they show makes no difference to time."""
    generator = torch.Generator().manual_seed(0)
    made = {name: torch.rand(batch, 1, SIDE, SIDE, generator=generator) for name in ("image", "target")}
    return {name: images.to(device) for name, images in made.items()}


def stage_of(device: torch.device, mode: str = "nc+r", **config: Any) -> RegGanStage:
    torch.manual_seed(0)
    return RegGanStage(RegGanConfig(mode=mode, **config), (SIDE, SIDE)).to(device)


def engine_step(stage: RegGanStage, batch: dict[str, Tensor], bf16: bool = False) -> Step:
    """A step as the engine makes it: each update in turn, and only its own parameters get gradients."""
    device = batch["image"].device
    if device.type == "cuda":
        batch = {name: images.contiguous(memory_format=torch.channels_last) for name, images in batch.items()}
    updates = list(stage.updates())
    settings = TrainingSettings(**TRAINING)
    optimizers = [make_optimizer(update, settings) for update in updates]

    def step() -> dict[str, float]:
        shown: dict[str, Tensor] = {}
        context = torch.autocast(device.type, torch.bfloat16) if bf16 else contextlib.nullcontext()
        with context:
            for update, optimizer in zip(updates, optimizers, strict=True):
                stage.requires_grad_(False)
                for parameter in update.parameters:
                    parameter.requires_grad_(True)
                losses = update.losses(batch)
                optimizer.zero_grad()
                torch.stack(list(losses.values())).sum().backward()
                optimizer.step()
                shown |= losses
        return {name: value.item() for name, value in shown.items()}

    return step


def plain_step(batch: dict[str, Tensor]) -> tuple[Step, PlainLoop]:
    loop = PlainLoop().to(batch["image"].device)
    x, y = 2 * batch["image"] - 1, 2 * batch["target"] - 1
    return lambda: loop.step(x, y), loop


def timed(device: torch.device, run: Callable[[], Any]) -> float:
    """Seconds: of this process's processor time on a CPU, of the wall clock on a GPU."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = clock()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - began


def compared(device: torch.device, runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Of each run, after one to warm up: least and median seconds, and ratios to the first run.

    ``ratio`` is of the least times; ``ratio_range`` is of times in the same round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            seconds[name].append(timed(device, run))
    first = next(iter(seconds.values()))
    found = {}
    for name, values in seconds.items():
        ratios = [value / reference for value, reference in zip(values, first, strict=True)]
        found[name] = {
            "seconds": round(min(values), 4),
            "median_seconds": round(statistics.median(values), 4),
            "ratio": round(min(values) / min(first), 4),
            "ratio_range": [round(min(ratios), 4), round(max(ratios), 4)],
        }
        print(f"  {name:40} {found[name]}", flush=True)
    return found


def agreement(device: torch.device) -> dict[str, float]:
    """The largest relative difference of any loss over two steps from the same weights: both loops learn the same.

    Two steps, as the second one's losses depend on every gradient of the first one's.
    """
    batch = pairs(1, device)
    stage = stage_of(device)
    plain, loop = plain_step(batch)
    loop.take_weights(stage)
    ours = engine_step(stage, batch)
    steps = [(plain(), ours()) for _ in range(2)]
    differences = [
        abs(expected[name] - found[name]) / max(abs(expected[name]), 1e-3)
        for expected, found in steps for name in expected
    ]  # fmt: skip
    assert max(differences) < 1e-2, steps
    return {"largest_relative_difference": max(differences)}


def steps(device: torch.device, batch_size: int, rounds: int, ways: list[str]) -> dict[str, Any]:
    batch = pairs(batch_size, device)
    runs: dict[str, Callable[[], Any]] = {"plain float32": plain_step(batch)[0]}
    for name in ways:
        config = {key: value for key, value in WAYS[name].items() if key != "bf16"}
        runs[name] = engine_step(stage_of(device, **config), batch, bf16="bf16" in WAYS[name])
    return compared(device, runs, rounds)


def modes(device: torch.device, rounds: int) -> dict[str, Any]:
    """Steps of every mode, in bfloat16."""
    batch = pairs(1, device)
    runs = {
        name: engine_step(stage_of(device, name), batch, bf16=True)
        for name in ("nc+r", "nc", "p", "c", "c+r")
    }
    return compared(device, runs, rounds)


def operations() -> dict[str, Any]:
    """Floating-point operations of a step of one pair, in units of 10^9; a multiplication and an addition are two."""
    device = torch.device("cpu")
    batch = pairs(1, device)

    def counted(run: Callable[[], Any]) -> float:
        with FlopCounterMode(display=False) as counter:
            run()
        return round(counter.get_total_flops() / 1e9, 1)

    found = {"plain": counted(plain_step(batch)[0])}
    for mode in ("nc+r", "nc", "p", "c", "c+r"):
        found[mode] = counted(engine_step(stage_of(device, mode), batch))
    found["nc+r, fakes=same"] = counted(engine_step(stage_of(device, fakes="same"), batch))
    with torch.no_grad():
        found["translating"] = counted(lambda: stage_of(device)(batch))
    return found


def resident() -> int:
    """Bytes of memory that this process occupies."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class ResidentMemory(threading.Thread):
    """Watches this process's resident memory while something runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: list[int] = []
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(0.1):
            self.seen.append(resident())

    def __enter__(self) -> "ResidentMemory":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()


def volume(folder: Path, slices: int) -> Path:
    """A NIfTI file of noise."""
    values = np.random.default_rng(0).integers(1, 1000, (SIDE, SIDE, slices), dtype=np.int16)
    path = folder / f"volume{slices}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.diag([0.9, 0.9, 1.0, 1.0])), path)
    return path


def prediction(device: torch.device, rounds: int) -> dict[str, Any]:
    """From a NIfTI file to a NIfTI file, as ``modicum predict`` does it, one slice at a time, with its progress bar."""
    stage = stage_of(device).eval()
    network = Translation(stage.base.translator()).to(device).eval()
    image = pairs(1, device)["image"]
    with torch.no_grad():
        network_alone = compared(
            device,
            {
                "generator": lambda: stage.base.generator(2 * image - 1),
                "predictor": lambda: network(image),
            },
            rounds,
        )
    found: dict[str, Any] = {"network": network_alone}
    task = ImageToImage((1, 1), ImageToImageOptions())
    precision = "bf16" if device.type == "cpu" else "auto"
    predictor = DensePredictor(network, task, StoreSettings(SIDE, SIDE, channels=1), precision, device)
    with tempfile.TemporaryDirectory() as folder:
        # The short one loads libraries and warms up.
        for slices in (8, SLICES):
            path = volume(Path(folder), slices)
            output = DenseOutput(predictor, Path(folder) / f"out{slices}", "benchmark")
            jobs = planned([path], [str(path)], [ImageRef(path)])
            before, began, wall = resident(), time.process_time(), time.perf_counter()
            with ResidentMemory() as memory:
                summary = output.write(jobs)
            assert (summary.predicted, summary.broken) == (slices, 0)
            found[f"{slices} slices"] = {
                "precision": precision,
                "processor_seconds": round(time.process_time() - began, 1),
                "wall_seconds": round(time.perf_counter() - wall, 1),
                "resident_mib_before": round(before / 2**20, 1),
                "largest_growth_mib": round((max(memory.seen) - before) / 2**20, 1),
            }
    return found


SECTIONS: dict[str, Callable[[torch.device, int], Any]] = {
    "step": lambda device, rounds: steps(device, 1, rounds, list(WAYS)),
    "agreement": lambda device, rounds: agreement(device),
    "operations": lambda device, rounds: operations(),
    "modes": modes,
    "prediction": prediction,
    "step_batch_4": lambda device, rounds: steps(
        device, 4, max(1, rounds // 2), ["float32 (default on a CPU)", "bfloat16"]
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", choices=list(SECTIONS), nargs="+", default=list(SECTIONS))
    given = parser.parse_args()
    device = torch.device(given.device)
    name = RESULTS if device.type == "cpu" else RESULTS.with_name("reggan_cost_gpu.json")
    results = json.loads(name.read_text()) if name.is_file() else {}
    for section in given.only:
        print(section, flush=True)
        results[section] = {
            "rounds": given.rounds,
            **SECTIONS[section](device, given.rounds),
            "machine": machine(),
        }
        name.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
