"""Graphs with weights in 8 bits, and what that costs on a run's validation images."""

import copy
import logging
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from modicum.data.manifest import Manifest
from modicum.data.stores.image_store import ImageStore
from modicum.engine.inference.dense_evaluation import score_dense
from modicum.engine.inference.evaluation import dense_predictor, score_stored
from modicum.engine.inference.graphs.packages import package
from modicum.engine.inputs.preparation import store_settings
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import RunFolder
from modicum.engine.scoring import decide_fn
from modicum.errors import InputError
from modicum.methods import Method
from modicum.tasks import DenseTask, ImageLevelTask, Task

Kind = Literal["static", "dynamic"]
CALIBRATION = 64
"""Most validation images that the ranges of activations are read from."""


def quantised(model: Any, images: Tensor) -> tuple[Any, Kind]:
    """A graph with weights in 8 bits.

    Static where convolutions hold most of the weights: activations too are in 8 bits, within the range that they have
    for some images. Dynamic for others, transformers above all: products of matrices in 8 bits, with ranges that are
    measured for each image.

    Args:
        model: the ``onnx.ModelProto``; it is not changed.
        images: that ranges are read from, ``[n, c, h, w]``.

    Returns:
        The graph, and how it was made.

    Raises:
        InputError: ONNX Runtime cannot quantise it.
    """
    quantization, onnx = package("onnxruntime.quantization"), package("onnx")
    kind: Kind = "static" if _by_convolutions(model) else "dynamic"
    with TemporaryDirectory(prefix="modicum-") as temporary:
        whole, small = Path(temporary, "whole.onnx"), Path(temporary, "int8.onnx")
        whole.write_bytes(_with_products(model).SerializeToString())
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            if kind == "dynamic":
                quantization.quantize_dynamic(str(whole), str(small), op_types_to_quantize=["MatMul"])
            else:
                quantization.quantize_static(
                    str(whole),
                    str(small),
                    _Images(images),
                    op_types_to_quantize=["Conv", "ConvTranspose", "MatMul"],
                    per_channel=True,
                    calibrate_method=quantization.CalibrationMethod.MinMax,
                )
            return onnx.load_model(str(small), load_external_data=False), kind
        except Exception as error:  # of a package that fails in many ways
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise InputError(
                f"ONNX Runtime cannot quantise this network ({lines[0][:120]})", "leave --int8 out"
            ) from error
        finally:
            logging.disable(before)


def _with_products(model: Any) -> Any:
    """A copy whose linear layers are products and sums: ONNX Runtime turns their weights round itself, under their old
    name and with the old shape, and then refuses what it made."""
    onnx, made = package("onnx"), copy.deepcopy(model)
    weights = {tensor.name: tensor for tensor in made.graph.initializer}
    nodes = []
    for node in made.graph.node:
        given = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        plain = given.get("alpha", 1) == 1 and given.get("beta", 1) == 1 and not given.get("transA")
        if node.op_type != "Gemm" or not plain or node.input[1] not in weights:
            nodes.append(node)
            continue
        matrix = onnx.numpy_helper.to_array(weights[node.input[1]])
        name = f"{node.output[0]}.weight"
        turned = np.ascontiguousarray(matrix.T if given.get("transB") else matrix)
        made.graph.initializer.append(onnx.numpy_helper.from_array(turned, name))
        bias = node.input[2:]
        product = f"{node.output[0]}.product" if bias else node.output[0]
        nodes.append(onnx.helper.make_node("MatMul", [node.input[0], name], [product]))
        if bias:
            nodes.append(onnx.helper.make_node("Add", [product, bias[0]], [node.output[0]]))
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del made.graph.node[:]
    made.graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    left = [tensor for tensor in made.graph.initializer if tensor.name in used]
    kept_tensors = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in left]
    del made.graph.initializer[:]
    made.graph.initializer.extend(kept_tensors)
    return made


class _Images:
    """What ``quantize_static`` reads images from."""

    def __init__(self, images: Tensor) -> None:
        self._inputs: Iterator[Mapping[str, np.ndarray]] = ({"images": one[None].numpy()} for one in images)

    def get_next(self) -> Mapping[str, np.ndarray] | None:
        return next(self._inputs, None)


def _by_convolutions(model: Any) -> bool:
    """Whether convolutions hold most of a graph's weights."""
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    held = {True: 0, False: 0}
    for node in model.graph.node:
        held[node.op_type in ("Conv", "ConvTranspose")] += sum(sizes.get(name, 0) for name in node.input[1:])
    return held[True] > held[False]


class ValidationScore:
    """The metric of networks on a run's validation images; one pass each, without intervals.

    Args:
        folder: of the run.
        recipe: of the run.
        task: of the run.
        method: of the run.
        rows: the validation rows of its data.

    Raises:
        InputError: the task is not scored by its predictor alone.
    """

    def __init__(self, folder: RunFolder, recipe: Recipe, task: Task, method: Method, rows: Manifest) -> None:
        if not isinstance(task, DenseTask | ImageLevelTask):
            raise InputError(
                f"what int8 costs task '{task.name}' has no metric on its images alone", "leave --int8 out"
            )
        self.name = task.monitor
        self._recipe, self._task, self._method, self._rows = recipe, task, method, rows
        self._store: ImageStore | None = None
        if not isinstance(task, DenseTask):
            settings = store_settings(recipe.image, recipe.task, recipe.options)
            self._store = ImageStore.build_or_open(rows.refs(), folder.stores, settings, workers=0)

    def of(self, network: nn.Module) -> float:
        """The metric of one network; NaN where it is not defined on these images."""
        everything, cpu = np.arange(len(self._rows)), torch.device("cpu")
        if isinstance(self._task, DenseTask):
            dense = dense_predictor(network, self._task, self._recipe, cpu, self._method.tile())
            scores: Any = score_dense(dense, self._rows, everything, "val")
        else:
            assert self._store is not None
            scores, _ = score_stored(
                network,
                self._task,
                self._recipe,
                self._rows,
                self._store,
                self._store.indices_of(self._rows.refs()),
                everything,
                cpu,
                "val",
                None,
                decide_fn(self._method, self._rows),
            )
        return float(scores.estimates(None, 0, self._recipe.seed)[self.name].value)


@torch.no_grad()
def milliseconds(network: nn.Module, inputs: tuple[Tensor, ...], repeats: int = 3) -> float:
    """Processor time of one image, alone in its batch: the least of some passes over all, after one that is not counted.

    Not the time on the clock, which other programs on the machine would be in.
    """
    singles = [tuple(part[[row]] for part in inputs) for row in range(len(inputs[0]))]
    network(*singles[0])
    times = []
    for _ in range(repeats):
        start = time.process_time()
        for single in singles:
            network(*single)
        times.append(time.process_time() - start)
    return 1000 * min(times) / len(singles)
