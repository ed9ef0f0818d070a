"""Two gloo processes with half a batch each do what one process does with the whole batch, from one launch."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from contrastive import ROWS, nt_xent, small_network, two_views
from safetensors.torch import load_file
from toy_data import fit

HERE = Path(__file__).parent

SCRIPT = """
import faulthandler, os, sys
faulthandler.dump_traceback_later(200, exit=True)  # a process that waits for ever ends, and says where it stood
from pathlib import Path
import modicum, torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
torch.set_num_threads(1)
here, data, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
sys.path.insert(0, here)
from contrastive import ROWS, nt_xent, small_network, two_views
from toy_data import fit
from modicum.distributed import gather_with_gradient, own_part

# A run with no training by gradients: nothing has made a process group when the bank is written.
fit(data, "toy_bank", out, "bank", devices=2, batch_size=2)
fit(data, "toy_three", out, "three", devices=2, batch_size=2, backbone="test_vit", augment="none", epochs=1)
run = fit(data, "toy_eyes", out, "eyes", devices=2, batch_size=2, backbone="test_vit", augment="none", epochs=1)

rank = distributed.get_rank()
wrapped, half = DistributedDataParallel(small_network()), ROWS // 2
first, second = (wrapped(own_part(view, half)) for view in two_views())
numbers = gather_with_gradient(torch.arange(half) + half * rank)
loss = nt_xent(gather_with_gradient(first), gather_with_gradient(second))
loss.backward()
gradients = {name: parameter.grad for name, parameter in wrapped.module.named_parameters()}
torch.save({"loss": loss.detach(), "gradients": gradients, "numbers": numbers}, out / f"rank{rank}.pt")
"""


@pytest.fixture(scope="module")
def launched(toy_data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("two")
    (out / "script.py").write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", port]
    done = subprocess.run(
        [*command, str(out / "script.py"), str(HERE), str(toy_data), str(out)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return out


def test_a_contrastive_loss_over_gathered_halves_has_the_loss_and_gradients_of_the_whole(launched):
    network = small_network()
    loss = nt_xent(*(network(view) for view in two_views()))
    loss.backward()
    for rank in (0, 1):
        found = torch.load(launched / f"rank{rank}.pt")
        assert found["numbers"].tolist() == list(range(ROWS))
        torch.testing.assert_close(found["loss"], loss.detach())
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(found["gradients"][name], parameter.grad, msg=name)


@pytest.mark.parametrize(("run", "method"), [("three", "toy_three"), ("eyes", "toy_eyes")])
def test_two_processes_learn_in_every_stage_what_one_learns_with_batches_twice_as_large(
    launched, toy_data, tmp_path, run, method
):
    alone = fit(
        toy_data, method, tmp_path, "alone", batch_size=4, backbone="test_vit", augment="none", epochs=1
    )
    ours, theirs = (load_file(path / "weights.safetensors") for path in (alone.path, launched / run))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=2e-4, rtol=0, msg=name)
    epochs = [
        [json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()]
        for path in (alone.path, launched / run)
    ]
    for one, two in zip(*([r for r in records if r["kind"] == "epoch"] for records in epochs), strict=True):
        assert (one["stage"], one["epoch"]) == (two["stage"], two["epoch"])
        assert one["train"]["loss"] == pytest.approx(two["train"]["loss"], abs=1e-3)


def test_a_bank_is_fitted_alike_by_all_processes_and_written_once(launched, run_of):
    ours, theirs = (
        load_file(path / "weights.safetensors") for path in (run_of("toy_bank").path, launched / "bank")
    )
    assert all(theirs[name].allclose(value, atol=1e-5) for name, value in ours.items())
    tables = [
        pd.read_csv(path / "evaluations" / "test" / "predictions.csv")
        for path in (run_of("toy_bank").path, launched / "bank")
    ]
    pd.testing.assert_frame_equal(*tables, atol=1e-4)


def test_the_loss_of_the_test_is_that_of_the_paper_on_two_pairs():
    """Pairs of equal vectors at right angles: e^(1/t) / (e^(1/t) + 2) for each view."""
    loss = nt_xent(torch.eye(2), torch.eye(2), temperature=0.5)
    expected = -torch.log(torch.exp(torch.tensor(2.0)) / (torch.exp(torch.tensor(2.0)) + 2))
    torch.testing.assert_close(loss, expected)
