"""A method whose networks have shapes and no values: built in a tenth of a second, whatever their size."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from modicum.engine.recipe.settings import Recipe, validated
from modicum.errors import InputError
from modicum.methods import Context, Method, method_class
from modicum.nn import Backbone
from modicum.tasks import Classification
from modicum.tasks.loss_words import LOSS_SETTINGS

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


class _MetaTensors(TorchFunctionMode):
    """Parameters come without memory for their values."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _FACTORIES and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def fake_method(recipe: Recipe, num_classes: int) -> Method:
    """The method of a recipe for a synthetic classification. Neither hub nor weights file is read.

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
    task = Classification("binary" if num_classes == 2 else "multi-class", names, ordered=num_classes != 2)
    settings = recipe.training.model_dump(include=set(LOSS_SETTINGS))
    if num_classes == 1:  # one output is a severity score; how many grades it stands for does not matter here
        task, settings["class_weights"] = task.for_loss("mse"), "none"
    else:
        task = task.for_loss(settings["loss"])
    context = Context(
        task,
        lambda: Backbone(recipe.backbone.name, recipe.image.size),
        {"label": np.arange(num_classes)},
        settings,
        has_data=False,
    )
    try:
        with _MetaTensors():
            return found(config, context)
    except RuntimeError:  # its construction looks at values, as an initialisation by decomposition does
        return found(config, context)


def replace_tensors(method: Method, place: str) -> None:
    """Puts new tensors at ``place`` where a method's parameters and buffers are; what is shared stays shared."""
    made: dict[int, Tensor] = {}
    kept: list[Tensor] = []  # an id belongs to a tensor only while it lives

    def new(tensor: Tensor) -> Tensor:
        if id(tensor) not in made:
            other = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=place)
            if isinstance(tensor, nn.Parameter):
                other = nn.Parameter(other, tensor.requires_grad)
            made[id(tensor)] = made[id(other)] = other
            kept.append(tensor)
        return made[id(tensor)]

    for root in (*method.stages(), method.predictor()):
        for module in root.modules():
            own: Any
            for own in (module._parameters, module._buffers):
                for name, tensor in own.items():
                    if tensor is not None:
                        own[name] = new(tensor)
