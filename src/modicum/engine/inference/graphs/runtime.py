"""Networks that ONNX Runtime or OpenVINO computes on the CPU, called as PyTorch's are."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from modicum.engine.inference.graphs.graph_file import card_file, read_card, read_onnx
from modicum.engine.inference.graphs.packages import package
from modicum.errors import InputError

GRAPHS = (".onnx", ".xml")
"""Suffixes of graphs: ONNX, and OpenVINO's, whose weights are in a ``.bin`` of the same name."""


class GraphRunner(nn.Module):
    """A graph as a network: images ``[b, c, h, w]`` in ``[0, 1]`` to raw outputs, on the CPU, without gradients.

    Args:
        card: of the graph.

    Attributes:
        card: says what the network is, how images are prepared, and what was measured at its export.
        output_names: names of all outputs.
        draws: whether it takes a seed for each image, from which its noise is drawn.
    """

    def __init__(self, card: Mapping[str, Any]) -> None:
        super().__init__()
        self.card = dict(card)
        graph = card["graph"]
        self.output_names = tuple(str(entry["name"]) for entry in graph["outputs"])
        self.noise_samples = int(graph.get("noise_samples", 0))
        self.draws = self.noise_samples > 0

    def forward(
        self, images: Float[Tensor, "b c h w"], seeds: Int64[Tensor, "b"] | None = None
    ) -> Float[Tensor, "b ..."]:
        """What the run's predictor gives: the last of the graph's outputs."""
        return list(self.outputs(images, seeds).values())[-1]

    def outputs(
        self, images: Float[Tensor, "b c h w"], seeds: Int64[Tensor, "b"] | None = None
    ) -> dict[str, Tensor]:
        """All outputs by name: of a classifier ``probabilities``, after its temperature, and ``logits``."""
        inputs = [images.detach().cpu().float().contiguous()]
        if self.draws:
            if seeds is None:
                raise InputError(
                    "the network draws its answers", "give a seed for each image: network(images, seeds)"
                )
            inputs.append(noise_of(images, seeds, self.noise_samples))
        arrays = self.run([one.numpy() for one in inputs])
        # Copied: what a runtime returns may not be written to.
        return {
            name: torch.from_numpy(np.array(one)) for name, one in zip(self.output_names, arrays, strict=True)
        }

    def run(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """All outputs for the graph's inputs."""
        raise NotImplementedError


class OnnxNetwork(GraphRunner):
    """A graph that ONNX Runtime computes.

    Args:
        card: of the graph.
        model: the bytes of the ONNX file.
        threads: of ONNX Runtime; as many as PyTorch uses by default.

    Raises:
        InputError: this version of ONNX Runtime cannot compute it.
    """

    def __init__(self, card: Mapping[str, Any], model: bytes, threads: int | None = None) -> None:
        super().__init__(card)
        runtime = package("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # each of its errors has a class of its own
            raise InputError(
                f"ONNX Runtime {runtime.__version__} cannot compute the graph ({_line(error)})",
                "update onnxruntime, or export the run again",
            ) from error
        self._inputs = [entry.name for entry in self._session.get_inputs()]

    def run(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        try:
            found = self._session.run(list(self.output_names), dict(zip(self._inputs, inputs, strict=True)))
        except Exception as error:  # as above
            raise InputError(_wrong_input(self.card, inputs[0]), _sizes(self.card)) from error
        return list(found)


class OpenVinoNetwork(GraphRunner):
    """A graph that OpenVINO computes in single precision.

    Args:
        card: of the graph.
        model: the ``openvino.Model``.
        threads: as for :class:`OnnxNetwork`.
    """

    def __init__(self, card: Mapping[str, Any], model: Any, threads: int | None = None) -> None:
        super().__init__(card)
        openvino = package("openvino")
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(),
        }
        try:
            self._compiled = openvino.Core().compile_model(model, "CPU", settings)
        except Exception as error:
            raise InputError(
                f"OpenVINO {openvino.__version__.split('-')[0]} cannot compute the graph ({_line(error)})",
                "export it as ONNX (--to onnx)",
            ) from error

    def run(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        try:
            found = self._compiled(list(inputs))
        except Exception as error:
            raise InputError(_wrong_input(self.card, inputs[0]), _sizes(self.card)) from error
        return [found[number] for number in range(len(self.output_names))]


def noise_of(
    images: Float[Tensor, "b c h w"], seeds: Int64[Tensor, "b"], samples: int
) -> Float[Tensor, "b samples c h w"]:
    """Standard normal noise for each image, drawn sample by sample from a generator seeded for it."""
    generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds.tolist()]
    shape = images.shape[1:]
    drawn = [
        torch.stack([torch.randn(shape, generator=generator) for _ in range(samples)])
        for generator in generators
    ]
    return torch.stack(drawn)


def load_graph(path: Path) -> GraphRunner:
    """The network of an ONNX file or an OpenVINO model that ``modicum export`` wrote.

    Raises:
        InputError: there is no such file, it is damaged, or the packages for it are not installed.
    """
    try:
        if path.suffix == ".onnx":
            return OnnxNetwork(*read_onnx(path))
        return _openvino_network(path)
    except InputError as error:
        if str(path) in error.problem or "modicum[export]" in error.remedy:
            raise
        raise InputError(f"'{path}': {error.problem}", error.remedy) from error


def _openvino_network(path: Path) -> OpenVinoNetwork:
    openvino = package("openvino")
    weights, beside = path.with_suffix(".bin"), card_file(path)
    for file in (path, weights, beside):
        if not file.is_file():
            raise InputError(
                f"exported file '{file}' does not exist", "keep .xml, .bin and .xml.json together"
            )
    card = read_card(beside.read_bytes(), beside)
    digests = card.get("weights")
    for file, key in ((path, "sha256"), (weights, "bin_sha256")):
        known = digests.get(key) if isinstance(digests, dict) else None
        if hashlib.sha256(file.read_bytes()).hexdigest() != known:
            raise InputError(
                f"'{file}' is damaged (not of the card's digest)", "copy it again, or export the run again"
            )
    try:
        model = openvino.Core().read_model(str(path), str(weights))
    except Exception as error:
        raise InputError(f"OpenVINO cannot read '{path}' ({_line(error)})", "export the run again") from error
    return OpenVinoNetwork(card, model)


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = f"{type(error).__name__}: {lines[-1] if lines else ''}"
    return said if len(said) <= 160 else said[:157] + "..."


def _wrong_input(card: Mapping[str, Any], images: np.ndarray) -> str:
    return f"the network of run '{card.get('run')}' does not take images of shape {list(images.shape)}"


def _sizes(card: Mapping[str, Any]) -> str:
    return f"give float32 images of shape {card['graph']['inputs'][0]['shape']}"
