"""``torchrun`` with two processes, for every method there is: the same weights in each call, and those of one process."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_trainings import ALL, DRAWING, NEWEST, NORMALISING, ORDERED, STREAMED

from modicum.methods import method_class, method_entries
from modicum.methods.checks import write_made_data

HERE = Path(__file__).parent
NEAR, SHARE = 5e-4, 0.9
"""Most weights differ by less than half a step. Sums over two halves differ in the last bits, and where a gradient is
nearly 0, Adam makes a whole step of that."""


def launch(data: Path, runs: Path, processes: int, methods: list[str]) -> Path:
    runs.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", port]
    words = [HERE / "small_trainings.py", data, runs, 4 // processes, processes, *methods]
    command = map(str, [*torchrun, *words] if processes > 1 else words)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory, request) -> dict[str, Path]:
    """Runs of one process, and of two calls of two; of the methods that are asked for (``pytest -k``)."""
    own = [
        item for item in request.session.items if item.path == Path(__file__) and hasattr(item, "callspec")
    ]
    asked = {item.callspec.params["method"] for item in own}
    methods = [method for method in ALL if method in asked]
    out = tmp_path_factory.mktemp("methods")
    tables = {}
    for task in {method_class(name).tasks[0] for name in ALL}:
        (out / task).mkdir()
        tables[task] = str(write_made_data(task, out / task))
    data = out / "tables.json"
    data.write_text(json.dumps(tables))
    return {
        name: launch(data, out / name, count, methods)
        for name, count in {"one": 1, "two": 2, "again": 2}.items()
    }


def learned(runs: Path, method: str) -> dict[str, torch.Tensor]:
    problem = runs / f"{method}.txt"
    assert not problem.is_file(), problem.read_text()
    return load_file(runs / method / "weights.safetensors")


def losses(runs: dict[str, Path], name: str, method: str) -> list[float]:
    """Training losses of the epochs; none of what is only fitted by streaming."""
    history = runs[name] / method / "history.jsonl"
    lines = history.read_text().splitlines() if method not in STREAMED else []
    return [record["train"]["loss"] for record in map(json.loads, lines) if record["kind"] == "epoch"]


def scores(runs: Path, method: str) -> dict[str, dict[str, float]]:
    """Metrics by split."""
    evaluations = json.loads((runs / method / "metrics.json").read_text())["evaluations"]
    return {
        split: {name: entry["value"] for name, entry in found["metrics"].items()}
        for split, found in evaluations.items()
    }


def test_every_method_is_of_one_kind():
    own = {name for name, entry in method_entries().items() if entry.value.startswith("modicum.")}
    assert sorted(own) == sorted(ALL)
    assert set(NEWEST) < set(ALL)


@pytest.mark.slow
@pytest.mark.parametrize("method", ALL)
def test_two_calls_of_two_processes_learn_the_same_bits(runs, method):
    first, second = (learned(runs[name], method) for name in ("two", "again"))
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert scores(runs["two"], method) == scores(runs["again"], method)


@pytest.mark.slow
@pytest.mark.parametrize("method", STREAMED)
def test_what_is_fitted_by_streaming_is_the_same_in_any_number_of_processes(runs, method):
    one, two = (learned(runs[name], method) for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
    assert scores(runs["one"], method) == scores(runs["two"], method)


@pytest.mark.slow
@pytest.mark.parametrize("method", ORDERED)
def test_two_processes_with_half_the_batch_each_learn_what_one_learns(runs, method):
    one, two = (learned(runs[name], method) for name in ("one", "two"))
    assert one.keys() == two.keys()
    near = [((value - two[name]).abs() < NEAR).flatten() for name, value in one.items()]
    assert torch.cat(near).float().mean() > SHARE
    assert losses(runs, "two", method) == pytest.approx(losses(runs, "one", method), rel=2e-3, abs=1e-4)
    alone, together = scores(runs["one"], method), scores(runs["two"], method)
    assert alone.keys() == together.keys()
    for split, metrics in alone.items():
        for name, value in metrics.items():
            assert together[split][name] == pytest.approx(value, abs=0.02), (split, name)


@pytest.mark.slow
@pytest.mark.parametrize("method", [*NORMALISING, *DRAWING])
def test_a_method_that_draws_or_normalises_in_each_process_learns_as_well(runs, method):
    one, two = (losses(runs, name, method) for name in ("one", "two"))
    assert len(one) == len(two)
    assert two == pytest.approx(one, rel=0.5)
    assert learned(runs["one"], method).keys() == learned(runs["two"], method).keys()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["led"])
def test_led_knows_as_many_images_as_one_process_sees(runs, method):
    tensors = [learned(runs[name], method) for name in ("one", "two")]
    one, two = (
        next(found[name] for name in found if name.endswith("familiarity.count")) for found in tensors
    )
    assert one == two > 0
