"""Run folders: stopping, going on, locks, torn files and full disks."""

import errno
import json
import os
import signal

import pytest
import torch
from small_stages import Perceptron, same, stage_data, trainer, weights_of

import modicum
from modicum.atomic_files import atomic_file, raise_if_disk_full
from modicum.data.phantoms import write_fundus_dataset
from modicum.engine.run_folder import RunFolder, memory_kind
from modicum.engine.training.history import History
from modicum.engine.training.meters import measured_by_allocator
from modicum.errors import InputError, InterruptedRunError, ResourceError


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    fractions = {"train": 0.6, "val": 0.2, "test": 0.2}
    return write_fundus_dataset(
        tmp_path_factory.mktemp("folder"), 12, 40, seed=3, fractions=fractions, masks=False
    )


def fit(images, runs, **settings):
    return modicum.fit(
        images, "full", name="run", runs=runs, stores=images.parent / "stores", backbone="test_resnet",
        weights="random", image_size=32, epochs=1, leaks="allow", resamples=0, workers=0, device="cpu",
        write_report=False, **{"batch_size": 4, **settings},
    )  # fmt: skip


class Signalled(Perceptron):
    """Gets signals in the middle of some batches."""

    def __init__(self, *signals: int, at: int) -> None:
        super().__init__()
        self.signals, self.at, self.batches = signals, at, 0

    def validate(self, batch):
        if self.training:
            self.batches += 1
            if self.batches == self.at:
                for number in self.signals:
                    os.kill(os.getpid(), number)
        return super().validate(batch)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", [1, 3, 6], ids=["inside a step", "between", "at the epoch's end"])
def test_a_signal_stops_after_the_step_and_the_run_goes_on_to_the_same_weights(tmp_path, number, at):
    settings = {"accumulate": 2, "epochs": 3, "ema_decay": 0.5}
    whole = Perceptron()
    trainer(whole, tmp_path / "whole", **settings).run()
    before = signal.getsignal(number)
    with pytest.raises(
        InterruptedRunError, match=r"stopped .*; the run is kept; go on with --resume --name s"
    ):
        trainer(Signalled(number, at=at), tmp_path / "stopped", **settings).run()
    assert signal.getsignal(number) is before
    again = Perceptron()
    run = trainer(again, tmp_path / "stopped", **settings)
    run.run()
    assert run.module.progress.step == 9
    assert same(weights_of(again), weights_of(whole))


def test_a_second_signal_does_not_wait_and_leaves_the_process_as_it_was(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(InterruptedRunError, match="immediately"):
        trainer(Signalled(signal.SIGINT, signal.SIGINT, at=2), tmp_path).run()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_torn_last_line_of_the_history_is_forgotten(tmp_path):
    data = stage_data()
    trainer(Perceptron(), tmp_path / "whole", data, epochs=3).run()
    with pytest.raises(InterruptedRunError):
        trainer(Signalled(signal.SIGTERM, at=8), tmp_path / "torn", data, epochs=3).run()
    path = tmp_path / "torn" / "history.jsonl"
    path.write_text(path.read_text() + '{"kind": "step", "stage": "tune", "ste')
    trainer(Perceptron(), tmp_path / "torn", data, epochs=3).run()

    def records(name):
        lines = (tmp_path / name / "history.jsonl").read_text().splitlines()
        return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]

    assert records("torn") == records("whole")


def test_forgetting_takes_later_stages_too(tmp_path):
    history = History(tmp_path / "history.jsonl")
    for stage, step in (("warm", 1), ("warm", 2), ("polish", 1)):
        history.add({"stage": stage, "step": step})
    history.flush()
    history.forget_after("polish", 1)
    assert len(history.records()) == 3
    history.forget_after("warm", 1)
    assert history.records() == [{"stage": "warm", "step": 1}]


def test_resuming_a_finished_run_touches_nothing(images, tmp_path, monkeypatch):
    run = fit(images, tmp_path)
    assert run.folder.status == {"state": "finished"}
    assert not run.folder.checkpoints.exists()
    states = {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()}
    monkeypatch.setattr("modicum.api.fit_recipe", None)
    assert fit(images, tmp_path, resume=True).path == run.path
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()} == states
    monkeypatch.undo()
    with pytest.raises(InputError, match="exists already; pass --resume"):
        fit(images, tmp_path)


def test_a_full_disk_while_writing_the_weights_is_named_and_the_run_goes_on(images, tmp_path, monkeypatch):
    from modicum.engine import checkpoint

    def full(path):
        if path.name == "weights.safetensors":
            raise_if_disk_full(OSError(errno.ENOSPC, "No space left on device"), path)
        return atomic_file(path)

    monkeypatch.setattr(checkpoint, "atomic_file", full)
    with pytest.raises(ResourceError, match=r"disk is full; 'weights.safetensors'.*--resume"):
        fit(images, tmp_path)
    folder = RunFolder(tmp_path / "run")
    assert folder.status["state"] == "failed"
    assert "disk is full" in folder.status["error"]
    monkeypatch.undo()
    trained = []
    monkeypatch.setattr("lightning.Trainer.fit", lambda *_: trained.append(1))
    assert fit(images, tmp_path, resume=True).folder.status["state"] == "finished"
    assert not trained  # only what was missing is done


def test_one_process_at_a_time(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.locked(), pytest.raises(InputError, match="in use by another process"), folder.locked():
        pass
    with folder.locked():
        pass  # and free again


def test_resuming_with_other_settings_names_the_setting(images, tmp_path, monkeypatch):
    monkeypatch.setattr("modicum.engine.fit._fit", lambda *_: {})
    fit(images, tmp_path)
    with pytest.raises(InputError, match=r"started with training.lr=0.0001, now it is 0.5"):
        fit(images, tmp_path, resume=True, lr=0.5)


def test_one_image_in_a_batch_is_too_few_for_batch_normalisation(images, tmp_path):
    with pytest.raises(InputError, match=r"batch normalisation has nothing.*--batch-size"):
        fit(images, tmp_path, batch_size=1)


def test_the_allocators_peak_is_kept_over_a_restart():
    account = {"device": "cpu", "kind": "estimated", "peak_bytes": 100, "weights_bytes": 40}
    first = measured_by_allocator(account, 130)
    assert first == {
        "device": "cuda", "kind": "measured", "peak_bytes": 130, "estimated_bytes": 100, "weights_bytes": 40
    }  # fmt: skip
    assert measured_by_allocator(first, 90) == first
    assert measured_by_allocator(first, 150) == {**first, "peak_bytes": 150}


def test_memory_of_runs_of_earlier_versions_is_read():
    assert memory_kind({"kind": "accounted"}) == memory_kind({"kind": "estimated"}) == "estimated"
    assert memory_kind({"kind": "allocator"}) == memory_kind({"kind": "measured"}) == "measured"
    assert memory_kind({}) == ""
    old = {"device": "cuda", "kind": "allocator", "peak_bytes": 130, "accounted_bytes": 100}
    assert measured_by_allocator(old, 150) == {**old, "peak_bytes": 150}


def test_memory_on_a_gpu_is_the_allocators(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 10**9)
    run = trainer(Perceptron(), tmp_path, epochs=1)
    checkpoint = run._checkpoint

    def as_on_a_gpu():
        run.device = torch.device("cuda")
        checkpoint()
        run.device = torch.device("cpu")

    monkeypatch.setattr(run, "_checkpoint", as_on_a_gpu)
    memory = run.run().memory
    assert (memory["device"], memory["kind"], memory["peak_bytes"]) == ("cuda", "measured", 10**9)
    assert memory["estimated_bytes"] == sum(
        memory[f"{part}_bytes"] for part in ("weights", "gradients", "optimizer", "activations")
    )
