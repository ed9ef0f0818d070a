"""Stores of keys and values: what they are known by, what they serve, and what damage, kills and neighbours do."""

import hashlib
import multiprocessing
import os
import shutil
import signal
import threading
from collections import namedtuple
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from keys_values import SIZE, Counted, extraction, stored_records

import modicum
from modicum.data.phantoms import write_fundus_dataset
from modicum.data.prepared import StoreSettings
from modicum.data.stores.shard_format import DamagedRecordError
from modicum.engine.inputs.batches import to_unit_range
from modicum.engine.inputs.extraction import LiveStage, extracted
from modicum.engine.inputs.prefetching import Prefetched
from modicum.engine.inputs.preparation import stored
from modicum.errors import InputError, ResourceError
from modicum.transforms import apply_views

FORK = multiprocessing.get_context("fork")
Usage = namedtuple("Usage", "total used free")


def opened(manifest, folder, size=SIZE):
    _, store, positions = stored(manifest, StoreSettings(size, size), folder, 0, False, None)
    return store, positions


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return modicum.load(write_fundus_dataset(tmp_path_factory.mktemp("store"), 6, 64, seed=3, masks=False))


@pytest.fixture(scope="module")
def images(manifest, tmp_path_factory):
    return opened(manifest, tmp_path_factory.mktemp("images"))


def shards(folder: Path):
    return sorted(folder.glob("features-*/shard-*.bin"))


def digests(folder: Path):
    """Of the finished files of all stores: names and content."""
    files = sorted(path for path in folder.glob("features-*/*") if path.suffix in {".bin", ".json"})
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def flip_a_byte(path: Path, place: int):
    content = bytearray(path.read_bytes())
    content[place] ^= 0x40
    path.write_bytes(content)


# --- what a record is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8", "lowrank4"])
def test_a_stored_record_is_what_the_stage_makes_of_the_image(images, tmp_path, dtype):
    stage, (store, positions) = Counted(dtype=dtype), images
    records, _ = stored_records(stage, images, tmp_path)
    made = stage({"image": to_unit_range(torch.from_numpy(store.get(positions)))})
    found, expected = stage.codec.decode(torch.from_numpy(records[0])), stage.codec.decode(made)
    for one, other in zip(found.dense(), expected.dense(), strict=True):
        # Images are extracted four at a time here, all at once there: sums in another order.
        torch.testing.assert_close(one, other, atol=2e-3 if dtype != "int8" else 2e-2, rtol=1e-2)


def test_two_images_of_one_name_have_a_record_each(tmp_path):
    generator = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        pixels = generator.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "data" / label / "image.png"), pixels)
        cv2.imwrite(str(tmp_path / "data" / label / f"{label}.png"), 255 - pixels)
    images = opened(modicum.load(tmp_path / "data"), tmp_path)
    records, computed = stored_records(Counted(), images, tmp_path)
    assert len({record.tobytes() for record in records[0]}) == 4
    assert computed <= 5


def test_equal_images_share_a_record(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "data" / label / f"{label}.png"), pixels)
    stage = Counted()
    records, _ = stored_records(stage, opened(modicum.load(tmp_path / "data"), tmp_path), tmp_path)
    assert np.array_equal(records[0, 0], records[0, 1])
    (shard,) = shards(tmp_path)
    assert shard.stat().st_size < 2 * records[0, 0].nbytes


def test_each_view_has_a_record_and_the_views_are_those_of_the_live_stage(images, tmp_path):
    views = ("identity", "hflip", "crop1")
    stage, (store, positions) = Counted(views=views, dtype="float32"), images
    records, computed = stored_records(stage, images, tmp_path)
    assert records.shape[:2] == (3, len(positions))
    assert computed <= 3 * len(positions) + 1
    live = LiveStage(extraction(stage, store, positions, tmp_path))
    chosen = torch.arange(len(positions)) % 3
    batch = {"image": to_unit_range(torch.from_numpy(store.get(positions))), "view": chosen}
    expected = records[chosen.numpy(), np.arange(len(positions))]
    np.testing.assert_allclose(live(batch), expected, atol=1e-4)
    shown = apply_views(batch["image"], views, chosen)
    np.testing.assert_allclose(stage({"image": shown}), expected, atol=1e-4)
    assert not np.allclose(records[0], records[1], atol=1e-2)


def test_more_views_are_added_to_a_store_that_has_the_first(images, tmp_path):
    first, _ = stored_records(Counted(), images, tmp_path)
    every, computed = stored_records(Counted(views=("identity", "hflip")), images, tmp_path)
    assert computed <= len(images[1]) + 1
    assert np.array_equal(every[0], first[0])


# --- which store --------------------------------------------------------------------------------------------------

CHANGES = {
    "more tokens": {"rho": 0.7},
    "a layer more": {"layers": (2, 3, 4, 5)},
    "another layer": {"layers": (0, 4, 5)},
    "other weights": {"seed": 1},
    "another normalisation": {"mean": 0.4},
    "another score": {"score": "class_token"},
    "no class token among them": {"keep": False},
    "another type": {"dtype": "int8"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_a_record_has_a_store_of_its_own(images, tmp_path, change):
    first, _ = stored_records(Counted(), images, tmp_path)
    before = digests(tmp_path)
    other, computed = stored_records(Counted(**CHANGES[change]), images, tmp_path)
    assert computed >= len(images[1])
    assert other.shape != first.shape or not np.array_equal(other, first)
    assert len(list(tmp_path.glob("features-*"))) == 2
    assert digests(tmp_path).items() >= before.items()
    again, computed = stored_records(Counted(), images, tmp_path)
    assert computed == 0
    assert np.array_equal(again, first)


def test_another_image_size_has_a_store_of_its_own(manifest, images, tmp_path):
    stored_records(Counted(), images, tmp_path)
    larger = opened(manifest, tmp_path, 80)
    _, computed = stored_records(Counted(size=80, rho=0.32), larger, tmp_path)  # 8 of 26 tokens, as 8 of 17
    assert computed >= len(larger[1])


@pytest.mark.parametrize(
    ("smaller", "layers", "tokens"),
    [
        ({"rho": 0.25}, slice(None), 4),
        ({"layers": (4, 5)}, slice(1, 3), 8),
        ({"layers": (2, 5), "rho": 0.3}, [0, 2], 5),
        ({"layers": (4,), "rho": 0.1}, slice(1, 2), 1),
    ],
)
def test_fewer_layers_and_tokens_are_read_from_a_larger_store(
    images, tmp_path, capsys, smaller, layers, tokens
):
    whole, _ = stored_records(Counted(), images, tmp_path)
    before = digests(tmp_path)
    stage = Counted(**smaller)
    part, computed = stored_records(stage, images, tmp_path)
    assert computed == 0
    assert np.array_equal(part, whole[:, :, layers][..., :tokens, :])
    assert digests(tmp_path) == before
    assert "read from the larger records" in capsys.readouterr().err
    own, _ = stored_records(Counted(**smaller), images, tmp_path / "own")
    np.testing.assert_allclose(part, own, atol=2e-3)


@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "lowrank4"])
def test_other_types_serve_fewer_layers_exactly(images, tmp_path, dtype):
    whole, _ = stored_records(Counted(dtype=dtype), images, tmp_path)
    part, computed = stored_records(Counted(dtype=dtype, layers=(4, 5)), images, tmp_path)
    assert computed == 0
    assert np.array_equal(part, whole[:, :, 1:])


# --- damage -------------------------------------------------------------------------------------------------------


def test_a_flipped_byte_is_noticed_and_only_that_record_made_again(images, tmp_path):
    whole, _ = stored_records(Counted(), images, tmp_path)
    (shard,) = shards(tmp_path)
    flip_a_byte(shard, 2 * whole[0, 0].nbytes + 100)
    with pytest.raises(
        DamagedRecordError, match="is damaged; build the store again: only this record is rebuilt"
    ):
        stored_records(Counted(), images, tmp_path)
    again, computed = stored_records(Counted(), images, tmp_path)
    assert computed <= 2  # one to know the shape, one record
    np.testing.assert_allclose(again, whole, atol=2e-3)


def test_a_smaller_setting_does_without_a_damaged_larger_store(images, tmp_path):
    whole, _ = stored_records(Counted(), images, tmp_path)
    (shard,) = shards(tmp_path)
    flip_a_byte(shard, 100)
    with pytest.raises(DamagedRecordError):
        stored_records(Counted(layers=(4, 5)), images, tmp_path)
    part, _ = stored_records(Counted(layers=(4, 5)), images, tmp_path)
    np.testing.assert_allclose(part, whole[:, :, 1:], atol=2e-3)


@pytest.mark.parametrize("kept", [0, 1000])
def test_a_truncated_or_missing_shard_is_made_again(images, tmp_path, kept):
    whole, _ = stored_records(Counted(), images, tmp_path)
    (shard,) = shards(tmp_path)
    if kept:
        os.truncate(shard, kept)
    else:
        shard.unlink()
    again, computed = stored_records(Counted(), images, tmp_path)
    assert computed >= len(images[1])
    np.testing.assert_array_equal(again, whole)


def test_a_manifest_that_is_damaged_is_an_error_with_a_remedy(images, tmp_path):
    stored_records(Counted(), images, tmp_path)
    (place,) = tmp_path.glob("features-*/store.json")
    place.write_text(place.read_text()[:-40])
    with pytest.raises(modicum.errors.ModicumError, match=r"store\.json is damaged; delete the folder"):
        stored_records(Counted(), images, tmp_path)


def test_a_store_whose_records_are_made_in_a_thread_ahead_of_the_writing_has_the_same_bytes(
    images, tmp_path, monkeypatch
):
    stored_records(Counted(), images, tmp_path / "in turn")
    threads = set()

    class Noting(Counted):
        def forward(self, batch):
            threads.add(threading.current_thread())
            return super().forward(batch)

    always = lambda items, worthwhile: Prefetched(items, lambda _: True)  # noqa: E731 - as on a GPU
    monkeypatch.setattr("modicum.engine.inputs.extraction.Prefetched", always)
    stored_records(Noting(), images, tmp_path / "ahead")
    assert digests(tmp_path / "ahead") == digests(tmp_path / "in turn")
    assert len(threads) == 2  # the shape and the first batch are made here


# --- several processes --------------------------------------------------------------------------------------------


def in_processes(*works):
    """Runs functions at once, each in a process; returns the exit codes."""
    processes = [FORK.Process(target=work) for work in works]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def report(stage, images, folder, name, **ranks):
    records, computed = stored_records(stage, images, folder, **ranks)
    np.savez(folder / f"{name}.npz", records=records, computed=computed)


def test_two_processes_at_once_do_the_work_once(images, tmp_path):
    works = [
        lambda name=name: report(Counted(seconds=0.1), images, tmp_path, name) for name in ("one", "other")
    ]
    assert in_processes(*works) == [0, 0]
    one, other = (np.load(tmp_path / f"{name}.npz") for name in ("one", "other"))
    assert np.array_equal(one["records"], other["records"])
    assert one["computed"] + other["computed"] <= len(images[1]) + 2  # one each to know the shape


def test_ranks_share_the_images_out_and_write_shards_of_their_own(images, tmp_path):
    alone, _ = stored_records(Counted(), images, tmp_path / "alone")
    works = [
        lambda rank=rank: report(Counted(seconds=0.05), images, tmp_path, f"rank{rank}", rank=rank, world=2)
        for rank in (0, 1)
    ]
    assert in_processes(*works) == [0, 0]
    found = [np.load(tmp_path / f"rank{rank}.npz") for rank in (0, 1)]
    for part in found:
        np.testing.assert_allclose(part["records"], alone, atol=2e-3)
        assert 1 < part["computed"] < len(images[1])
    assert sum(int(part["computed"]) for part in found) <= len(images[1]) + 2
    assert [path.name for path in shards(tmp_path)] == ["shard-000-00-00000.bin", "shard-000-01-00000.bin"]
    assert not list(tmp_path.glob("features-*/journal-*"))


def test_ranks_share_the_images_of_one_file_too(images, tmp_path):
    np.savez(
        tmp_path / "many.npz", train_images=np.zeros((40, SIZE, SIZE), np.uint8), train_labels=[[0], [1]] * 20
    )
    store, positions = opened(modicum.load(tmp_path / "many.npz"), tmp_path / "stores")
    shares = [extraction(Counted(), store, positions, tmp_path, rank, 2).is_own for rank in (0, 1)]
    owners = [[own(key) for own in shares] for key in store.keys_of(positions)]
    assert len(owners) == 40
    assert all(sum(owned) == 1 for owned in owners)
    assert 5 < sum(first for first, _ in owners) < 35


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_whose_others_never_write_stops_waiting_and_says_so(images, tmp_path, monkeypatch, rank):
    monkeypatch.setattr("modicum.engine.inputs.extraction._PATIENCE", 0.5)
    with pytest.raises(ResourceError, match=r"store features-\w+: waited 0.5 s .*features\.mode=live"):
        stored_records(Counted(), images, tmp_path, rank=rank, world=2)


# --- kills --------------------------------------------------------------------------------------------------------


class Killed(Counted):
    """Ends its process, without any clean-up, before the n-th batch."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.left = batches

    def forward(self, batch):
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(batch)


def test_a_store_that_was_killed_again_and_again_is_that_of_an_undisturbed_run_byte_for_byte(
    images, tmp_path
):
    stored_records(Counted(), images, tmp_path / "whole")
    broken = tmp_path / "broken"
    for _ in range(2):  # each learns the shape, makes one batch and is killed in the second
        work = lambda: stored_records(Killed(2), images, broken)  # noqa: E731
        assert in_processes(work) == [-signal.SIGKILL]
        assert not list(broken.glob("features-*/store.json"))
    _, computed = stored_records(Counted(), images, broken)
    assert computed == len(images[1]) - 8 + 1
    assert digests(broken) == digests(tmp_path / "whole")


# --- disk ---------------------------------------------------------------------------------------------------------


def test_what_the_budget_does_not_allow_is_computed_for_every_batch(images, tmp_path, capsys):
    stage, (store, positions) = Counted(), images
    made = extracted(extraction(stage, store, positions, tmp_path), "auto", 1000)
    assert isinstance(made, LiveStage)
    assert stage.images == 1
    needed = (
        len(positions) * 3 * 2 * 2 * 8 * 32 * 2
    )  # layers, keys and values, heads, tokens, features, bytes
    shown = capsys.readouterr().err
    assert (
        f"extract: computed for every batch (a store needs {needed / 1000:.3g} kB, 1 kB are allowed)" in shown
    )
    assert not list(tmp_path.glob("features-*"))


def test_a_store_that_is_there_is_used_whatever_the_budget(images, tmp_path):
    whole, _ = stored_records(Counted(), images, tmp_path)
    stage, (store, positions) = Counted(), images
    made = extracted(extraction(stage, store, positions, tmp_path), "auto", 1000)
    assert np.array_equal(made.of(np.arange(len(positions)), None), whole[0])
    assert stage.images == 0


def test_a_full_disk_is_met_before_any_work(images, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 1000))
    stage, (store, positions) = Counted(), images
    with pytest.raises(
        ResourceError, match=r"need .* are free; free some space, choose a folder on another disk"
    ):
        extracted(extraction(stage, store, positions, tmp_path), "store")
    assert stage.images <= 1
    made = extracted(extraction(stage, store, positions, tmp_path), "auto")
    assert isinstance(made, LiveStage)
    assert "of disk are free" in capsys.readouterr().err


def test_live_as_asked_makes_no_store_and_gives_the_same_records(images, tmp_path):
    stage, (store, positions) = Counted(), images
    whole, _ = stored_records(stage, images, tmp_path / "store")
    live = extracted(extraction(stage, store, positions, tmp_path / "live"), "live")
    assert not (tmp_path / "live").exists()
    pixels = to_unit_range(torch.from_numpy(store.get(positions[:4])))
    assert np.array_equal(live({"image": pixels}), whole[0, :4])


def test_overflow_is_an_error_that_names_another_type(images, tmp_path):
    stage = Counted()
    with torch.no_grad():
        stage.taps.module.backbone.body.blocks[4].attn.qkv.weight.mul_(1e6)
    with pytest.raises(InputError, match="set store_dtype=bfloat16"):
        stored_records(stage, images, tmp_path)
