"""The hybrid transformer of SPMix: the first stages of ResNet-50-D, then eight transformer blocks.

From the code of "Saliency-guided and Patch-based Mixup for Long-tailed Skin Cancer Image Classification" (arXiv
2406.10801). Known to timm under :data:`NAME` as soon as this module is imported, so that it serves as any backbone.
"""

from functools import partial
from typing import Any

from torch import nn

from modicum.progress import say

NAME = "spmix_resnet50d_vit"
"""Name of the network for ``--backbone``."""


def spmix_resnet50d_vit(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """ResNet-50-D up to stride 16 (1,024 channels), a 1 x 1 convolution to 768, a class token and positions, eight blocks
    of eight heads with an MLP three times as wide, a norm; the class token is the feature.

    56,762,976 parameters without a classifier.

    Args:
        pretrained: ImageNet weights for the ResNet; there are none for the transformer, which stays random.
        arguments: further ones of ``timm.create_model``.
    """
    from timm.models import create_model
    from timm.models.vision_transformer import VisionTransformer
    from timm.models.vision_transformer_hybrid import HybridEmbed

    for name in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
        arguments.pop(name, None)
    if pretrained:
        say(
            f"{NAME}: weights for the ResNet from the hub; its transformer blocks have none and start at random"
        )
    stem = create_model("resnet50d", pretrained=pretrained, features_only=True, out_indices=(3,))
    settings = {"embed_dim": 768, "depth": 8, "num_heads": 8, "mlp_ratio": 3.0, "patch_size": 1}
    network: Any = VisionTransformer(
        embed_layer=partial(HybridEmbed, backbone=stem), **{**settings, **arguments}
    )
    # Statistics of ImageNet, as its ResNet was trained with.
    network.pretrained_cfg = network.default_cfg = {
        "architecture": NAME,
        "input_size": (3, 224, 224),
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "num_classes": 0,
    }
    made: nn.Module = network
    return made


def register() -> None:
    """Makes the network known to timm; again has no effect."""
    import timm
    from timm.models import register_model

    if not timm.is_model(NAME):
        register_model(spmix_resnet50d_vit)
