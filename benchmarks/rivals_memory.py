"""Activations that each method saves for the backward pass, as a share of full fine-tuning's.

    OMP_NUM_THREADS=1 python benchmarks/rivals_memory.py

Writes ``benchmarks/results/rivals_memory.json``. ViT-B/16 at 512 pixels, one image, five classes, with explicit and
with fused attention (timm's switch). Parameters and buffers do not count, shared storages count once; the numbers do
not depend on time, allocator or threads. Learned parameters are in the table too.
"""

import json
from pathlib import Path
from typing import Any

import modicum  # noqa: F401 - before anything that imports torchvision

# isort: split
import torch

from modicum.engine.training.meters import saved_tensors
from modicum.methods import Context, method_class
from modicum.nn import Backbone, count_parameters
from modicum.tasks import Classification
from training_overhead import machine

RESULTS = Path(__file__).parent / "results" / "rivals_memory.json"
NETWORK, SIDE = "vit_base_patch16_384", 512
METHODS = (
    "full", "partial", "bitfit", "vpt", "lora", "dora", "adapter", "attention", "ssf", "adaptformer", "side", "lst",
    "dtl",
)  # fmt: skip


def network_of(name: str) -> torch.nn.Module:
    task = Classification("multi-class", [str(number) for number in range(5)])
    torch.manual_seed(0)
    found = method_class(name)
    context = Context(task, lambda: Backbone(NETWORK, (SIDE, SIDE)), {}, {})
    return found(found.Config(), context).predictor().train()


def saved(network: torch.nn.Module, explicit: bool) -> int:
    for part in network.modules():
        if hasattr(part, "fused_attn"):
            part.fused_attn = not explicit
    with saved_tensors([*network.parameters(), *network.buffers()]) as account:
        outputs = network(torch.rand(1, 3, SIDE, SIDE))
    outputs.sum().backward()  # lets go of what was saved
    return account.bytes


def main() -> None:
    torch.set_num_threads(1)
    found: dict[str, dict[str, Any]] = {}
    for name in METHODS:
        network = network_of(name)
        total, learnable = count_parameters(network)
        found[name] = {
            "learnable": learnable,
            "learnable_percent": round(100 * learnable / total, 4),
            "explicit_mib": round(saved(network, explicit=True) / 2**20, 1),
            "fused_mib": round(saved(network, explicit=False) / 2**20, 1),
        }
        for kind in ("explicit", "fused"):
            found[name][f"{kind}_to_full"] = round(
                found[name][f"{kind}_mib"] / found["full"][f"{kind}_mib"], 4
            )
        print(name, found[name], flush=True)
    results = {
        "command": "OMP_NUM_THREADS=1 python benchmarks/rivals_memory.py",
        "machine": machine(),
        "network": NETWORK,
        "image_side": SIDE,
        "batch_size": 1,
        "methods": found,
    }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
