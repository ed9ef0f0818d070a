"""Exported graphs give what the run gives; what cannot be a graph, or is none any more, is one line and no file."""

import builtins
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from made_runs import made_run
from PIL import Image

import modicum
from modicum.engine.inference.graphs import comparison
from modicum.engine.inference.graphs.graph_file import card_file, read_onnx, write_onnx
from modicum.engine.inference.graphs.int8 import quantised
from modicum.engine.inference.graphs.predict_graph import predict_graph
from modicum.engine.inference.graphs.runtime import OnnxNetwork
from modicum.engine.model import load_method
from modicum.errors import InputError
from modicum.run import Run
from modicum.tasks import Classification

CALIBRATED = {
    "name": "classification", "kind": "multi-class", "classes": ["a", "b", "c"], "ordered": False, "specificity": 0.95,
    "operating_points": {"from": "validation", "thresholds": [], "temperature": 1.7},
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Of a classifier whose temperature was fitted."""
    return made_run(tmp_path_factory.mktemp("runs") / "plain", "linear", Classification.from_dict(CALIBRATED))


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory) -> Path:
    return Run(run).export(tmp_path_factory.mktemp("graphs") / "model.onnx", to="onnx")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for number, size in enumerate([(48, 40), (32, 32), (90, 130)]):
        pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_probabilities_are_after_the_temperature_and_logits_are_the_runs(run, exported):
    network = modicum.load_exported(exported)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = load_method(run)[2].predictor().eval()(images)
    outputs = network.outputs(images)
    assert list(outputs) == ["probabilities", "logits"]
    torch.testing.assert_close(outputs["logits"], logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(outputs["probabilities"], (logits / 1.7).softmax(1), atol=1e-6, rtol=1e-5)
    assert torch.equal(network(images), outputs["logits"])  # as the run's predictor and the safetensors file


def test_any_number_of_images_and_the_card_inside(exported):
    network = modicum.load_exported(exported)
    assert network(torch.rand(1, 3, 32, 32)).shape == (1, 3)
    assert network(torch.rand(7, 3, 32, 32)).shape == (7, 3)
    card = network.card
    assert card["task"]["classes"] == ["a", "b", "c"]
    assert card["task"]["operating_points"]["temperature"] == 1.7
    assert card["image"]["size"] == [32, 32]
    assert card["graph"]["inputs"][0]["shape"] == ["batch", 3, 32, 32]
    checked = card["graph"]["checked"]
    assert checked["images"] == 10
    assert checked["origin"] == "made"  # a made run has no images
    assert 0 <= checked["largest_difference"]["probabilities"] <= checked["tolerance"] == 1e-4
    beside = json.loads(card_file(exported).read_text())
    assert {key: beside[key] for key in card} == card


def test_the_file_says_nothing_of_the_machine(exported, tmp_path):
    content = exported.read_bytes() + card_file(exported).read_bytes()
    assert b"site-packages" not in content
    assert str(Path(modicum.__file__).parent).encode() not in content
    assert {entry.version for entry in onnx.load(exported).opset_import if entry.domain == ""} == {18}


def test_predict_with_a_graph_writes_the_runs_table(run, exported, pictures, tmp_path):
    Run(run).predict(pictures, tmp_path / "run.csv")
    predict_graph(exported, [pictures], tmp_path / "graph.csv")
    of_run, of_graph = pd.read_csv(tmp_path / "run.csv"), pd.read_csv(tmp_path / "graph.csv")
    assert list(of_run.columns) == list(of_graph.columns)
    assert (of_run["prediction"] == of_graph["prediction"]).all()
    for name in ("p_a", "p_b", "p_c"):
        np.testing.assert_allclose(of_run[name], of_graph[name], atol=1e-6)


def test_the_snippet_of_the_page_prepares_as_predict_does(run, exported, pictures, tmp_path):
    page = (Path(__file__).parents[2] / "docs/export.md").read_text()
    code = page.partition("```python\n# predict.py")[2].partition("```")[0]
    script = tmp_path / "predict.py"
    script.write_text("# predict.py" + code)
    picture = pictures / "2.png"
    done = subprocess.run(
        [sys.executable, "-I", str(script), str(exported), str(picture)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    said = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    Run(run).predict(picture, tmp_path / "run.csv")
    row = pd.read_csv(tmp_path / "run.csv").iloc[0]
    for name in ("a", "b", "c"):
        assert float(said[name]) == pytest.approx(row[f"p_{name}"], abs=1e-5)
    imported = {line.split()[1] for line in code.splitlines() if line.startswith(("import ", "from "))}
    assert imported <= {"json", "sys", "numpy", "onnxruntime", "PIL"}


def test_a_graph_that_differs_is_not_written(run, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "TOLERANCE", -1.0)
    with pytest.raises(
        InputError, match=r"gives other outputs than PyTorch: on .* differ by up to .*, allowed are -1"
    ):
        Run(run).export(tmp_path / "model.onnx", to="onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"to": "onx"}, "--to is 'onx'; did you mean 'onnx'"),
        ({"to": "onnx", "out": "model.safetensors"}, r"is not a graph \(expected .onnx\)"),
        ({"to": "onnx", "form": "merged"}, "--to onnx writes the predictor alone; leave --form"),
        ({"to": "openvino", "int8": True}, "--int8 with --to openvino; export int8 as ONNX"),
        ({"int8": True}, "--int8 with --to safetensors; export int8 as ONNX"),
    ],
)
def test_what_does_not_go_together_is_said(run, asked, said, tmp_path):
    out = tmp_path / asked.pop("out", "model.onnx" if asked.get("to") != "openvino" else "model.xml")
    with pytest.raises(InputError, match=said):
        Run(run).export(out, **asked)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_one_line(run, exported, tmp_path, monkeypatch):
    def without(name, *rest, **named):
        if name.startswith("onnxruntime"):
            raise ModuleNotFoundError(name)
        return import_module(name, *rest, **named)

    monkeypatch.setattr("modicum.engine.inference.graphs.packages.import_module", without)
    for call in (
        lambda: Run(run).export(tmp_path / "a.onnx", to="onnx"),
        lambda: modicum.load_exported(exported),
    ):
        with pytest.raises(
            InputError, match=r"package 'onnxruntime' is not installed; pip install 'modicum\[export\]'"
        ):
            call()


def test_no_package_of_the_extra_is_imported_before_it_is_asked_for():
    code = "import sys, modicum, modicum.run, modicum.engine.inference.load_exported\n"
    code += "assert not {'onnx', 'onnxruntime', 'onnxscript', 'openvino'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


# Files of others, and damaged ones


def test_any_changed_byte_is_noticed(exported, tmp_path):
    whole = bytearray(exported.read_bytes())
    path = tmp_path / "changed.onnx"
    for position in np.random.default_rng(0).integers(0, len(whole), 40):
        changed = bytearray(whole)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(InputError) as error:
            modicum.load_exported(path)
        assert "\n" not in str(error.value)
        assert str(path) in str(error.value)


@pytest.mark.parametrize("length", [0, 5, 1000, -1])
def test_a_truncated_file_is_named(exported, length, tmp_path):
    path = tmp_path / "short.onnx"
    path.write_bytes(exported.read_bytes()[:length])
    with pytest.raises(InputError, match=r"short\.onnx' (is damaged|has no card)"):
        modicum.load_exported(path)


def changed(exported, path, change=lambda model, card: None) -> Path:
    """A file with a right digest, as somebody could make it who knows the format."""
    card, content = read_onnx(exported)
    model = onnx.load_from_string(content)
    change(model, card)
    return write_onnx(path, model, card)


def test_tensors_in_other_files_are_not_opened(exported, tmp_path, monkeypatch):
    def outside(model, card):
        tensor = model.graph.initializer[0]
        onnx.external_data_helper.set_external_data(tensor, "../../etc/passwd", 0, 4)
        tensor.ClearField("raw_data")

    path = changed(exported, tmp_path / "outside.onnx", outside)
    real, opened = builtins.open, []
    monkeypatch.setattr(
        "builtins.open", lambda file, *rest, **named: opened.append(file) or real(file, *rest, **named)
    )
    with pytest.raises(InputError, match=r"keeps tensor '.*' in another file, which is not opened"):
        modicum.load_exported(path)
    assert not any("passwd" in str(file) for file in opened)


def test_a_later_opset_and_a_later_card_are_named(exported, tmp_path):
    def later_opset(model, card):
        model.opset_import[0].version = 999

    def later_card(model, card):
        card["graph"]["schema"] = 2

    with pytest.raises(InputError, match="operators of opset 999, of a later version of ONNX; update onnx"):
        modicum.load_exported(changed(exported, tmp_path / "opset.onnx", later_opset))
    with pytest.raises(InputError, match="schema 2, of a later version of modicum; update modicum"):
        modicum.load_exported(changed(exported, tmp_path / "card.onnx", later_card))


def test_an_onnx_file_of_others_has_no_card(tmp_path):
    value = onnx.helper.make_tensor_value_info("x", 1, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [value], [value])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "other.onnx")
    with pytest.raises(InputError, match="has no card; name a file that `modicum export --to onnx` wrote"):
        modicum.load_exported(tmp_path / "other.onnx")
    with pytest.raises(InputError, match="does not exist"):
        modicum.load_exported(tmp_path / "nothing.onnx")


def test_images_of_another_size_are_one_line(exported):
    with pytest.raises(
        InputError, match=r"does not take images of shape \[1, 3, 48, 48\]; give float32 images of"
    ):
        modicum.load_exported(exported)(torch.rand(1, 3, 48, 48))


def test_a_picture_of_any_size_is_translated(tmp_path):
    folder = made_run(tmp_path / "run", "reggan")
    path = Run(folder).export(tmp_path / "translation.onnx", to="onnx")
    network = modicum.load_exported(path)
    assert network.card["graph"]["inputs"][0]["shape"] == ["batch", 1, "height", "width"]
    images = torch.rand(1, 1, 48, 80, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = load_method(folder)[2].predictor().eval()(images)
    torch.testing.assert_close(network(images), expected.clamp(0, 1), atol=1e-4, rtol=0)


def test_openvino_gives_the_same_and_its_damage_is_named(run, tmp_path):
    path = Run(run).export(tmp_path / "model.xml", to="openvino")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.bin", "model.xml", "model.xml.json"]
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = load_method(run)[2].predictor().eval()(images)
    torch.testing.assert_close(modicum.load_exported(path)(images), logits, atol=1e-4, rtol=1e-4)
    weights = path.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"model.bin' is damaged"):
        modicum.load_exported(path)


# Eight bits


def by_hand(kind: str):
    """A network of one layer, in which nearly all weights are: a convolution, or a product."""
    generator = np.random.default_rng(0)
    if kind == "Conv":
        weights = generator.normal(size=(16, 3, 5, 5)).astype(np.float32)
        node = onnx.helper.make_node("Conv", ["images", "weights"], ["outputs"])
        shape = ["batch", 16, 28, 28]
    else:
        weights = generator.normal(size=(32, 64)).astype(np.float32)
        node = onnx.helper.make_node("Gemm", ["images", "weights", "bias"], ["outputs"], transB=1)
        shape = ["batch", 32]
    inputs = ["batch", 3, 32, 32] if kind == "Conv" else ["batch", 64]
    tensors = [onnx.numpy_helper.from_array(weights, "weights")]
    tensors.append(onnx.numpy_helper.from_array(generator.normal(size=32).astype(np.float32), "bias"))
    graph = onnx.helper.make_graph(
        [node],
        "graph",
        [onnx.helper.make_tensor_value_info("images", 1, inputs)],
        [onnx.helper.make_tensor_value_info("outputs", 1, shape)],
        tensors[: len(node.input) - 1],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    model.ir_version = 10
    return model, torch.from_numpy(generator.random([5, *inputs[1:]], dtype=np.float32))


@pytest.mark.parametrize(("layer", "kind"), [("Conv", "static"), ("Gemm", "dynamic")])
def test_a_layer_in_eight_bits_is_smaller_and_near(layer, kind):
    model, images = by_hand(layer)
    before = model.SerializeToString()
    small, made = quantised(model, images)
    assert made == kind
    assert model.SerializeToString() == before
    card = {"graph": {"outputs": [{"name": "outputs"}], "inputs": [{"shape": []}]}}
    expected = OnnxNetwork(card, before)(images)
    found = OnnxNetwork(card, small.SerializeToString())(images)
    assert 0 < float((expected - found).abs().max()) < 0.02 * float(expected.abs().max())
    types = {tensor.data_type for tensor in small.graph.initializer}
    assert types & {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
