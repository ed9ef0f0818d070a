"""The rivals of fine-grained prompt tuning, made for small and for full-size backbones."""

from typing import Any

import torch

from modicum.methods import Context, Method, method_class
from modicum.nn import Backbone
from modicum.tasks import Classification

NAMES = (
    "partial", "bitfit", "attention", "vpt", "adapter", "adaptformer", "ssf", "lora", "dora", "side", "lst", "dtl",
)  # fmt: skip
MERGING = ("partial", "bitfit", "attention", "ssf", "lora", "dora")
START_AS_THE_BACKBONE = ("partial", "bitfit", "attention", "adapter", "adaptformer", "lora", "dora", "dtl")
"""Their first outputs are the head's on the frozen backbone's own features."""


def made(
    name: str,
    backbone: str,
    size: int,
    *,
    classes: int = 5,
    device: str = "cpu",
    seed: int = 0,
    **config: Any,
) -> Method:
    """A method with freshly initialised networks."""
    found = method_class(name)
    task = Classification("multi-class", [str(number) for number in range(classes)])
    torch.manual_seed(seed)
    with torch.device(device):
        return found(found.Config(**config), Context(task, lambda: Backbone(backbone, (size, size)), {}, {}))


def small(name: str, **config: Any) -> Method:
    """A method on timm's smallest vision transformer at 32 pixels."""
    return made(name, "test_vit", 32, **config)
