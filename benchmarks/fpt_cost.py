"""What FPT and FPT+ cost: memory of the backward pass, steps, extraction, reading the store. Ratios within one run.

    OMP_NUM_THREADS=1 python benchmarks/fpt_cost.py            # about ten minutes on one thread
    OMP_NUM_THREADS=1 python benchmarks/fpt_cost.py --device cuda

Writes ``benchmarks/results/fpt_cost.json``. ViT-B/16 at 512 pixels, five classes, random weights. Rounds alternate, so
that other work on the machine meets all alike; times are of the processor on a CPU, of the wall clock on a GPU.

* **memory**: bytes of distinct storages that autograd saves for one image, parameters and buffers left out, stored
  features counted; against full fine-tuning with explicit softmax attention, as the papers compare, and with fused.
* **step**: forward, backward and AdamW on stored features of one image, against a step of full fine-tuning.
* **extraction**: images a second through taps, token scores and codec, against the plain frozen forward pass.
* **reading**: the share of an epoch that the engine waits for records of the store (float16, in the page cache).
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import modicum  # noqa: F401 - before anything that imports torchvision

# isort: split
import numpy as np
import torch
from torch import nn

from modicum.data.stores.shard_format import RecordSpec
from modicum.data.stores.shard_writer import ShardWriter
from modicum.engine.inputs.batches import StageData, Stored
from modicum.engine.inputs.extraction import RecordReader
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.run_folder import RunFolder
from modicum.engine.training.meters import saved_tensors
from modicum.engine.training.stage_trainer import StageTrainer
from modicum.methods import Context, Method, method_class
from modicum.methods.fpt.stages import FineTuning, KeysValues
from modicum.nn import Backbone
from modicum.tasks import Classification
from training_overhead import machine

RESULTS = Path(__file__).parent / "results" / "fpt_cost.json"
NETWORK, SIDE, CLASSES = "vit_base_patch16_384", 512, 5
TASK = Classification("multi-class", [str(number) for number in range(CLASSES)])
# The forms that are compared: the papers' (float32 features, nothing recomputed), and this library's.
FORMS = {
    "float32, nothing recomputed": {"store_dtype": "float32", "recompute": False},
    "float16, nothing recomputed": {"recompute": False},
    "float16 (default)": {},
    "int8": {"store_dtype": "int8"},
}


def method(name: str, **config: Any) -> Method:
    """A method on a backbone of its own: some freeze theirs."""
    torch.manual_seed(0)
    found = method_class(name)
    return found(found.Config(**config), Context(TASK, lambda: Backbone(NETWORK, (SIDE, SIDE)), {}, {}))


def tuning(made: Method) -> tuple[KeysValues, FineTuning]:
    extract, _, tune = made.stages()
    assert isinstance(extract, KeysValues)
    assert isinstance(tune, FineTuning)
    return extract, tune


def explicit(network: nn.Module, wanted: bool) -> None:
    for part in network.modules():
        if hasattr(part, "fused_attn"):
            part.fused_attn = not wanted


def stored_batch(extract: KeysValues, tune: FineTuning, images: int, device: torch.device) -> dict[str, Any]:
    """Records of made keys and values, side images and labels."""
    taps = extract.taps.module
    shape = (images, len(taps.layers), 2, taps.shape.heads, taps.tokens, taps.shape.head_dim)
    return {
        "features": extract.codec.encode(torch.randn(shape, device=device)),
        "image": torch.rand(images, 3, *tune.image_size, device=device),
        "label": torch.zeros(images, dtype=torch.long, device=device),
        "position": torch.arange(images),
    }


def saved_bytes(network: nn.Module, run: Callable[[], Any]) -> int:
    with saved_tensors([*network.parameters(), *network.buffers()]) as account:
        kept = run()
    del kept
    return account.bytes


def memory(device: torch.device) -> dict[str, Any]:
    """Saved bytes of one image."""
    full = method("full").predictor().to(device).train()
    image = torch.rand(1, 3, SIDE, SIDE, device=device)
    found: dict[str, Any] = {}
    for attention in ("explicit", "fused"):
        explicit(full, attention == "explicit")
        found[f"full, {attention} attention"] = saved_bytes(full, lambda: full(image))
    explicit(full, False)
    for name in ("fpt", "fpt_plus"):
        for form, config in FORMS.items():
            extract, tune = tuning(method(name, **config))
            tune.to(device).train()
            batch = stored_batch(extract, tune, 1, device)
            found[f"{name}, {form}"] = saved_bytes(
                tune, lambda tune=tune, batch=batch: tune.validate(batch)[1]
            )
    reference, fused = found["full, explicit attention"], found["full, fused attention"]
    return {
        name: {
            "bytes": count,
            "of_full_explicit": round(count / reference, 5),
            "of_full_fused": round(count / fused, 5),
        }
        for name, count in found.items()
    }


class Timer:
    """Seconds of a call: of this process's processor time on a CPU, of the wall clock on a GPU."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"

    def __call__(self, run: Callable[[], Any]) -> float:
        clock = time.perf_counter if self.cuda else time.process_time
        if self.cuda:
            torch.cuda.synchronize()
        began = clock()
        run()
        if self.cuda:
            torch.cuda.synchronize()
        return clock() - began


def compared(timer: Timer, runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Seconds of each run, and its ratio to the first one's in the same round: median, least and most."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            seconds[name].append(timer(run))
    first = next(iter(seconds.values()))
    found = {}
    for name, values in seconds.items():
        ratios = [value / reference for value, reference in zip(values, first, strict=True)]
        found[name] = {
            "seconds": round(statistics.median(values), 5),
            "ratio": round(statistics.median(ratios), 5),
            "ratio_range": [round(min(ratios), 5), round(max(ratios), 5)],
        }
    return found


def steps(device: torch.device, rounds: int) -> dict[str, Any]:
    """One training step each, one image."""
    full = method("full").predictor().to(device).train()
    assert all(parameter.requires_grad for parameter in full.parameters())
    image, label = (
        torch.rand(1, 3, SIDE, SIDE, device=device),
        torch.zeros(1, dtype=torch.long, device=device),
    )
    optimizer = torch.optim.AdamW(full.parameters(), lr=1e-6, fused=True)

    def full_step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(full(image), label).backward()
        optimizer.step()

    runs: dict[str, Callable[[], Any]] = {"full": full_step}
    for name in ("fpt", "fpt_plus"):
        extract, tune = tuning(method(name))
        runs[name] = side_step(tune.to(device).train(), stored_batch(extract, tune, 1, device))
    return compared(Timer(device), runs, rounds)


def side_step(tune: FineTuning, batch: dict[str, Any]) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(tune.network.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        sum(tune.validate(batch)[1].values()).backward()
        optimizer.step()

    return step


def extraction(device: torch.device, rounds: int) -> dict[str, Any]:
    """The plain forward pass against both extractions; ``rate`` is images a second relative to the first."""
    images = torch.rand(1, 3, SIDE, SIDE, device=device)
    backbone = Backbone(NETWORK, (SIDE, SIDE)).to(device).requires_grad_(False).eval()

    @torch.no_grad()
    def plain() -> None:
        backbone.body.forward_features(backbone.normalise(images))

    runs: dict[str, Callable[[], Any]] = {"plain forward pass": plain}
    for name in ("fpt", "fpt_plus"):
        extract, _ = tuning(method(name))
        runs[name] = partial(extract.to(device).eval(), {"image": images})
    found = compared(Timer(device), runs, rounds)
    for values in found.values():
        values["rate"] = round(1 / values["ratio"], 4)
    return found


def reading(device: torch.device, images: int = 96) -> dict[str, Any]:
    """Epochs of the engine on a store of real size: the share of waiting."""
    found = {}
    for name in ("fpt", "fpt_plus"):
        extract, tune = tuning(method(name))
        one = {key: value.cpu() for key, value in stored_batch(extract, tune, 1, device).items()}
        with tempfile.TemporaryDirectory() as folder:
            spec = RecordSpec("float16", tuple(one["features"].shape[1:]), 4096)
            with ShardWriter(Path(folder) / "store", {}, spec) as writer:
                for number in range(images):
                    writer.add(str(number), one["features"][0].numpy() + np.float16(number / images))
                reader = RecordReader(writer.finalise(), ())
            rows = np.arange(images)
            side = np.zeros((1, *tune.image_size, 3), dtype=np.uint8)
            data = StageData(
                {
                    "features": Stored(reader, rows[None]),
                    "image": Stored(lambda p, side=side: np.repeat(side, len(p), 0), rows[None]),
                },
                {"label": rows % CLASSES}, rows, rows[:0], rows % CLASSES,
            )  # fmt: skip
            recipe = make_recipe("made", name, {"epochs": 3, "batch_size": 16, "device": str(device)})
            result = StageTrainer(tune, recipe, RunFolder(Path(folder) / "run"), data, TASK, device).run()
        found[name] = {
            "data_wait_share": round(result.time["data_wait_share"], 4),
            "images_per_second": round(result.time["images_per_second"], 2),
            "peak_bytes": result.memory["peak_bytes"],
            "memory_kind": result.memory["kind"],
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    results = {
        "machine": machine(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "network": NETWORK,
        "image_size": SIDE,
        "memory": memory(device),
        "step": steps(device, arguments.rounds),
        "extraction": extraction(device, arguments.rounds),
        "reading": reading(device),
    }
    name = RESULTS if device.type == "cpu" else RESULTS.with_name("fpt_cost_gpu.json")
    name.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
