"""Which common network a file of weights is of, by its tensors' names and shapes: for the error that it does not fit."""

from collections.abc import Mapping

import torch
from torch import Tensor

from modicum.nn.weight_names import prefixes_of

# By family, a tensor that all of it have, and common members of it; only the family's members are built to compare.
_FAMILIES = {
    "layer1.0.conv1.weight": ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "test_resnet"),
    "blocks.0.attn.qkv.weight": (
        "vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224", "vit_base_patch32_224",
        "vit_large_patch16_224", "vit_small_patch14_dinov2", "vit_base_patch14_dinov2", "test_vit",
    ),
    "conv_stem.weight": (
        "efficientnet_b0", "efficientnet_b3", "tf_efficientnet_lite0", "mobilenetv2_100", "mobilenetv3_large_100",
    ),
    "features.conv0.weight": ("densenet121", "densenet169"),
    "stages.0.blocks.0.conv_dw.weight": ("convnext_tiny", "convnext_base"),
    "layers.0.blocks.0.attn.qkv.weight": ("swin_tiny_patch4_window7_224", "swin_base_patch4_window7_224"),
}  # fmt: skip
LIKELY = 0.9
"""Share of a network's tensors that must be there."""


def likely_architecture(state: Mapping[str, Tensor]) -> str | None:
    """timm's name of the common network of which most tensors are in a state dict; None if there is none."""
    import timm

    members = [
        name
        for anchor, names in _FAMILIES.items()
        if any(key == anchor or key.endswith(f".{anchor}") for key in state)
        for name in names
    ]
    best, most = None, 0
    for name in members:
        with torch.device("meta"):  # shapes alone
            expected = timm.create_model(name, num_classes=0).state_dict()
        matching = next((count for _, count in prefixes_of(state, expected)), 0)
        if (
            matching >= LIKELY * len(expected) and matching > most
        ):  # a smaller network may be a part of a larger one
            best, most = name, matching
    return best
