"""Partial fine-tuning: the last blocks of a vision transformer and a new head learn."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import nn

from modicum.errors import InputError
from modicum.methods.adapted import AdaptedMethod
from modicum.methods.base import MethodConfig
from modicum.nn import Backbone
from modicum.nn.plain_vit import plain_vit


class PartialConfig(MethodConfig):
    """Settings of partial fine-tuning."""

    blocks: int = Field(1, ge=1, description="How many of the last blocks learn (VPT, appendix: 1).")


class Partial(AdaptedMethod):
    """Fine-tunes the last blocks; the final norm stays as it is.

    Autograd builds its graph from the first learnable parameter on, so the blocks before it need no more memory than
    in prediction.
    """

    name: ClassVar[str] = "partial"
    summary: ClassVar[str] = "fine-tune the last block(s) of a vision transformer; little memory"
    source: ClassVar[str] = "Jia et al., Visual Prompt Tuning, ECCV 2022 (arXiv 2203.12119), as a baseline"
    Config: ClassVar[type[MethodConfig]] = PartialConfig
    training: ClassVar[Mapping[str, Any]] = {"epochs": 20, "batch_size": 16, "lr": 1e-4}
    config: PartialConfig

    def adapt(self, backbone: Backbone) -> Iterable[nn.Module]:
        body = plain_vit(backbone, self.name)
        if self.config.blocks > len(body.blocks):
            raise InputError(
                f"blocks={self.config.blocks}: '{backbone.name}' has {len(body.blocks)} blocks",
                f"pass --set blocks={len(body.blocks)} or fewer",
            )
        learned = list(body.blocks)[-self.config.blocks :]
        return [block.requires_grad_(True) for block in learned]

    def merge(self) -> nn.Module:
        return self.network
