"""Parameter groups of a classifier: learning rate and weight decay of each layer."""

from typing import Any

from torch import nn

from modicum.nn import Classifier, learnable_parameters


def layer_number(name: str, depth: int) -> int:
    """The layer of a plain vision transformer's parameter: 0 embeddings, i + 1 block i, depth + 1 what follows.

    Args:
        name: the parameter's name inside timm's network, ``blocks.3.attn.qkv.weight``.
        depth: number of blocks.
    """
    first, _, rest = name.partition(".")
    if first == "blocks":
        return int(rest.partition(".")[0]) + 1
    return depth + 1 if first in {"norm", "fc_norm", "attn_pool", "head"} else 0


def layerwise_groups(
    network: Classifier,
    layer_decay: float,
    *,
    decay_vectors: bool,
    decay_embeddings: bool = True,
    backbone_lr_scale: float = 1.0,
) -> list[dict[str, Any]]:
    """The learnable parameters of a classifier as PyTorch groups, from the first layer to the head.

    The learning rate of layer ``l`` of a transformer of ``n`` blocks is the run's times ``layer_decay ** (n + 1 - l)``,
    that of the head the run's (BEiT, Bao et al. 2022; MAE, He et al. 2022, appendix A.2).

    Args:
        network: its backbone is a plain vision transformer where ``layer_decay`` is not 1.
        layer_decay: factor on the rate from a layer to the one before it; 1 for the same rate everywhere.
        decay_vectors: whether weight decay pulls biases, norms and other one-dimensional tensors, too.
        decay_embeddings: whether it pulls the class token, the positions and whatever else the backbone exempts
            (``no_weight_decay`` in timm), too.
        backbone_lr_scale: another factor on the rates in the backbone.
    """
    body: nn.Module = network.backbone.body
    depth = len(body.blocks) if layer_decay < 1 else 0  # type: ignore[arg-type]
    layers = {id(tensor): layer_number(name, depth) for name, tensor in body.named_parameters()}
    exempt: set[str] = set() if decay_embeddings else set(getattr(body, "no_weight_decay", set)())
    embeddings = {id(tensor) for name, tensor in body.named_parameters() if name in exempt}
    groups: dict[tuple[int, bool, bool, bool], list[nn.Parameter]] = {}
    for parameter in learnable_parameters(network):
        in_head = id(parameter) not in layers
        layer = depth + 1 if in_head or layer_decay == 1 else layers[id(parameter)]
        key = layer, in_head, parameter.ndim <= 1, id(parameter) in embeddings
        groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": groups[layer, in_head, is_vector, is_embedding],
            "lr_scale": layer_decay ** (depth + 1 - layer) * (1.0 if in_head else backbone_lr_scale),
            **({"weight_decay": 0.0} if is_embedding or (is_vector and not decay_vectors) else {}),
        }
        for layer, in_head, is_vector, is_embedding in sorted(groups)
    ]
