"""Low-rank updates (LoRA, DoRA) of the projections of a frozen vision transformer, through PEFT."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.nn.adapted import AdaptedClassifier
from modicum.nn.backbones import Backbone

Target = Literal["qv", "proj", "mlp"]
"""Which projections get an update: queries and values, the attention's output, the feed-forward part."""


class SplitProjection(nn.Module):
    """A fused projection of queries, keys and values, split into three layers whose weights are its rows.

    The outputs are joined once, where the fused layer would have written them.

    Args:
        fused: ``Linear(d, 3 e)``, rows in the order query, key, value.
    """

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        rows = zip(
            fused.weight.chunk(3), fused.bias.chunk(3) if fused.bias is not None else [None] * 3, strict=True
        )
        self.query, self.key, self.value = (_linear(weight, bias) for weight, bias in rows)

    def forward(self, tokens: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch e3"]:
        return torch.cat((self.query(tokens), self.key(tokens), self.value(tokens)), dim=-1)

    def joined(self) -> nn.Linear:
        """Joins the three into one layer again; low-rank updates must have been merged and removed before."""
        parts = (self.query, self.key, self.value)
        bias = None if self.key.bias is None else torch.cat([part.bias for part in parts])
        return _linear(torch.cat([part.weight for part in parts]), bias)


class SharedDropout(nn.Module):
    """Dropout with one mask for the two layers that read the same input one after the other.

    Args:
        share: of the input's features set to zero in training.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self._input: Tensor | None = None
        self._dropped: Tensor | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training or self.share == 0:
            return inputs
        if self._input is inputs and self._dropped is not None:
            dropped, self._input, self._dropped = self._dropped, None, None
            return dropped
        # On a CPU the usual dropout keeps its mask in the input's type, this one a byte each.
        self._input, self._dropped = inputs, torch.native_dropout(inputs, self.share, True)[0]
        return self._dropped


class LowRankClassifier(AdaptedClassifier):
    """A frozen backbone with low-rank updates, and a head.

    Updates can be merged into the frozen weights, for prediction at the speed of the backbone, and taken out
    again. ``train()`` takes them out. Merged weights are never saved or loaded over: that would apply the
    update twice.
    """

    def __init__(self, backbone: Backbone, head: nn.Module, parts: Iterable[nn.Module]) -> None:
        super().__init__(backbone, head, parts)
        self.register_state_dict_pre_hook(_refuse_merged)
        self.register_load_state_dict_pre_hook(_refuse_merged)

    @property
    def layers(self) -> list[Any]:
        """The layers of PEFT that hold the updates."""
        from peft.tuners.lora import LoraLayer

        return [part for part in self.backbone.modules() if isinstance(part, LoraLayer)]

    @property
    def merged(self) -> bool:
        """Whether the updates are in the frozen weights now."""
        return any(layer.merged for layer in self.layers)

    def merge(self) -> None:
        """Adds the updates to the frozen weights. Does nothing if they are merged already."""
        for layer in self.layers:
            if not layer.merged:
                layer.merge()

    def unmerge(self) -> None:
        """Subtracts the updates from the frozen weights. Does nothing if they are not merged."""
        for layer in self.layers:
            if layer.merged:
                layer.unmerge()

    def train(self, mode: bool = True) -> "LowRankClassifier":
        if mode and self.merged:
            self.unmerge()
        super().train(mode)
        return self

    def plain(self) -> AdaptedClassifier:
        """A copy with the updates merged into its weights and plain layers again."""
        from peft.tuners.lora import LoraLayer

        network = copy.deepcopy(self)
        network.merge()
        body = network.backbone.body
        for name, part in list(body.named_modules()):
            if isinstance(part, LoraLayer):
                body.set_submodule(name, part.get_base_layer())
        for name, part in list(body.named_modules()):
            if isinstance(part, SplitProjection):
                body.set_submodule(name, part.joined())
        return AdaptedClassifier(network.backbone, network.head, ())


def add_low_rank(
    body: Any, *, rank: int, alpha: float, dropout: float, targets: Sequence[Target], dora: bool = False
) -> list[nn.Module]:
    """Adds low-rank updates to a plain vision transformer, in place. Only they require gradients afterwards.

    ``W x + b + alpha / rank * B A dropout(x)``, with ``A`` Kaiming-uniform (a = sqrt 5) and ``B`` zero (Hu et al.,
    arXiv 2106.09685). Queries and values of a block get a pair of matrices each and share the dropout's mask.

    Args:
        body: the timm network; its fused projections are split.
        rank: of each update.
        alpha: weight of the updates.
        dropout: share of the updates' input set to zero in training.
        targets: which projections.
        dora: learn each output's magnitude apart from its direction (Liu et al., arXiv 2402.09353).

    Returns:
        PEFT's layers.

    Raises:
        InputError: a rank above the width of a layer, or layers that are not found.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    if "qv" in targets:
        for block in body.blocks:
            _split(block.attn)
    names = [
        f"blocks.{index}.{name}" for index, block in enumerate(body.blocks) for name in _names(block, targets)
    ]
    _check_rank(body, rank, names)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        lora_dropout=dropout,
        bias="none",
        target_modules=names,
        use_dora=dora,
    )
    inject_adapter_in_model(config, body)
    layers: dict[str, Any] = {n: part for n, part in body.named_modules() if isinstance(part, LoraLayer)}
    if set(layers) != set(names):
        odd = sorted(set(layers) ^ set(names))
        raise InputError(
            f"low-rank updates were put into {len(layers)} layers instead of {len(names)} ('{odd[0]}')",
            "choose other targets or another backbone",
        )
    for block in body.blocks:
        if dropout and "qv" in targets:
            shared = SharedDropout(dropout)
            for layer in _queries_and_values(block.attn):
                layer.lora_dropout["default"] = shared
    return list(layers.values())


def _check_rank(body: Any, rank: int, names: Sequence[str]) -> None:
    """Raises :class:`InputError` for a rank that a layer's weights cannot have."""
    layers = [body.get_submodule(name) for name in names]
    width = min(min(layer.in_features, layer.out_features) for layer in layers)
    if rank > width:
        raise InputError(
            f"rank {rank:,} is above the width of the layers that get low-rank updates, which is {width:,}",
            f"set rank to {width:,} or less (usual: 4 to 32)",
        )


def _split(attention: Any) -> None:
    """Splits a fused projection so that queries and values are separate layers."""
    if attention.qkv is None:
        return
    attention.qkv = SplitProjection(attention.qkv)
    if getattr(attention, "q_bias", None) is not None:
        attention.qkv_bias_separate = True  # else timm reads the fused layer's weight past the layer


def _names(block: Any, targets: Sequence[Target]) -> Iterator[str]:
    """Names of the layers in a block that get an update."""
    if "qv" in targets:
        separate = block.attn.qkv is None
        yield from ("attn.q_proj", "attn.v_proj") if separate else ("attn.qkv.query", "attn.qkv.value")
    if "proj" in targets:
        yield "attn.proj"
    if "mlp" in targets:
        yield from (f"mlp.{name}" for name, part in block.mlp.named_modules() if isinstance(part, nn.Linear))


def _queries_and_values(attention: Any) -> tuple[Any, Any]:
    if isinstance(attention.qkv, SplitProjection):
        return attention.qkv.query, attention.qkv.value
    return attention.q_proj, attention.v_proj


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A frozen layer with copies of these tensors."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return layer


def _refuse_merged(network: Any, *_: Any) -> None:
    if network.merged:
        raise InputError(
            "the low-rank updates are merged into the frozen weights, and would be applied twice",
            "call unmerge() before saving or loading, or export the plain network",
        )
