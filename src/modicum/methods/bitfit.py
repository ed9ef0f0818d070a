"""BitFit: the biases of a backbone and a new head learn."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from torch import nn

from modicum.errors import InputError
from modicum.methods.adapted import AdaptedMethod
from modicum.nn import Backbone


class BitFit(AdaptedMethod):
    """Fine-tunes every bias (of norms too) and nothing else of the backbone."""

    name: ClassVar[str] = "bitfit"
    summary: ClassVar[str] = "fine-tune the biases only; a run is less than a megabyte"
    source: ClassVar[str] = "Ben Zaken et al., BitFit, ACL 2022 (arXiv 2106.10199)"
    # The paper searches 1e-4 to 1e-3 and finds larger rates than those of full fine-tuning to work.
    training: ClassVar[Mapping[str, Any]] = {"epochs": 20, "batch_size": 16, "lr": 1e-3}

    def adapt(self, backbone: Backbone) -> Iterable[nn.Module]:
        biases = [
            parameter
            for name, parameter in backbone.body.named_parameters()
            # Also ``q_bias`` and ``v_bias`` of fused projections.
            if name.endswith("bias")
        ]
        if not biases:
            raise InputError(
                f"method {self.name}: '{backbone.name}' has no biases",
                "choose another backbone (vit_base_patch16_224) or another method",
            )
        for bias in biases:
            bias.requires_grad_(True)
        return []

    def merge(self) -> nn.Module:
        return self.network
