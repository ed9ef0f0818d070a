"""What LED's answers cost: time by start, network calls by sampler, memory of tiles.

    python benchmarks/learning/led/cost.py [--run WORK/runs/led0 --pairs WORK/test/manifest.csv]

Time and memory are ratios on one thread: time of the processor, of an untrained network of 16, 32 and 32 channels; memory
of one of 64, 64 and 128, each the peak of a process of its own, less what it had before. With ``--run`` and ``--pairs``
(both made by ``enhancement.py``) the PSNR of samplers is measured too; results that are there already are kept.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import modicum
from modicum.engine.environment import environment
from modicum.methods.led import Enhancer
from modicum.nn import ConditionalUnet, NoiseSchedule
from modicum.nn.diffusion_sampling import SamplingPlan

TILE, OVERLAP = 128, 32
CANVAS = 2 * (TILE - OVERLAP)  # tiles reach half an overlap beyond its borders
IMAGES = 12
"""Of the test images, that samplers are measured on."""
SAMPLERS: dict[str, dict[str, Any]] = {
    "ddim, 50 steps": {"sampler": "ddim", "steps": 50, "placement": "inside"},
    "ddim, 15 steps": {"sampler": "ddim", "steps": 15, "placement": "inside"},
    "dpm_solver, 15 steps": {"sampler": "dpm_solver", "steps": 15, "placement": "inside"},
    "dpm_solver, 10 steps": {"sampler": "dpm_solver", "steps": 10, "placement": "inside"},
}


def enhancer(start: int, widths: tuple[int, ...], steps: int = 50) -> Enhancer:
    """An untrained network."""
    torch.manual_seed(0)
    network = ConditionalUnet(widths=widths, attention_levels=()).eval()
    return Enhancer(network, NoiseSchedule(), SamplingPlan(start, steps))


@torch.no_grad()
def seconds(start: int) -> float:
    """Of one image of half a tile's side."""
    made, image = enhancer(start, (16, 32, 32)), torch.rand(1, 3, TILE // 2, TILE // 2)
    made(image, torch.zeros(1, dtype=torch.int64))
    began = time.process_time()
    made(image, torch.zeros(1, dtype=torch.int64))
    return time.process_time() - began


@torch.no_grad()
def peak(side: int, tiled: bool) -> int:
    """Bytes that enhancing one image takes at its peak, in this process."""
    made = enhancer(200, (64, 64, 128), 5)
    if tiled:
        made = made.with_tiles((TILE, TILE), (OVERLAP, OVERLAP))
    small = torch.rand(1, 3, 16, 16)
    made(small, torch.zeros(1, dtype=torch.int64))  # libraries allocate at first use
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made(torch.rand(1, 3, side, side), torch.zeros(1, dtype=torch.int64))
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--peak", help="SIDE,TILED: of one process")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        side, tiled = options.peak.split(",")
        print(peak(int(side), tiled == "1"))
        return
    file = Path(__file__).parents[2] / "results" / "led_cost.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    found |= {"date": time.strftime("%Y-%m-%d"), "environment": environment()}
    if options.run:
        name = options.run.name
        found["samplers"] = found.get("samplers", {}) | {name: samplers(options.run, options.pairs)}
    else:
        found |= time_and_memory()
    file.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({key: value for key, value in found.items() if key != "environment"}, indent=1))


def time_and_memory() -> dict[str, Any]:
    """Ratios that need no training."""
    times = {start: min(seconds(start) for _ in range(3)) for start in (200, 800)}
    peaks = {}
    for name, side, tiled in (("one tile", TILE, 0), ("four tiles", CANVAS, 1), ("whole", CANVAS, 0)):
        command = [sys.executable, __file__, "--peak", f"{side},{tiled}"]
        peaks[name] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {
        "time": {"seconds": times, "ratio": times[200] / times[800]},
        "memory": {"bytes": peaks, "ratio": peaks["four tiles"] / peaks["one tile"]},
    }


def samplers(path: Path, pairs: Path) -> dict[str, Any]:
    """PSNR of the test images by sampler and start."""
    run = modicum.Run.open(path)
    found = {}
    table = pd.read_csv(pairs)
    few = pairs.parent / "few.csv"
    table.iloc[:: len(table) // IMAGES][:IMAGES].to_csv(few, index=False)
    for name, answers in SAMPLERS.items():
        for start in (200, 800):
            content = run.evaluate(
                few, split="test", out=path.parent.parent / "cost", write_report=False, workers=0,
                answers={**answers, "start": start},
            )  # fmt: skip
            found[f"{name}, start {start}"] = content["metrics"]["psnr_foreground"]["value"]
            print(name, start, found[f"{name}, start {start}"], flush=True)
    return found


if __name__ == "__main__":
    main()
