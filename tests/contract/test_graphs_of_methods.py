"""Every method's predictor as a graph gives what the run gives, in batches of several sizes; or says why it is none."""

import pytest
import torch
from small_trainings import ALL, settings_of

import modicum
from modicum.engine.inference.predictor_calls import predictor_outputs
from modicum.methods import method_class
from modicum.methods.checks import write_made_data


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    made: dict[str, str] = {}

    def table(task: str) -> str:
        if task not in made:
            made[task] = str(write_made_data(task, tmp_path_factory.mktemp(task)))
        return made[task]

    return table


@pytest.mark.parametrize("method", ALL)
def test_a_graph_gives_what_the_run_gives(method, tables, tmp_path):
    settings = settings_of(method) | {"batch_size": 4}
    run = modicum.fit(tables(method_class(method).tasks[0]), method, name=method, runs=tmp_path, **settings)
    out = tmp_path / f"{method}.onnx"
    graph = modicum.load_exported(run.export(out, to="onnx"))
    opened = run.method()
    network = opened.predictor().eval()
    channels, size = opened.context.task.channels, opened.context.image_size
    images = torch.rand(3, channels, *size, generator=torch.Generator().manual_seed(3))
    names = ["a.png", "b.png", "c.png"]
    for count in (1, 3):
        with torch.no_grad():
            expected = predictor_outputs(network, images[:count], names[:count], 0)
            found = predictor_outputs(graph, images[:count], names[:count], 0)
        assert torch.equal(expected.isnan(), found.isnan())
        expected, found = expected.nan_to_num(0), found.nan_to_num(0)
        activate = opened.context.task.activate if opened.decides_over == "image" else torch.nn.Identity()
        largest = max(1.0, float(expected.abs().max()))
        assert float((activate(expected) - activate(found)).abs().max()) <= 1e-4 * largest


def test_what_int8_costs_is_measured_on_the_validation_images(tables, tmp_path, capsys):
    settings = settings_of("full") | {"batch_size": 4}
    run = modicum.fit(tables("classification"), "full", name="full", runs=tmp_path, **settings)
    whole = run.export(tmp_path / "whole.onnx", to="onnx")
    small = run.export(tmp_path / "small.onnx", to="onnx", int8=True)
    found = modicum.load_exported(small).card["graph"]["int8"]
    assert small.stat().st_size < 0.6 * whole.stat().st_size
    assert found["metric"] == "auroc"
    assert found["float32"] == pytest.approx(
        run.metrics["evaluations"]["val"]["metrics"]["auroc"]["value"], abs=1e-6
    )
    assert found["images"] > 0
    assert found["bytes"]["int8"] < found["bytes"]["float32"]
