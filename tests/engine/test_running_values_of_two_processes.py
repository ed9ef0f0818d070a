"""What a stage gathers over batches in buffers is of all images, whichever process has seen them."""

from pathlib import Path

import pytest
import torch
from running_values import gathered_over_steps, with_unused_parameters

from warm_process import launch

SCRIPT = """
import faulthandler, sys
faulthandler.dump_traceback_later(200, exit=True)  # a process that waits for ever ends, and says where it stood
import torch
from torch import distributed
torch.set_num_threads(1)
sys.path.insert(0, {here!r})
distributed.init_process_group("gloo")
from running_values import gathered_over_steps, same_decisions, with_unused_parameters, without_validation
rank = distributed.get_rank()
found = gathered_over_steps(rank, 2)
found["decisions"] = same_decisions(rank)
found["weights"] = with_unused_parameters({out!r}, 2)
found["statistics"] = without_validation({out!r})
torch.save(found, f"{out}/rank{{rank}}.pt")
distributed.barrier()
distributed.destroy_process_group()
"""
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    out = tmp_path_factory.mktemp("two")
    script = SCRIPT.format(here=str(HERE), out=str(out))
    for done in launch(2, "-c", script, timeout=300):
        assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(out / f"rank{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("count", "images that LED knows"),
        ("mean", "their mean"),
        ("squares", "their spread"),
        ("usage", "sentences by PRIOR's nearest prototype"),
        ("mean_displacement", "RegGAN's running mean displacement"),
        ("queue", "vectors that GPaCo contrasts with"),
    ],
)
def test_it_is_what_one_process_has_of_the_same_images(of_two, name, words):
    alone = gathered_over_steps(0, 1)[name]
    for found in of_two:
        torch.testing.assert_close(
            found[name], alone, rtol=1e-5, atol=1e-7, msg=lambda text: f"{words}: {text}"
        )


def test_all_processes_mix_a_batch_or_none_does(of_two):
    """Each of the two losses of a mixture needs the other process where classes are weighted."""
    first, second = (found["decisions"] for found in of_two)
    assert first == second
    assert set(first) == {True, False}


def test_without_validation_all_processes_end_with_the_batch_statistics_that_are_saved(of_two):
    first, second = (found["statistics"] for found in of_two)
    assert set(first) == {"network.1.running_mean", "network.1.running_var", "network.1.num_batches_tracked"}
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_parameters_that_no_loss_needs_may_be_named(of_two, tmp_path):
    alone = with_unused_parameters(str(tmp_path), 1)
    assert any("unused" in name for name in alone)
    for found in of_two:
        for name, value in alone.items():
            torch.testing.assert_close(found["weights"][name], value, atol=1e-5, rtol=0, msg=name)
