"""A method whose networks have shapes and no values: built in a tenth of a second, whatever their size."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from modicum.engine.recipe import Recipe, validated
from modicum.errors import InputError
from modicum.methods import Context, Method, method_class
from modicum.nn import Backbone
from modicum.tasks import Classification

# What networks make their parameters and buffers with. Tensors made of numbers that are written down (statistics,
# index tables) keep their values: construction may look at them.
_FACTORIES = {
    torch.empty,
    torch.empty_strided,
    torch.zeros,
    torch.ones,
    torch.full,
    torch.eye,
    torch.rand,
    torch.randn,
}


class _Hollow(TorchFunctionMode):
    """Parameters come without memory for their values."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _FACTORIES and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def fake_method(recipe: Recipe, num_classes: int, mode: FakeTensorMode) -> Method:
    """The method of a recipe for a made-up classification, all parameters and buffers fake tensors of ``mode``.

    Neither hub nor weights file is looked at.

    Raises:
        InputError: the method does not classify, or its configuration or backbone is wrong.
    """
    found = method_class(recipe.method)
    if Classification.name not in found.tasks:
        raise InputError(
            f"the memory of method '{recipe.method}' cannot be predicted: it does not classify images",
            "give --batch-size a number",
        )
    config = validated(found.Config, recipe.config, f"method {recipe.method}")
    names = [str(number) for number in range(num_classes)]
    task = Classification("binary" if num_classes == 2 else "multi-class", names)
    context = Context(
        task,
        lambda: Backbone(recipe.backbone.name, recipe.image.size),
        {"label": np.arange(num_classes)},
        recipe.training.model_dump(include={"loss", "class_weights", "label_smoothing"}),
    )
    try:
        with _Hollow():
            method = found(config, context)
    except InputError:
        raise
    except RuntimeError:  # its construction looks at values, as an initialisation by decomposition does
        method = found(config, context)
    _make_fake(method, mode)
    return method


def _make_fake(method: Method, mode: FakeTensorMode) -> None:
    """Puts a fake tensor in the place of every parameter and buffer; what is shared stays shared."""
    fakes: dict[int, Tensor] = {}
    kept: list[Tensor] = []  # an id belongs to a tensor only while it lives

    def fake_of(tensor: Tensor) -> Tensor:
        if id(tensor) not in fakes:
            fake = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")
            if isinstance(tensor, nn.Parameter):
                fake = nn.Parameter(fake, tensor.requires_grad)
            fakes[id(tensor)] = fakes[id(fake)] = fake
            kept.append(tensor)
        return fakes[id(tensor)]

    with mode:
        for root in (*method.stages(), method.predictor()):
            for module in root.modules():
                tensors: list[dict[str, Any]] = [module._parameters, module._buffers]
                for own in tensors:
                    for name, tensor in own.items():
                        if tensor is not None:
                            own[name] = fake_of(tensor)
