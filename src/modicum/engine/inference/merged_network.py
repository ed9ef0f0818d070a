"""What was learned as the state dict of one plain timm network."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.nn import Backbone, Classifier


@dataclass(frozen=True)
class MergedNetwork:
    """A network as timm has it.

    Attributes:
        backbone: whose name and normalisation are the network's.
        arguments: of ``timm.create_model``, besides the name.
        tensors: under timm's names.
    """

    backbone: Backbone
    arguments: dict[str, Any]
    tensors: dict[str, Tensor]


def merged_network(network: nn.Module) -> MergedNetwork:
    """What :meth:`Method.merge` gives, classifier included if it has one, as timm has it.

    Raises:
        InputError: timm cannot make that backbone with such a head.
    """
    head = plain_head(network.head) if isinstance(network, Classifier) else None
    backbone = network.backbone if isinstance(network, Classifier) else network
    assert isinstance(backbone, Backbone)
    arguments = _arguments(backbone.body, backbone.image_size, 0 if head is None else head.out_features)
    tensors = _named_for_timm(backbone.name, backbone.body, head, arguments)
    return MergedNetwork(backbone, arguments, tensors)


@torch.no_grad()
def plain_head(head: nn.Module) -> nn.Linear:
    """One linear layer that computes what a head does in prediction.

    Args:
        head: dropout, batch norms and one linear layer at the end, in any nesting of :class:`~torch.nn.Sequential`.

    Raises:
        InputError: the head holds something else.
    """
    *before, last = _flat(head)
    if not isinstance(last, nn.Linear):
        raise InputError(
            f"a head that ends in {type(last).__name__} is no linear layer", "use the run itself"
        )
    folded = copy.deepcopy(last)
    for layer in reversed(before):
        if isinstance(layer, nn.Dropout | nn.Identity):
            continue
        if not isinstance(layer, nn.BatchNorm1d) or layer.running_mean is None or layer.running_var is None:
            raise InputError(f"a head with {type(layer).__name__} is no linear layer", "use the run itself")
        scale = torch.rsqrt(layer.running_var + layer.eps)
        shift = -layer.running_mean * scale
        if layer.affine:
            scale, shift = scale * layer.weight, shift * layer.weight + layer.bias
        folded.bias.add_(folded.weight @ shift)
        folded.weight.mul_(scale)
    return folded


def _flat(module: nn.Module) -> list[nn.Module]:
    if isinstance(module, nn.Sequential):
        return [layer for part in module for layer in _flat(part)]
    return [module]


def _arguments(body: Any, image_size: tuple[int, int], num_classes: int) -> dict[str, Any]:
    """What ``timm.create_model`` has to be told besides the name."""
    arguments: dict[str, Any] = {"num_classes": num_classes}
    if isinstance(getattr(body, "global_pool", None), str):
        arguments["global_pool"] = body.global_pool
    if getattr(body, "patch_embed", None) is not None:
        arguments["img_size"] = list(image_size)
    return arguments


def _named_for_timm(
    name: str, body: Any, head: nn.Linear | None, arguments: dict[str, Any]
) -> dict[str, Tensor]:
    """Tensors of backbone and head, where there is one, under the names of timm's network, checked against it."""
    import timm

    try:
        with torch.device("meta"):
            expected = timm.create_model(name, **arguments).state_dict()
    except (TypeError, AssertionError, RuntimeError) as error:
        raise InputError(
            f"timm makes no '{name}' with {arguments} ({error})", "use the run itself"
        ) from error
    classifier = str(body.pretrained_cfg.get("classifier") or "head")
    named = dict(body.state_dict())
    if head is not None:
        named |= {f"{classifier}.weight": head.weight, f"{classifier}.bias": head.bias}
    tensors = {
        # Some networks have a 1x1 convolution for a classifier.
        key: tensor.reshape(expected[key].shape)
        if key in expected and key.startswith(classifier) and tensor.numel() == expected[key].numel()
        else tensor
        for key, tensor in named.items()
    }
    odd = sorted(
        key
        for key in set(tensors) | set(expected)
        if key not in tensors or key not in expected or tensors[key].shape != expected[key].shape
    )
    if odd:
        raise InputError(
            f"timm's '{name}' has no place for {len(odd)} of the run's tensors (for instance '{odd[0]}')",
            "use the run itself",
        )
    return tensors
