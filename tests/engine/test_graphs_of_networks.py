"""Graphs of the networks that a method can choose among: generators of translations, decoders of segmentations."""

import pytest
import torch
from made_runs import made_run

import modicum
from modicum.engine.model import load_method
from modicum.run import Run

NETWORKS = [
    *(("reggan", {"base": base, "mode": "c"}) for base in ("nice_gan", "unit", "munit")),
    *(("segment", {"architecture": name}) for name in ("deeplabv3plus", "segformer", "upernet", "fpn")),
]


@pytest.mark.parametrize(("method", "settings"), NETWORKS)
def test_a_graph_gives_what_the_network_gives_also_at_another_size(method, settings, tmp_path):
    folder = made_run(tmp_path / "run", method, **settings)
    graph = modicum.load_exported(Run(folder).export(tmp_path / "graph.onnx", to="onnx"))
    _, task, opened = load_method(folder)
    network, shape = opened.predictor().eval(), graph.card["graph"]["inputs"][0]["shape"]
    sizes = [(32, 32), (64, 96)] if "height" in shape else [(32, 32)]
    for size in sizes:
        images = torch.rand(2, task.channels, *size, generator=torch.Generator().manual_seed(4))
        with torch.no_grad():
            expected = task.activate(network(images))
        found = next(iter(graph.outputs(images).values()))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
