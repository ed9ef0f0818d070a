"""Visual prompt tuning: learned tokens among the patches of a frozen vision transformer."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import nn

from modicum.methods.adapted import AdaptedMethod
from modicum.methods.base import MethodConfig
from modicum.nn import Backbone
from modicum.nn.plain_vit import plain_vit, vit_shape
from modicum.nn.prompts import PromptedBlock, new_prompts


class VPTConfig(MethodConfig):
    """Settings of visual prompt tuning."""

    num_prompts: int = Field(16, ge=1, description="Prompts a block (the paper searches 1 to 200).")
    deep: bool = Field(
        True,
        description="New prompts before every block (VPT-deep); else before the first only (VPT-shallow).",
    )


class VPT(AdaptedMethod):
    """Trains prompts and a head.

    The prompts come after the class token. With ``deep`` each block has its own prompts, which replace the outputs of
    the block before at theirs; they are removed before the final norm, so that pooling over patches sees patches only.
    """

    name: ClassVar[str] = "vpt"
    summary: ClassVar[str] = "learn prompt tokens for every block of a frozen vision transformer"
    source: ClassVar[str] = "Jia et al., Visual Prompt Tuning, ECCV 2022 (arXiv 2203.12119)"
    Config: ClassVar[type[MethodConfig]] = VPTConfig
    # The paper searches SGD rates of 0.05 to 50 and decays of 0 to 0.01; with AdamW 1e-3 is usual.
    training: ClassVar[Mapping[str, Any]] = {
        "epochs": 20,
        "batch_size": 16,
        "lr": 1e-3,
        "weight_decay": 1e-3,
    }
    config: VPTConfig

    def adapt(self, backbone: Backbone) -> Iterable[nn.Module]:
        body = plain_vit(backbone, self.name)
        shape, count = vit_shape(body), self.config.num_prompts
        last = shape.depth - 1
        for index in range(shape.depth):
            block = body.blocks[index]
            if hasattr(block.attn, "num_prefix_tokens"):  # rotary positions are of patches, not of prompts
                block.attn.num_prefix_tokens += count
            prompts = (
                new_prompts(count, shape.width, shape.patch_size) if self.config.deep or not index else None
            )
            body.blocks[index] = PromptedBlock(
                block, shape.prefix_tokens, prompts, count if index else 0, count if index == last else 0
            )
        return []
