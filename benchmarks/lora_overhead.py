"""LoRA through modicum against PEFT called directly, and against full fine-tuning: time, memory, file size.

    OMP_NUM_THREADS=1 python benchmarks/lora_overhead.py

Writes ``benchmarks/results/lora_overhead.json``. All train ViT-B/16 on the same random 224-pixel images with AdamW, on
one thread. PEFT is called as one would by hand, on timm's network: on the fused projection (one pair of matrices for
queries, keys and values together), and on queries and values after splitting it as modicum does (two pairs, each with
its own dropout mask). Rounds alternate, so that other work on the machine meets all alike; times are of the processor.
"""

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import modicum  # noqa: F401 - before anything that imports torchvision

# isort: split
import timm
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn import functional as F

from modicum.engine.checkpoint import save_tensors
from modicum.engine.model import learned_of
from modicum.engine.training.meters import saved_tensors
from modicum.methods import Context, Method, method_class
from modicum.nn import Backbone
from modicum.tasks import Classification
from training_overhead import machine, spread

RESULTS = Path(__file__).parent / "results" / "lora_overhead.json"
NETWORK, SIDE, BATCH, CLASSES = "vit_base_patch16_224", 224, 2, 14
TASK = Classification("multi-class", [str(number) for number in range(CLASSES)])


def method(name: str, **config: Any) -> Method:
    """A method of modicum on a fresh backbone."""
    torch.manual_seed(0)
    found = method_class(name)
    return found(found.Config(**config), Context(TASK, lambda: Backbone(NETWORK, (SIDE, SIDE)), {}, {}))


class Split(nn.Module):
    """Queries, keys and values apart, as one would write it around PEFT."""

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        width = fused.in_features
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        for layer, weight, bias in zip(
            (self.q, self.k, self.v), fused.weight.chunk(3), fused.bias.chunk(3), strict=True
        ):
            layer.weight.data, layer.bias.data = weight.detach().clone(), bias.detach().clone()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.q(tokens), self.k(tokens), self.v(tokens)], dim=-1)


def by_peft(rank: int, split: bool) -> nn.Module:
    """PEFT on timm's network, with the head learning as a saved module."""
    torch.manual_seed(0)
    network = timm.create_model(NETWORK, num_classes=CLASSES)
    if split:
        for block in network.blocks:
            block.attn.qkv = Split(block.attn.qkv)
    targets = ["q", "v"] if split else ["qkv"]
    config = LoraConfig(
        r=rank, lora_alpha=32, lora_dropout=0.1, target_modules=targets, modules_to_save=["head"]
    )
    return get_peft_model(network, config)


class Step:
    """One training step of a network, timed in its parts (processor milliseconds)."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network.train()
        learnable = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(learnable, lr=1e-4, fused=True)
        self.images = torch.rand(BATCH, 3, SIDE, SIDE)
        self.labels = torch.arange(BATCH) % CLASSES

    def __call__(self) -> dict[str, float]:
        began = time.process_time()
        loss = F.cross_entropy(self.network(self.images), self.labels)
        forward = time.process_time()
        self.optimizer.zero_grad()
        loss.backward()
        backward = time.process_time()
        self.optimizer.step()
        done = time.process_time()
        parts = {"forward": forward - began, "backward": backward - forward, "step": done - began}
        return {name: 1000 * seconds for name, seconds in parts.items()}


def predict(network: nn.Module) -> Callable[[], dict[str, float]]:
    """One forward pass without a graph, timed."""
    images = torch.rand(BATCH, 3, SIDE, SIDE)

    def timed() -> dict[str, float]:
        network.eval()
        began = time.process_time()
        with torch.no_grad():
            network(images)
        return {"forward": 1000 * (time.process_time() - began)}

    return timed


def alternate(
    tasks: dict[str, Callable[[], dict[str, float]]], rounds: int
) -> dict[str, list[dict[str, float]]]:
    """Each task once a round, after one round that is not counted."""
    for task in tasks.values():
        task()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            found[name].append(task())
    return found


def shown(times: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    return {
        name: {part: spread([one[part] for one in rounds]) for part in rounds[0]}
        for name, rounds in times.items()
    }


def ratio(times: dict[str, list[dict[str, float]]], part: str, one: str, other: str) -> dict[str, float]:
    """Over the rounds, the time of one by that of the other."""
    ratios = [a[part] / b[part] for a, b in zip(times[one], times[other], strict=True)]
    return {
        "median": round(statistics.median(ratios), 3),
        "min": round(min(ratios), 3),
        "max": round(max(ratios), 3),
    }


def activations(network: nn.Module, explicit: bool) -> int:
    """Bytes saved for the backward pass, with explicit or fused attention."""
    network = copy.deepcopy(network).train()
    for block in network.backbone.body.blocks:
        block.attn.fused_attn = not explicit
    with saved_tensors([*network.parameters(), *network.buffers()]) as account:
        outputs = network(torch.rand(BATCH, 3, SIDE, SIDE))
    outputs.sum().backward()  # lets go of what was saved
    return account.bytes


def memory(methods: dict[str, Method]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, made in methods.items():
        network = made.predictor()
        learnable = sum(4 * p.numel() for p in network.parameters() if p.requires_grad)
        with tempfile.TemporaryDirectory() as folder:
            save_tensors(Path(folder) / "weights.safetensors", learned_of(made))
            size = (Path(folder) / "weights.safetensors").stat().st_size
        found[name] = {
            "explicit_attention_mib_an_image": activations(network, explicit=True) / BATCH / 2**20,
            "fused_attention_mib_an_image": activations(network, explicit=False) / BATCH / 2**20,
            "static_mib": (sum(4 * p.numel() for p in network.parameters()) + 3 * learnable) / 2**20,
            "file_mib": size / 2**20,
        }
    ratios = {
        f"{name}_to_full": {key: value[key] / found["full"][key] for key in value}
        for name, value in found.items()
        if name != "full"
    }
    return found | ratios


def rounded(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: rounded(value) for key, value in values.items()}
    return round(values, 4) if isinstance(values, float) else values


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=11)
    rounds = arguments.parse_args().rounds
    torch.set_num_threads(1)
    methods = {
        "full": method("full"),
        "lora_4": method("lora", rank=4, pool="mean"),
        "lora_16": method("lora", rank=16),
    }
    saved = memory(methods)
    training = alternate(
        {
            "modicum_16": Step(methods["lora_16"].predictor()),
            "peft_split_16": Step(by_peft(16, split=True)),
            "peft_fused_16": Step(by_peft(16, split=False)),
            "modicum_4": Step(methods["lora_4"].predictor()),
            "full": Step(methods["full"].predictor()),
        },
        rounds,
    )
    unmerged = methods["lora_16"].predictor()
    inference = alternate(
        {
            "base": predict(methods["full"].predictor()),
            "merged": predict(methods["lora_16"].merge()),
            "unmerged": predict(unmerged),
        },
        rounds,
    )
    results = {
        "command": "OMP_NUM_THREADS=1 python benchmarks/lora_overhead.py",
        "machine": machine(),
        "network": NETWORK,
        "image_side": SIDE,
        "batch_size": BATCH,
        "rounds": rounds,
        "training_ms": shown(training),
        "inference_ms": shown(inference),
        "ratios": {
            "step_to_peft_split": ratio(training, "step", "modicum_16", "peft_split_16"),
            "step_to_peft_fused": ratio(training, "step", "modicum_16", "peft_fused_16"),
            "backward_lora_4_to_full": ratio(training, "backward", "modicum_4", "full"),
            "inference_merged_to_base": ratio(inference, "forward", "merged", "base"),
            "inference_unmerged_to_base": ratio(inference, "forward", "unmerged", "base"),
        },
        "memory": rounded(saved),
    }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
