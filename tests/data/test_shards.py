"""The shard store: what is read is what was written, whatever happens in between."""

import errno
import hashlib
import json
import os
import pickle
import resource
import subprocess
import sys
import time
import zlib
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.data.stores.shard_format import DamagedRecordError, DamagedStoreError, RecordSpec, store_folder
from modicum.data.stores.shard_writer import ShardWriter, size_text
from modicum.data.stores.shards import ShardStore
from modicum.errors import InputError, ResourceError

SETTINGS = {"size": [4, 4], "filter": "area", "rho": 0.2}
SPEC = RecordSpec("uint8", (4, 5, 3))


def record_of(number: int, spec: RecordSpec = SPEC) -> np.ndarray:
    """A record that is a function of its number alone."""
    generator = np.random.default_rng(number)
    return (generator.random(spec.shape) * 200).astype(spec.dtype)


def build(folder: Path, numbers, spec: RecordSpec = SPEC, **options) -> ShardStore:
    with ShardWriter(folder, SETTINGS, spec, **options) as writer:
        for number in numbers:
            writer.add(f"item-{number}", record_of(number, spec))
        return writer.finalise()


def content(folder: Path) -> dict[str, str]:
    """Hash of each file of a store; locks do not count."""
    files = sorted(path for path in folder.iterdir() if path.suffix != ".lock")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@settings(max_examples=25, deadline=None)
@given(
    dtype=st.sampled_from(["uint8", "float16", "float32", "int64"]),
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple),
    align=st.sampled_from([8, 64, 4096]),
    count=st.integers(1, 20),
    shard_bytes=st.sampled_from([1, 5000, 1 << 20]),
    order=st.randoms(use_true_random=False),
)
def test_what_is_read_is_what_was_written(tmp_path_factory, dtype, shape, align, count, shard_bytes, order):
    folder = tmp_path_factory.mktemp("store")
    spec = RecordSpec(dtype, shape, align)
    store = build(folder, range(count), spec, shard_bytes=shard_bytes)
    asked = [order.randrange(count) for _ in range(2 * count)]
    got = ShardStore.open(folder, SETTINGS).read([store.index_of(f"item-{number}") for number in asked])
    np.testing.assert_array_equal(got, np.stack([record_of(number, spec) for number in asked]))
    assert got.dtype == np.dtype(dtype)
    assert store.verify() == []


def test_files_are_raw_and_the_manifest_says_where_each_record_is(tmp_path):
    """Read with json, zlib and sha256 alone, as somebody without modicum would."""
    spec = RecordSpec("<f2", (3, 7), align=64)
    build(tmp_path, range(10), spec, shard_bytes=4 * spec.stride)
    manifest = json.loads((tmp_path / "store.json").read_text())
    assert manifest["schema"] == 1
    assert manifest["settings"] == SETTINGS
    assert [shard["records"] for shard in manifest["shards"]] == [4, 4, 2]
    for shard in manifest["shards"]:
        raw = (tmp_path / shard["file"]).read_bytes()
        assert len(raw) == 64 * shard["records"]
        assert hashlib.sha256(raw).hexdigest() == shard["sha256"]
        for slot, (key, crc) in enumerate(zip(shard["keys"], shard["crc32"], strict=True)):
            one = raw[64 * slot : 64 * slot + 42]
            assert zlib.crc32(one) == crc
            expected = record_of(int(key.removeprefix("item-")), spec)
            np.testing.assert_array_equal(np.frombuffer(one, "<f2").reshape(3, 7), expected)


def test_feature_records_of_the_method_fpt_are_whole_pages():
    """Sizes given for the features of a ViT-B at 512 pixels (fp16, 12 and 6 layers, 205 and 205 tokens)."""
    assert RecordSpec("float16", (12, 2, 12, 205, 64), align=4096).stride == 7_557_120
    half = RecordSpec("float16", (6, 2, 12, 205, 64), align=4096)
    assert (half.nbytes, half.stride) == (3_778_560, 3_780_608)


def test_folder_name_follows_the_settings_and_not_their_order(tmp_path):
    there = store_folder(tmp_path, "images", SETTINGS)
    assert there == store_folder(tmp_path, "images", dict(reversed(SETTINGS.items())))
    assert there == store_folder(tmp_path, "images", SETTINGS | {"size": (4, 4)})
    assert there != store_folder(tmp_path, "images", SETTINGS | {"rho": 0.25})


def test_other_settings_are_refused_and_the_setting_is_named(tmp_path):
    build(tmp_path, range(3))
    with pytest.raises(InputError, match=r"filter='area', not filter='lanczos'"):
        ShardStore.open(tmp_path, SETTINGS | {"filter": "lanczos"})
    with pytest.raises(InputError, match=r"rho=0.2, not rho=None"):
        ShardStore.open(tmp_path, {key: value for key, value in SETTINGS.items() if key != "rho"})
    with pytest.raises(InputError, match="records are"):
        ShardWriter(tmp_path, SETTINGS, RecordSpec("uint8", (9,)))


def test_a_key_is_stored_once(tmp_path):
    with ShardWriter(tmp_path, SETTINGS, SPEC) as writer:
        assert writer.add("same", record_of(1))
        assert not writer.add("same", record_of(1))
        store = writer.finalise()
    assert len(store) == 1
    assert store.nbytes == SPEC.nbytes


def test_more_items_are_appended_and_what_was_there_is_not_touched(tmp_path):
    build(tmp_path, range(5), shard_bytes=3 * SPEC.stride)
    before = content(tmp_path)
    store = build(tmp_path, range(3, 9), shard_bytes=3 * SPEC.stride)
    after = content(tmp_path)
    assert {name: digest for name, digest in before.items() if name != "store.json"}.items() <= after.items()
    assert sorted(store.keys) == sorted(f"item-{number}" for number in range(9))
    np.testing.assert_array_equal(store.read([store.index_of("item-8")])[0], record_of(8))
    build(tmp_path, range(9))
    assert content(tmp_path) == after, "building what is there must change nothing"


def test_an_open_store_goes_through_pickle_without_its_data(tmp_path):
    spec = RecordSpec("uint8", (1000, 1000))
    store = build(tmp_path, range(2), spec)
    store.read([0, 1])
    packed = pickle.dumps(store)
    assert len(packed) < 5000
    np.testing.assert_array_equal(pickle.loads(packed).read([1])[0], record_of(1, spec))


def read_in_worker(store: ShardStore) -> str:
    return hashlib.sha256(store.read(range(len(store))).tobytes()).hexdigest()


def test_other_processes_read_the_same(tmp_path):
    store = build(tmp_path, range(20), shard_bytes=7 * SPEC.stride)
    with get_context("fork").Pool(2) as pool:
        assert set(pool.map(read_in_worker, [store, store])) == {read_in_worker(store)}


def test_records_cannot_be_written_through_the_view(tmp_path):
    view = build(tmp_path, range(2)).record(0)
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1


# Damage.


def flip(path: Path, offset: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 4
    path.write_bytes(raw)


def test_one_flipped_bit_is_noticed_never_used_and_made_good(tmp_path):
    build(tmp_path, range(6), shard_bytes=3 * SPEC.stride)
    clean = build(tmp_path, range(6)).read(range(6))
    flip(tmp_path / "shard-000-00-00001.bin", SPEC.stride + 7)
    store = ShardStore.open(tmp_path, SETTINGS)
    np.testing.assert_array_equal(store.read([0, 1, 2, 3, 5]), clean[[0, 1, 2, 3, 5]])
    with pytest.raises(DamagedRecordError, match="item-4"):
        store.read([4])
    assert store.verify() == ["item-4"]
    # A build of the same items makes the one record again.
    with ShardWriter(tmp_path, SETTINGS, SPEC) as writer:
        assert [number for number in range(6) if f"item-{number}" not in writer] == [4]
        writer.add("item-4", record_of(4))
        store = writer.finalise()
    assert store.verify() == []
    np.testing.assert_array_equal(store.read([store.index_of(f"item-{n}") for n in range(6)]), clean)
    assert not (tmp_path / "damaged.txt").exists()


@pytest.mark.parametrize("damage", ["cut", "gone", "grown"])
def test_a_shard_of_another_size_is_noticed_and_made_again(tmp_path, damage):
    build(tmp_path, range(6), shard_bytes=3 * SPEC.stride)
    path = tmp_path / "shard-000-00-00000.bin"
    raw = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(raw[:-1] if damage == "cut" else raw + b"x")
    with pytest.raises(DamagedStoreError, match="shard-000-00-00000"):
        ShardStore.open(tmp_path, SETTINGS)
    assert list(ShardStore.open(tmp_path, SETTINGS, skip_damaged=True).keys) == ["item-3", "item-4", "item-5"]
    store = build(tmp_path, range(6))
    assert store.verify() == []
    assert len(store) == 6
    assert not path.exists(), "the damaged file has no use any more"


def test_padding_is_checked_by_verify(tmp_path):
    spec = RecordSpec("uint8", (5,), align=64)
    store = build(tmp_path, range(2), spec)
    flip(tmp_path / "shard-000-00-00000.bin", 30)
    assert store.verify() == ["item-0", "item-1"]


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b'{"schema": 1}', b"\xff\x00"])
def test_a_damaged_manifest_is_one_clear_error(tmp_path, broken):
    build(tmp_path, range(2))
    (tmp_path / "store.json").write_bytes(broken)
    with pytest.raises(DamagedStoreError, match=r"store\.json is damaged"):
        ShardStore.open(tmp_path, SETTINGS)


def test_a_manifest_changed_by_hand_cannot_name_other_settings(tmp_path):
    build(tmp_path, range(2))
    path = tmp_path / "store.json"
    path.write_text(path.read_text().replace('"area"', '"lanczos"'))
    with pytest.raises(DamagedStoreError):
        ShardStore.open(tmp_path, SETTINGS | {"filter": "lanczos"})


def test_a_store_of_a_later_schema_is_not_touched(tmp_path):
    build(tmp_path, range(2))
    path = tmp_path / "store.json"
    path.write_text(path.read_text().replace('"schema":1', '"schema":2'))
    with pytest.raises(InputError, match="schema 2"):
        ShardStore.open(tmp_path, SETTINGS)
    with pytest.raises(InputError, match="schema 2"):
        ShardWriter(tmp_path, SETTINGS, SPEC)


# Kills.

KILL_AT_EVERY_STEP = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_shards import SPEC, build, content

top = Path(sys.argv[2])
steps = ["write", "fsync", "replace", "ftruncate", "unlink"]
real = {name: getattr(os, name) for name in steps}

def kill_at(step):
    # The process dies before (for writes: in the middle of) its step-th change of the disk.
    count = 0
    def counted(name):
        def call(*arguments):
            nonlocal count
            count += 1
            if count == step:
                if name == "write":
                    real["write"](arguments[0], memoryview(arguments[1])[: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real[name](*arguments)
        return call
    for name in steps:
        setattr(os, name, counted(name))
    return lambda: count

def run(folder, step):
    child = os.fork()
    if child == 0:
        kill_at(step)
        build(folder, range(3, 10), shard_bytes=3 * SPEC.stride)
        os._exit(0)
    return os.waitpid(child, 0)[1]

def start(folder):
    build(folder, range(3), shard_bytes=3 * SPEC.stride)

start(top / "whole")
build(top / "whole", range(3, 10), shard_bytes=3 * SPEC.stride)
expected = content(top / "whole")
killed = 0
while True:
    folder = top / f"killed-{killed}"
    start(folder)
    if run(folder, killed + 1) == 0:
        break
    killed += 1
    run(folder, 5 + killed % 7)  # and killed again while it goes on
    build(folder, range(3, 10), shard_bytes=3 * SPEC.stride)
    assert content(folder) == expected, (killed, content(folder), expected)
print(killed)
"""


def test_a_build_killed_at_any_change_of_the_disk_ends_with_the_same_bytes(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", KILL_AT_EVERY_STEP, str(Path(__file__).parent), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 30  # the points it was killed at


SLOW_BUILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_shards import SETTINGS, SPEC, record_of
from modicum.data.stores.shard_writer import ShardWriter
with ShardWriter(Path(sys.argv[2]), SETTINGS, SPEC, shard_bytes=40 * SPEC.stride) as writer:
    made = 0
    for number in range(150):
        if f"item-{number}" not in writer:
            writer.add(f"item-{number}", record_of(number))
            made += 1
            print(number, flush=True)
            time.sleep(0.002)
    writer.finalise()
"""


def test_a_killed_process_leaves_what_it_had_finished(tmp_path):
    """SIGKILL from outside at moments nobody chose; no record is made twice."""
    folder = tmp_path / "store"
    made: list[int] = []
    for pause in (0.05, 0.1, None):
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW_BUILD, str(Path(__file__).parent), str(folder)],
            stdout=subprocess.PIPE,
            text=True,
        )
        first = process.stdout.readline()
        if pause is not None:
            time.sleep(pause)
            process.kill()
        made += [int(line) for line in (first + process.stdout.read()).split("\n") if line]
        process.stdout.close()
        assert (process.wait() == 0) == (pause is None)
    # A record may be written but not yet told when the kill comes, never the other way.
    assert len(set(made)) == len(made)
    assert len(made) >= 148
    assert content(folder) == content(
        build(tmp_path / "whole", range(150), shard_bytes=40 * SPEC.stride).folder
    )


def test_a_record_that_reached_the_journal_but_not_the_disk_is_made_again(tmp_path):
    """As after a power cut."""
    writer = ShardWriter(tmp_path / "cut", SETTINGS, SPEC)
    for number in range(5):
        writer.add(f"item-{number}", record_of(number))
    writer.close()
    part = tmp_path / "cut" / "shard-000-00-00000.bin.part"
    part.write_bytes(part.read_bytes()[: 3 * SPEC.stride] + bytes(2 * SPEC.stride))
    with ShardWriter(tmp_path / "cut", SETTINGS, SPEC) as writer:
        assert [f"item-{number}" in writer for number in range(5)] == [True] * 3 + [False] * 2
    assert content(build(tmp_path / "cut", range(6)).folder) == content(
        build(tmp_path / "whole", range(6)).folder
    )


# Disk and neighbours.


def test_too_little_disk_is_said_before_the_work_starts(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 100_000_000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with ShardWriter(tmp_path, SETTINGS, RecordSpec("float16", (12, 2, 12, 205, 64), 4096)) as writer:
        writer.check_space(4)
        expected = r"10000 records need 75.6 GB \(75571200000 bytes\) and 67.1 MB to spare, 100 MB"
        with pytest.raises(ResourceError, match=expected):
            writer.check_space(10_000)


LARGE = RecordSpec("uint8", (4000,))


def full_disk(folder: Path) -> None:
    """Runs in its own process: the kernel stops a file at 2.5 records, as a full disk would, in mid-write."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGE.stride * 5 // 2, resource.RLIM_INFINITY))
    try:
        build(folder, range(6), LARGE)
    except ResourceError as error:
        os._exit(7 if "writing failed" in str(error) and "finished records are kept" in str(error) else 8)
    os._exit(9)


def test_a_disk_that_fills_up_is_a_clear_error_and_the_build_goes_on_later(tmp_path):
    process = get_context("fork").Process(target=full_disk, args=(tmp_path / "full",))
    process.start()
    process.join()
    assert process.exitcode == 7
    with ShardWriter(tmp_path / "full", SETTINGS, LARGE) as writer:
        assert [number for number in range(6) if f"item-{number}" in writer] == [0, 1]
    resumed, whole = build(tmp_path / "full", range(6), LARGE), build(tmp_path / "whole", range(6), LARGE)
    assert content(resumed.folder) == content(whole.folder)


def test_after_a_failed_write_the_same_writer_refuses_to_go_on(tmp_path, monkeypatch):
    writer = ShardWriter(tmp_path, SETTINGS, SPEC)
    writer.add("item-0", record_of(0))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.write", full)
        with pytest.raises(ResourceError, match="No space left"):
            writer.add("item-1", record_of(1))
    with pytest.raises(ValueError, match="closed"):
        writer.add("item-1", record_of(1))
    assert build(tmp_path, range(2)).verify() == []


def hold(folder: Path, ready, stop) -> None:
    with ShardWriter(folder, SETTINGS, SPEC) as writer:
        writer.add("item-0", record_of(0))
        ready.set()
        stop.wait(20)
        writer.finalise()


def test_a_second_writer_waits_or_is_told(tmp_path):
    context = get_context("fork")
    ready, stop = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path, ready, stop))
    process.start()
    assert ready.wait(20)
    with pytest.raises(ResourceError, match="another process is building it"):
        ShardWriter(tmp_path, SETTINGS, SPEC, wait=0.0)
    stop.set()
    with ShardWriter(tmp_path, SETTINGS, SPEC, wait=20.0) as writer:
        assert "item-0" in writer, "the second one sees what the first has done"
        writer.add("item-1", record_of(1))
        assert len(writer.finalise()) == 2
    process.join()


def build_rank(folder: Path, rank: int) -> None:
    with ShardWriter(folder, SETTINGS, SPEC, rank=rank, shard_bytes=3 * SPEC.stride) as writer:
        for number in range(rank, 20, 3):
            writer.add(f"item-{number}", record_of(number))
        writer.add("item-for-all", record_of(99))


def test_several_processes_build_one_store(tmp_path):
    context = get_context("fork")
    stores = []
    for name in ("one", "two"):
        ranks = [context.Process(target=build_rank, args=(tmp_path / name, rank)) for rank in range(3)]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join()
        stores.append(build(tmp_path / name, []))
    store = stores[0]
    assert len(store) == 21
    assert store.verify() == []
    for number in range(20):
        np.testing.assert_array_equal(store.record(store.index_of(f"item-{number}")), record_of(number))
    assert content(stores[0].folder) == content(stores[1].folder), "whoever was faster"


def test_finalising_while_another_rank_writes_is_refused(tmp_path):
    with (
        ShardWriter(tmp_path, SETTINGS, SPEC, rank=1) as other,
        ShardWriter(tmp_path, SETTINGS, SPEC) as writer,
    ):
        other.add("item-1", record_of(1))
        with pytest.raises(ResourceError, match="another process"):
            writer.finalise()


def test_sizes_are_readable():
    assert [size_text(n) for n in (12, 1500, 7_557_120, 75_571_200_000)] == [
        "12 bytes",
        "1.5 kB",
        "7.56 MB",
        "75.6 GB",
    ]
