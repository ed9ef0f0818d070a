"""Checkpoints: exact, atomic, checked; a damaged one is passed over."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from modicum.engine.checkpoint import (
    Checkpoint,
    checkpoint_folders,
    load_tensors,
    newest_checkpoint,
    save_checkpoint,
    save_tensors,
)
from modicum.engine.training.optimizers import optimizer_tensors, restore_optimizers
from modicum.errors import InputError, ResourceError


def checkpoint(step: int) -> Checkpoint:
    tensors = {"learned": {"w": torch.full((4, 4), float(step))}, "optimizer": {"0.0.exp_avg": torch.ones(3)}}
    return Checkpoint("tune", step, tensors, {"position": {"step": step}, "best": None})


def test_what_was_saved_comes_back(tmp_path):
    save_checkpoint(tmp_path, checkpoint(7))
    found = newest_checkpoint(tmp_path, "tune")
    assert found.step == 7
    assert torch.equal(found.tensors["learned"]["w"], torch.full((4, 4), 7.0))
    assert found.state["position"] == {"step": 7}


def test_only_the_last_two_are_kept(tmp_path):
    for step in (1, 2, 10, 30):
        save_checkpoint(tmp_path, checkpoint(step))
    assert [path.name for path in checkpoint_folders(tmp_path, "tune")] == ["tune-00000010", "tune-00000030"]


@pytest.mark.parametrize("file", ["learned.safetensors", "optimizer.safetensors", "checkpoint.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_it_used(tmp_path, file, damage):
    save_checkpoint(tmp_path, checkpoint(1))
    newest = save_checkpoint(tmp_path, checkpoint(2)) / file
    content = bytearray(newest.read_bytes())
    if damage == "remove":
        newest.unlink()
    elif damage == "cut":
        newest.write_bytes(content[: len(content) // 2])
    else:
        content[-3] ^= 0x10
        newest.write_bytes(content)
    found = newest_checkpoint(tmp_path, "tune")
    assert found.step == 1


def test_no_checkpoint_at_all(tmp_path):
    assert newest_checkpoint(tmp_path / "missing", "tune") is None


def test_another_stages_checkpoints_are_not_mixed_up(tmp_path):
    save_checkpoint(tmp_path, checkpoint(5))
    assert newest_checkpoint(tmp_path, "tune-late") is None


def test_a_full_disk_is_named_and_leaves_the_older_checkpoint(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, checkpoint(1))

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match=r"disk is full.*--resume"):
        save_checkpoint(tmp_path, checkpoint(2))
    monkeypatch.undo()
    assert newest_checkpoint(tmp_path, "tune").step == 1
    save_checkpoint(tmp_path, checkpoint(2))  # and the next attempt is not hindered by what is left
    assert newest_checkpoint(tmp_path, "tune").step == 2


KILLED = """
import sys, torch
from pathlib import Path
from modicum.engine.checkpoint import Checkpoint, save_checkpoint
step = 0
while True:
    step += 1
    tensors = {"learned": {"w": torch.full((200, 1000), float(step))}}
    save_checkpoint(Path(sys.argv[1]), Checkpoint("tune", step, tensors, {"position": {"step": step}, "best": None}))
    print(step, flush=True)
"""


def test_sigkill_while_saving_leaves_a_whole_checkpoint(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout.readline()
    for wait in (0.0, 0.013, 0.029):
        time.sleep(wait)
    process.send_signal(signal.SIGKILL)
    written = [int(line) for line in process.stdout.read().split()]
    process.wait()
    found = newest_checkpoint(tmp_path, "tune")
    assert found.step >= max(written, default=1)
    assert torch.equal(found.tensors["learned"]["w"], torch.full((200, 1000), float(found.step)))


def test_weights_with_a_wrong_checksum_are_refused(tmp_path):
    digest = save_tensors(tmp_path / "w.safetensors", {"w": torch.zeros(3)})
    save_tensors(tmp_path / "w.safetensors", {"w": torch.ones(3)})
    with pytest.raises(InputError, match="damaged"):
        load_tensors(tmp_path / "w.safetensors", digest)


@pytest.mark.parametrize(
    "make", [torch.optim.AdamW, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True)]
)
def test_restored_optimisers_step_exactly_as_the_originals(make):
    torch.manual_seed(0)
    network, images = nn.Linear(5, 3), torch.rand(8, 5)
    optimizer = make(network.parameters())

    def step(model, optimiser):
        optimiser.zero_grad()
        model(images).square().sum().backward()
        optimiser.step()

    for _ in range(3):
        step(network, optimizer)
    copy = nn.Linear(5, 3)
    copy.load_state_dict(network.state_dict())
    other = make(copy.parameters())
    tensors, rest = optimizer_tensors([optimizer])
    restore_optimizers([other], {name: value.clone() for name, value in tensors.items()}, rest)
    for _ in range(3):
        step(network, optimizer)
        step(copy, other)
    assert torch.equal(network.weight, copy.weight)
    assert torch.equal(network.bias, copy.bias)
