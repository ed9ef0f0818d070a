"""Which device a process computes on."""

import pytest
import torch

from modicum.engine.devices import chosen_device
from modicum.errors import InputError

LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs, and no launcher."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in LAUNCHER:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize("name", ["auto", "cuda"])
@pytest.mark.parametrize(
    ("world", "rank", "local"),
    [("WORLD_SIZE", "RANK", "LOCAL_RANK"), ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")],
)
def test_each_of_several_processes_has_a_gpu_of_its_own(gpus, name, world, rank, local):
    gpus.setenv(world, "4")
    gpus.setenv(rank, "3")  # the second process on the second machine
    gpus.setenv(local, "1")
    assert chosen_device(name) == torch.device("cuda", 1)


def test_alone_a_gpu_without_a_number_is_the_first(gpus):
    assert chosen_device("auto") == torch.device("cuda")


def test_a_number_is_taken_at_its_word(gpus):
    gpus.setenv("WORLD_SIZE", "2")
    gpus.setenv("LOCAL_RANK", "1")
    assert chosen_device("cuda:0") == torch.device("cuda", 0)
    with pytest.raises(InputError, match="'cuda:2' is not there"):
        chosen_device("cuda:2")
