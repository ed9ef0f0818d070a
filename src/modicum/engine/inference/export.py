"""A run as a file of weights and a card: one plain timm network, or the network of a dense method."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modicum.atomic_files import write_text
from modicum.engine.checkpoint import save_tensors
from modicum.engine.model import load_method
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError
from modicum.methods.base import PREDICTOR
from modicum.nn import Backbone, Classifier


def export_merged(folder: RunFolder, out: Path) -> Path:
    """Writes what a run has learned as the state dict of a plain timm network, classifier included if it has one.

    ``timm.create_model(name, num_classes=..., img_size=..., global_pool=...)`` with the values of the card loads it
    strictly and gives the run's logits (features without a classifier) for images in ``[0, 1]`` normalised by the
    card's mean and standard deviation.

    Args:
        folder: of a finished run.
        out: the file of weights, ``.safetensors``; the card is beside it, ``.json``.

    Returns:
        The file of weights.

    Raises:
        InputError: what the method learns does not fold into its backbone, or timm cannot make that backbone with
            such a head.
        ResourceError: the disk is full.
    """
    _check_name(out)
    recipe, task, method = load_method(folder)
    network = method.merge()
    head = plain_head(network.head) if isinstance(network, Classifier) else None
    backbone = network.backbone if isinstance(network, Classifier) else network
    assert isinstance(backbone, Backbone)
    arguments = _arguments(backbone.body, backbone.image_size, 0 if head is None else head.out_features)
    tensors = _named_for_timm(backbone.name, backbone.body, head, arguments)
    card: dict[str, Any] = {
        "schema": 1,
        "run": folder.name,
        "method": recipe.method,
        "backbone": backbone.name,
        "arguments": arguments,
        "input": {
            "channels": 3,
            "range": [0, 1],
            "mean": backbone.mean.flatten().tolist(),
            "std": backbone.std.flatten().tolist(),
        },
        "image": recipe.image.model_dump(mode="json"),
        "task": task.to_dict(),
    }
    return _written(out, tensors, card)


def export_part(folder: RunFolder, out: Path, part: str = PREDICTOR) -> Path:
    """Writes one network of a run whose predictions are pictures: what predicts, or what it offers besides.

    Nothing that only served learning (discriminators, pools of images) is in it. The card has what it takes to make
    the network again: the method's ``config``, ``image_size``, ``channels`` of images and outputs, the values that 0
    and 1 stand for, and how images were prepared.

    Args:
        folder: of a finished run.
        out: the file of weights, ``.safetensors``; the card is beside it, ``.json``, and in its metadata.
        part: ``predictor``, or what the method calls another.

    Returns:
        The file of weights.

    Raises:
        InputError: the method has no such part.
        ResourceError: the disk is full.
    """
    _check_name(out)
    recipe, task, method = load_method(folder)
    network, made_of = method.export_network(part)
    facts = task.to_dict()
    card = {
        "schema": 1,
        "run": folder.name,
        "method": recipe.method,
        "part": part,
        "network": type(network).__name__,
        **made_of,
        "input": {"channels": task.channels, "range": [0, 1], "adjacent_slices": task.adjacent_slices},
        "output": {"channels": task.num_outputs, **task.output_values()},
        "image": recipe.image.model_dump(mode="json"),
        "task": facts,
    }
    return _written(out, network.state_dict(), card)


def _check_name(out: Path) -> None:
    if out.suffix != ".safetensors":
        raise InputError(
            f"'{out}' is not a weights file (expected .safetensors)", "end its name with .safetensors"
        )


def _written(out: Path, tensors: dict[str, Tensor], card: dict[str, Any]) -> Path:
    """Weights, with the card in their metadata and beside them."""
    metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in card.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    card["weights"] = {"file": out.name, "sha256": save_tensors(out, tensors, metadata)}
    write_text(out.with_suffix(".json"), json.dumps(card, indent=1, ensure_ascii=False) + "\n")
    return out


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
