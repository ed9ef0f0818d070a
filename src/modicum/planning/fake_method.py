"""A method whose networks have shapes and no values: built in a tenth of a second, whatever their size."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from modicum.engine.model import method_parts
from modicum.engine.recipe.settings import Recipe
from modicum.methods import Method
from modicum.nn import Backbone
from modicum.planning.data_facts import DataFacts
from modicum.planning.known_values import LARGEST, KnownValues, has_values

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


def fake_method(recipe: Recipe, facts: DataFacts) -> Method:
    """The method of a recipe. Neither hub nor weights file is looked at, nor any image.

    Raises:
        InputError: the method does not serve the task, or its configuration or backbone is wrong.
    """

    def backbone() -> Backbone:
        return Backbone(recipe.backbone.name, recipe.image.size)

    kind, config, context = method_parts(recipe, facts.task, facts.targets, backbone, has_data=False)
    try:
        with _MetaTensors():
            return kind(config, context)
    except RuntimeError:  # its construction looks at values, as an initialisation by decomposition does
        return kind(config, context)


def replace_tensors(method: Method, place: str, values: KnownValues) -> None:
    """Puts new tensors at ``place`` where a method's parameters and buffers are; what is shared stays shared.

    Small buffers of whole numbers (index tables, a vocabulary) are known by their values where they have any.
    """
    made: dict[int, Tensor] = {}
    kept: list[Tensor] = []  # an id belongs to a tensor only while it lives

    def new(tensor: Tensor) -> Tensor:
        if id(tensor) not in made:
            other = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=place)
            if isinstance(tensor, nn.Parameter):
                other = nn.Parameter(other, tensor.requires_grad)
            elif not tensor.is_floating_point() and tensor.numel() <= LARGEST and has_values(tensor):
                values.know(other, tensor)
            made[id(tensor)] = made[id(other)] = other
            kept.append(tensor)
        return made[id(tensor)]

    for root in (*method.stages(), method.predictor()):
        for module in root.modules():
            replacement: Any
            for replacement in (module._parameters, module._buffers):
                for name, tensor in replacement.items():
                    if tensor is not None:
                        replacement[name] = new(tensor)
