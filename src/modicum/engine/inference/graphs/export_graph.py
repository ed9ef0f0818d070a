"""A run's predictor as a graph: made, compared with PyTorch on ten images, and only then written."""

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from modicum.atomic_files import atomic_file
from modicum.engine.inference.export import network_card
from modicum.engine.inference.exported_file import check_out
from modicum.engine.inference.fields_of_view import FIELDS
from modicum.engine.inference.graphs import int8 as eight
from modicum.engine.inference.graphs.comparison import TOLERANCE, checked, differences
from modicum.engine.inference.graphs.graph_file import SCHEMA, card_file, write_card, write_onnx
from modicum.engine.inference.graphs.packages import package
from modicum.engine.inference.graphs.run_images import (
    Sample,
    held_out_rows,
    made_images,
    network_settings,
    prepared_images,
    sample_of_run,
)
from modicum.engine.inference.graphs.runtime import GraphRunner, OnnxNetwork, OpenVinoNetwork
from modicum.engine.inference.graphs.traced import LARGEST, OPSET, GraphNetwork, Traced, noise_like, traced
from modicum.engine.model import finished_model, load_method
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError
from modicum.methods import Method
from modicum.progress import say
from modicum.tasks import DenseTask, Task
from modicum.wording import count_of

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}
COMPARED = 10
"""Images that a graph is compared on."""


@dataclass(frozen=True)
class LoadedRun:
    """A finished run with what it has learned."""

    folder: RunFolder
    recipe: Recipe
    task: Task
    method: Method


def export_graph(
    folder: RunFolder,
    out: Path | None = None,
    *,
    to: str = "onnx",
    int8: bool = False,
    weights: str | None = None,
) -> Path:
    """Writes a run's predictor as a graph with a card, after comparing it with PyTorch.

    Args:
        folder: of a finished run.
        out: ``.onnx``, or ``.xml`` of OpenVINO, whose weights go into a ``.bin`` beside it; by default ``export.onnx`` or
            ``export.xml`` in the run folder. The card lies beside it: ``export.onnx.json``.
        to: ``onnx`` or ``openvino``.
        int8: weights in 8 bits, with what that costs on the run's validation images.
        weights: of the frozen backbone, see :func:`~modicum.engine.model.load_method`.

    Returns:
        The file.

    Raises:
        InputError: the network cannot be a graph, the graph gives other outputs, or a package is missing. Nothing is
            written then.
        ResourceError: the disk is full.
    """
    for name in ("onnx", "onnxscript", "onnxruntime", *(("openvino",) if to == "openvino" else ())):
        package(name)
    if int8 and to != "onnx":
        raise InputError(
            f"--int8 with --to {to}", "export int8 as ONNX (--to onnx), which OpenVINO reads too"
        )
    out = out or folder.path / f"export{SUFFIXES[to]}"
    check_out(out, folder, weights, SUFFIXES[to], card_file(out))
    if to == "openvino" and (taken := out.with_suffix(".bin")).exists() and not card_file(out).is_file():
        raise InputError(
            f"'{taken}', where the weights would go, is a file of something else", "choose another --out"
        )
    run = LoadedRun(folder, *load_method(folder, weights))
    network = graph_network(run)
    sample = sample_of_run(folder, run.recipe, run.task, COMPARED)
    made = _fitting(network, run, sample)
    if made.model.ByteSize() > LARGEST:
        raise InputError(
            "the graph takes more than 2 GB, which one ONNX file cannot hold", "export it as safetensors"
        )
    card = _card(run, network, made, sample)
    runner: GraphRunner = OnnxNetwork(card, made.model.SerializeToString())
    card["graph"]["checked"] = checked(network, runner, sample, "ONNX Runtime")
    if to == "openvino":
        return _write_openvino(out, made, card, network, sample)
    if int8:
        made, card = _in_eight_bits(run, network, made, card, sample)
    return write_onnx(out, made.model, card)


def graph_network(run: LoadedRun) -> GraphNetwork:
    """The predictor with the task's activation; alone where the method decides over several images."""
    predictor = run.method.predictor().eval().requires_grad_(False)
    if run.method.decides_over == "set":
        return GraphNetwork(predictor, None).eval()
    return GraphNetwork(predictor, run.task.activate, len(run.task.graph_outputs()) == 1).eval()


def _names(run: LoadedRun) -> tuple[str, ...]:
    return ("outputs",) if run.method.decides_over == "set" else run.task.graph_outputs()


def _fitting(network: GraphNetwork, run: LoadedRun, sample: Sample) -> Traced:
    """A graph for images of any size where outputs are pictures and it is right at another size too; else of one size."""
    names = _names(run)
    height, width = run.recipe.image.size
    other = made_images(4, run.task.channels, (height + 64, width + 32))
    made = traced(
        network, sample.images, names, isinstance(run.task, DenseTask) and _takes(network, other[:1])
    )
    if not made.any_size:
        return made
    try:
        runner = OnnxNetwork(_card(run, network, made, sample), made.model.SerializeToString())
        right = differences(network, runner, other)[0] <= TOLERANCE
    except (InputError, RuntimeError, AssertionError, ValueError):
        right = False
    return made if right else traced(network, sample.images, names, False)


@torch.no_grad()
def _takes(network: GraphNetwork, images: Tensor) -> bool:
    """Whether a network takes images of another size: that costs less to try than a trace."""
    try:
        network(images, *noise_like(network, images))
    except Exception:  # of somebody else's network, which may fail in any way
        return False
    return True


def _card(run: LoadedRun, network: GraphNetwork, made: Traced, sample: Sample) -> dict[str, Any]:
    card = network_card(run.folder.name, run.recipe, run.task, run.method)
    if (fields := finished_model(run.folder).get(FIELDS)) is not None:
        card[FIELDS] = fields
    sides: list[int | str] = ["height", "width"] if made.any_size else list(sample.images.shape[2:])
    inputs = [{"name": "images", "type": "float32", "range": [0, 1]}]
    inputs[0]["shape"] = ["batch", sample.images.shape[1], *sides]
    if network.noise_samples:
        shape = ["batch", network.noise_samples, sample.images.shape[1], *sides]
        inputs.append({"name": "noise", "type": "float32", "values": "standard normal", "shape": shape})
    graph = {
        "schema": SCHEMA,
        "format": "onnx",
        "opset": OPSET,
        "weights": "float32",
        "inputs": inputs,
        "outputs": [{"name": name} for name in _names(run)],
        "noise_samples": network.noise_samples,
    }
    installed = {name: package(name).__version__ for name in ("onnx", "onnxruntime")}
    card["versions"] |= installed
    return card | {"form": "graph", "graph": graph}


def _write_openvino(
    out: Path, made: Traced, card: Mapping[str, Any], network: GraphNetwork, sample: Sample
) -> Path:
    openvino = package("openvino")
    try:
        model = openvino.Core().read_model(made.model.SerializeToString())
    except Exception as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[-1][:140]
        raise InputError(
            f"OpenVINO cannot read the graph ({line})", "export it as ONNX (--to onnx)"
        ) from error
    version = openvino.__version__.split("-")[0]
    card = {**card, "versions": {**card["versions"], "openvino": version}}
    card["graph"] = {**card["graph"], "format": "openvino"}
    runner = OpenVinoNetwork(card, model)
    card["graph"]["checked"] = checked(network, runner, sample, "OpenVINO")
    with TemporaryDirectory(prefix="modicum-") as temporary:
        graph = Path(temporary, "graph.xml")
        openvino.save_model(model, str(graph), compress_to_fp16=False)
        contents = {".bin": graph.with_suffix(".bin").read_bytes(), ".xml": graph.read_bytes()}
    out.parent.mkdir(parents=True, exist_ok=True)
    for suffix, content in contents.items():
        with atomic_file(out.with_suffix(suffix)) as file:
            file.write(content)
    digests = {suffix: hashlib.sha256(content).hexdigest() for suffix, content in contents.items()}
    write_card(out, card, {"file": out.name, "sha256": digests[".xml"], "bin_sha256": digests[".bin"]})
    return out


def _in_eight_bits(
    run: LoadedRun, network: GraphNetwork, made: Traced, card: Mapping[str, Any], sample: Sample
) -> tuple[Traced, dict[str, Any]]:
    """The graph in 8 bits, and the card with what that costs."""
    if network.noise_samples:
        raise InputError("--int8 for a network that draws its answers", "leave --int8 out")
    rows = held_out_rows(run.folder, run.recipe)
    rows = rows.subset((rows.table["split"] == "val").to_numpy(dtype=bool))
    if not len(rows):
        raise InputError("the run has no validation images to measure int8 on", "leave --int8 out")
    score = eight.ValidationScore(run.folder, run.recipe, run.task, run.method, rows)
    images = prepared_images(rows, network_settings(run.recipe, run.task), eight.CALIBRATION)
    small, kind = eight.quantised(made.model, images)
    whole_bytes, small_bytes = made.model.SerializeToString(), small.SerializeToString()
    before, after = OnnxNetwork(card, whole_bytes), OnnxNetwork(card, small_bytes)
    metrics = score.of(before), score.of(after)
    single = [OnnxNetwork(card, content, threads=1) for content in (whole_bytes, small_bytes)]
    times = [eight.milliseconds(one, (sample.images,)) for one in single]
    found = {
        "kind": kind,
        "metric": score.name,
        "images": len(rows),
        "float32": round(metrics[0], 6),
        "int8": round(metrics[1], 6),
        "largest_difference": float(f"{_largest(before, after, sample.images):.3g}"),
        "bytes": {"float32": len(whole_bytes), "int8": len(small_bytes)},
        "processor_milliseconds_one_thread": {"float32": round(times[0], 3), "int8": round(times[1], 3)},
    }
    say(
        f"int8 ({kind}): {score.name} on {count_of(len(rows), 'validation image')} {metrics[1]:.4f}, in float32 "
        f"{metrics[0]:.4f}; {len(small_bytes) / len(whole_bytes):.2f} of the size, {times[1] / times[0]:.2f} of the time"
    )
    changed = copy.deepcopy(dict(card))
    changed["graph"] |= {"weights": "int8", "int8": found}
    return Traced(small, made.any_size), changed


def _largest(before: GraphRunner, after: GraphRunner, images: Tensor) -> float:
    first = before.output_names[0]
    return float((before.outputs(images)[first] - after.outputs(images)[first]).abs().max())
