"""From a predictor to an ONNX graph: normalisation inside, probabilities and raw outputs out, any number of images."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from modicum.engine.inference.graphs.packages import package
from modicum.errors import InputError
from modicum.methods.predictor import MakesGraph
from modicum.nn.graph_operators import translations

OPSET = 18
"""Of the graphs: the one that PyTorch's exporter writes without converting; ONNX Runtime has it from 1.14 on."""
LARGEST = 2_000_000_000
"""Bytes of a graph in one file; protobuf holds no more than 2 GiB."""


class GraphNetwork(nn.Module):
    """A predictor as a graph has it: images in ``[0, 1]``, and the noise of one that draws, to its outputs.

    Args:
        network: the predictor; where its answers cannot be traced, what its ``for_graph`` gives.
        activate: from raw to user-facing outputs; None where the raw ones are all there is.
        single: whether the user-facing outputs stand alone.
    """

    def __init__(
        self, network: nn.Module, activate: Callable[[Tensor], Tensor] | None, single: bool = False
    ) -> None:
        super().__init__()
        self.network = network.for_graph() if isinstance(network, MakesGraph) else network
        self.noise_samples = int(getattr(self.network, "noise_samples", 0))
        self._activate = activate
        self._single = single

    def forward(
        self, images: Float[Tensor, "b c h w"], noise: Float[Tensor, "b samples _ h w"] | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The outputs, user-facing ones first."""
        raw: Tensor = self.network(images) if noise is None else self.network(images, noise)
        if self._activate is None:
            return raw
        activated = self._activate(raw).float()
        return activated if self._single else (activated, raw)


@dataclass(frozen=True)
class Traced:
    """A graph.

    Attributes:
        model: the ``onnx.ModelProto``, without anything of the machine that made it.
        any_size: whether it takes images of other heights and widths.
    """

    model: Any
    any_size: bool


def traced(network: GraphNetwork, images: Tensor, names: Sequence[str], any_size: bool) -> Traced:
    """Makes a graph for any number of images, and where the network allows and it is wanted, of any size.

    Args:
        network: in evaluation mode.
        images: an example, at least two images ``[b, c, h, w]``.
        names: of the outputs.
        any_size: whether other heights and widths are tried.

    Raises:
        InputError: the network cannot be made a graph; says at what it fails.
    """
    package("onnx"), package("onnxscript")
    example = (images[:2], *noise_like(network, images[:2]))
    last: Exception | None = None
    for free in (True, False) if any_size else (False,):
        try:
            with _quietly(), torch.no_grad():
                return Traced(_without_traces(_model(network, example, names, free)), free)
        except (
            Exception
        ) as error:  # of somebody else's network in PyTorch's exporter, which fails in many ways
            last = error
    raise InputError(
        f"the network cannot be made a graph ({_reason(last)})",
        "export it as safetensors, which modicum.load_exported reads",
    ) from last


def noise_like(network: GraphNetwork, images: Tensor) -> tuple[Tensor, ...]:
    """Noise for a network that takes some; nothing for all others. Seeded, the same for the same number of images."""
    if not network.noise_samples:
        return ()
    shape = (len(images), network.noise_samples, *images.shape[1:])
    return (torch.randn(shape, generator=torch.Generator().manual_seed(0)),)


def _model(network: GraphNetwork, example: tuple[Tensor, ...], names: Sequence[str], free: bool) -> Any:
    # AUTO, as networks may do the same in other ways for more images, which is a limit that nobody needs to keep.
    auto = torch.export.Dim.AUTO
    inputs = ("images", "noise")[: len(example)]
    sides = [(one.ndim - 2, one.ndim - 1) if free else () for one in example]
    shapes = {name: dict.fromkeys((0, *side), auto) for name, side in zip(inputs, sides, strict=True)}
    with _InOnnx():
        program = torch.export.export(network, example, dynamic_shapes=shapes, strict=False)
    graph = torch.onnx.export(
        program,
        example,
        input_names=list(inputs),
        output_names=list(names),
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
        custom_translation_table=translations(),
    )
    assert graph is not None
    _name_sizes(graph.model_proto, free)
    return graph.model_proto


def _name_sizes(model: Any, free: bool) -> None:
    """Calls free sizes by their names. Raises ValueError where one is fixed that must not be."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    names: dict[str, str] = {}
    for at, name in ((0, "batch"), *(((2, "height"), (3, "width")) if free else ())):
        if not dims[at].dim_param:
            raise ValueError(f"the network is made for one {name} alone: {dims[at].dim_value}")
        names[dims[at].dim_param] = name
    del model.graph.value_info[:]  # sizes inside, by names that are no more
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = names.get(dim.dim_param, dim.dim_param)


class _InOnnx(TorchFunctionMode):
    """Distances of vectors, and medians, by operators that ONNX has."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.cdist:
            return _distances(*args, **kwargs)
        if func in (torch.median, torch.Tensor.median) and len(args) + len(kwargs) > 1:
            return _median(*args, **kwargs)
        return func(*args, **kwargs)


class _Values(NamedTuple):
    values: Tensor


def _median(values: Tensor, dim: int, keepdim: bool = False) -> _Values:
    """:func:`torch.median` along a dimension, the lower of two in the middle; without indices."""
    half = values.topk((values.shape[dim] + 1) // 2, dim, largest=False).values
    middle = half.amax(dim, keepdim=keepdim)
    return _Values(middle)


def _distances(first: Tensor, second: Tensor, p: float = 2.0, compute_mode: str = "") -> Tensor:
    """:func:`torch.cdist`: by differences where that is asked for, else by a product around the second's mean, so that
    little is cancelled."""
    if p != 2:
        raise NotImplementedError(f"cdist with p={p}")
    if compute_mode.startswith("donot"):
        return (first.unsqueeze(-2) - second.unsqueeze(-3)).square().sum(-1).sqrt()
    middle = second.mean(-2, keepdim=True)
    first, second = first - middle, second - middle
    squares = first.square().sum(-1, keepdim=True) + second.square().sum(-1).unsqueeze(-2)
    return (squares - 2 * first @ second.transpose(-1, -2)).clamp_min(0).sqrt()


def _without_traces(model: Any) -> Any:
    """Without the lines of source, and their paths, that the exporter writes beside each node."""
    del model.metadata_props[:]
    model.doc_string = ""
    graphs = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        graph.doc_string = ""
        del graph.metadata_props[:]
        for value in (*getattr(graph, "input", ()), *getattr(graph, "output", ()), *graph.value_info):
            if hasattr(value, "metadata_props"):
                del value.metadata_props[:]
        for tensor in getattr(graph, "initializer", ()):
            del tensor.metadata_props[:]
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
            graphs += [attribute.g for attribute in node.attribute if attribute.HasField("g")]
            graphs += [inner for attribute in node.attribute for inner in attribute.graphs]
    return model


def _reason(error: BaseException | None) -> str:
    """The innermost reason that says something, in one short line."""
    said = "unknown"
    while error is not None:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        if lines:
            said = f"{type(error).__name__}: {lines[0]}"
        error = error.__cause__
    return said if len(said) <= 160 else said[:157] + "..."


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what the exporter prints, which is thousands of lines where it fails."""
    before = logging.root.manager.disable
    nothing = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)
