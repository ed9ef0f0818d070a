"""The image store: the same pixels as reading each file, once only, whatever happens in between."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modicum.data.image import ImageRef
from modicum.data.prepared import prepared, read_cropped, read_prepared
from modicum.data.stores import image_decoding
from modicum.data.stores.image_store import ImageStore, StoreSettings
from modicum.data.stores.shard_format import DamagedRecordError
from modicum.errors import BrokenImageError, InputError, ResourceError

SMALL = StoreSettings(height=24, width=32)


def photograph(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    """Colour, uint8 [height, width, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Six images: four in colour, one grey, one a grey radiograph saved as RGB."""
    images = tmp_path / "images"
    images.mkdir()
    for number in range(4):
        Image.fromarray(photograph(number)).save(images / f"{number}.png")
    Image.fromarray(photograph(4)[..., 0]).save(images / "4.png")
    Image.fromarray(np.repeat(photograph(5)[..., :1], 3, axis=2)).save(images / "5.png")
    return images


def refs_in(folder: Path) -> list[ImageRef]:
    return [ImageRef.parse(path.name, folder) for path in sorted(folder.iterdir())]


def open_store(folder: Path, settings: StoreSettings = SMALL, **options) -> ImageStore:
    return ImageStore.build_or_open(refs_in(folder), folder.parent / "stores", settings, **options)


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Names of the images that are decoded from now on, in this process."""
    names: list[str] = []

    def counted(ref, settings):
        names.append(ref.path.name)
        return read_cropped(ref, settings)

    monkeypatch.setattr(image_decoding, "read_cropped", counted)
    return names


def shards_of(store: ImageStore) -> dict[str, bytes]:
    files = sorted(store.folder.glob("*/*"))
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in files if path.suffix != ".lock"}


def test_an_image_of_the_stored_size_comes_back_bit_for_bit(folder):
    store = open_store(folder, StoreSettings(height=60, width=80))
    batch = store.get(range(6))
    for position, path in enumerate(sorted(folder.iterdir())):
        np.testing.assert_array_equal(batch[position], np.asarray(Image.open(path).convert("RGB")))


def test_a_smaller_size_is_the_mean_over_areas(folder):
    """Area averaging by whole blocks has a closed form."""
    batch = open_store(folder, StoreSettings(height=15, width=20)).get([2])[0]
    blocks = photograph(2).reshape(15, 4, 20, 4, 3).mean(axis=(1, 3))
    assert np.abs(batch - blocks).max() <= 0.5 + 1e-3


def test_batches_come_in_the_order_asked_for_with_repeats(folder):
    store = open_store(folder)
    everything = store.get(range(6))
    asked = np.array([5, 0, 3, 3, 4, 1])
    np.testing.assert_array_equal(store.get(asked), everything[asked])
    assert store.get([]).shape == (0, 24, 32, 3)


def test_grey_images_take_a_third_of_the_disk(folder):
    store = open_store(folder)
    assert store.nbytes == (4 * 3 + 2 * 1) * 24 * 32
    batch = store.get([4, 5])
    assert (batch[..., :1] == batch).all()


def test_one_channel_is_asked_for_and_given(folder):
    batch = open_store(folder, StoreSettings(height=60, width=80, channels=1)).get(range(6))
    assert batch.shape == (6, 60, 80, 1)
    for position, path in enumerate(sorted(folder.iterdir())):
        grey = np.asarray(Image.open(path).convert("L")).astype(int)
        assert np.abs(batch[position, ..., 0] - grey).max() <= 1, path.name


def test_each_file_is_decoded_once_for_pixels_and_facts(folder, decoded):
    store = open_store(folder)
    assert decoded == [f"{number}.png" for number in range(6)]
    assert [facts.ref for facts in store.facts] == decoded
    assert [(facts.height, facts.width) for facts in store.facts] == [(60, 80)] * 6
    expected = photograph(3).mean() / 255
    assert store.facts[3].mean == pytest.approx(expected, abs=0.02)
    again = open_store(folder)
    again.get(range(6))
    assert again.facts == store.facts
    assert len(decoded) == 6


def test_only_new_and_changed_files_are_decoded_again(folder, decoded):
    open_store(folder)
    decoded.clear()
    Image.fromarray(photograph(99)).save(folder / "1.png")
    Image.fromarray(photograph(6)).save(folder / "6.png")
    store = open_store(folder)
    assert decoded == ["1.png", "6.png"]
    same_size = StoreSettings(height=60, width=80)
    np.testing.assert_array_equal(open_store(folder, same_size).get([1])[0], photograph(99))
    assert len(store) == 7


def test_facts_follow_the_content_when_files_change_places(folder, decoded):
    before = open_store(folder).facts
    decoded.clear()
    (folder / "0.png").rename(folder / "old.png")
    (folder / "1.png").rename(folder / "0.png")
    Image.fromarray(photograph(98)).save(folder / "1.png")
    after = {facts.ref: facts for facts in open_store(folder).facts}
    assert decoded == ["1.png"]
    assert after["old.png"].sha256 == before[0].sha256
    assert after["old.png"].mean == before[0].mean
    assert after["0.png"].sha256 == before[1].sha256
    assert after["1.png"].sha256 not in {facts.sha256 for facts in before}


def test_a_file_that_only_moved_or_was_touched_is_not_decoded_again(folder, decoded):
    open_store(folder)
    decoded.clear()
    (folder / "0.png").rename(folder / "7.png")
    os.utime(folder / "1.png", (1, 1))
    store = open_store(folder)
    assert decoded == []
    assert store.facts[-1].ref == "7.png"


def test_the_same_image_twice_is_stored_once(folder):
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    store = open_store(folder)
    assert store.nbytes == (4 * 3 + 2 * 1) * 24 * 32
    np.testing.assert_array_equal(*store.get([0, 6]))


def test_each_settings_has_its_own_store(folder, decoded):
    stores = [
        open_store(folder, settings)
        for settings in (SMALL, StoreSettings(24, 32, filter="lanczos"), StoreSettings(24, 32, resize="pad"))
    ]
    assert len({store.folder for store in stores}) == 3
    assert len(decoded) == 18
    assert not np.array_equal(stores[0].get([0]), stores[1].get([0]))


def test_the_filter_of_a_recipe_is_that_of_its_store_and_the_usual_one_keeps_old_stores():
    from modicum.engine.inputs.preparation import store_settings
    from modicum.engine.recipe.settings import ImageSettings

    of_old_recipes = {
        "height": 24, "width": 32, "channels": 3, "resize": "stretch", "filter": "area", "crop": "none", "window": None,
        "pixels_version": 1, "oversampling": 2,
    }  # fmt: skip
    assert store_settings(ImageSettings(size=(24, 32))).as_dict() == of_old_recipes
    image = photograph(0, 240, 320).transpose(2, 0, 1).astype(np.float32) / 255
    made = {}
    for name, kind in {"bilinear": 2, "bicubic": 3, "lanczos": 1}.items():
        settings = store_settings(ImageSettings(size=(24, 32), filter=name))
        made[name] = prepared(image, settings)
        pillow = Image.fromarray(photograph(0, 240, 320)).resize((32, 24), kind)
        assert np.abs(made[name].astype(int) - np.asarray(pillow).astype(int)).max() <= 2
    assert not np.array_equal(made["bilinear"], made["bicubic"])
    with pytest.raises(ValueError, match="filter"):
        ImageSettings(filter="nearest")  # would alias


def test_masks_take_the_nearest_pixel_whatever_the_filter(folder):
    codes = np.random.default_rng(0).choice([0, 7, 250], (60, 80)).astype(np.uint8)
    Image.fromarray(codes).save(folder.parent / "mask.png")
    ref = ImageRef.parse("mask.png", folder.parent)
    made = [
        read_prepared(ref, StoreSettings(24, 32, channels=1, kind="label_map", filter=name))[1]
        for name in ("area", "bilinear", "bicubic", "lanczos")
    ]
    assert set(np.unique(made[0])) <= {0, 7, 250}
    assert all(np.array_equal(made[0], other) for other in made)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"filter": "lancos"}, "did you mean 'lanczos'"),
        ({"resize": "squeeze"}, "pad"),
        ({"height": 0}, "0 x 32"),
        ({"window": (40.0, 0.0)}, "width over 0"),
    ],
)
def test_unknown_settings_are_refused_with_a_hint(wrong, message):
    with pytest.raises(InputError, match=message):
        StoreSettings(**({"height": 24, "width": 32} | wrong))


# Broken files.


@pytest.fixture
def with_broken(folder) -> Path:
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:500])
    (folder / "8.png").write_bytes(b"")
    return folder


def test_broken_files_are_named_and_the_others_usable(with_broken):
    refs = [*refs_in(with_broken), ImageRef.parse("absent.png", with_broken)]
    store = ImageStore.build_or_open(refs, with_broken.parent / "stores", SMALL, on_broken="collect")
    assert [error.image for error in store.broken] == ["2.png", "8.png", "absent.png"]
    assert store.readable.tolist() == [True, True, False, True, True, True, False, False]
    assert [facts is None for facts in store.facts] == (~store.readable).tolist()
    assert store.get(np.flatnonzero(store.readable)).shape == (5, 24, 32, 3)
    with pytest.raises(BrokenImageError, match=r"2\.png"):
        store.get([1, 2])


def test_broken_files_stop_by_default_after_the_others_are_done(with_broken, decoded):
    with pytest.raises(InputError, match=r"2 images cannot be read: 2\.png: .*; 8\.png: "):
        open_store(with_broken)
    (with_broken / "8.png").unlink()
    decoded.clear()
    with pytest.raises(BrokenImageError, match=r"2\.png"):
        open_store(with_broken)
    assert decoded == ["2.png"]


def test_a_mended_file_is_taken_up(with_broken):
    open_store(with_broken, on_broken="collect")
    for number in (2, 8):
        Image.fromarray(photograph(number)).save(with_broken / f"{number}.png")
    assert open_store(with_broken).broken == []


# Damage.


def damage(store: ImageStore, part: str, offset: int) -> None:
    path = next((store.folder / part).glob("shard-*.bin"))
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 1
    path.write_bytes(raw)


def test_a_flipped_bit_is_noticed_and_the_image_made_again(folder, decoded):
    store = open_store(folder)
    expected = store.get(range(6))
    damage(store, "colour", 2 * 24 * 32 * 3 + 5)
    decoded.clear()
    hurt = open_store(folder)
    np.testing.assert_array_equal(hurt.get(range(6)), expected)  # at once, from the file
    np.testing.assert_array_equal(open_store(folder).get(range(6)), expected)  # and in the store again
    assert decoded == ["2.png"]
    assert open_store(folder).verify() == 0


def test_a_flipped_bit_without_its_file_is_an_error(folder):
    store = open_store(folder)
    damage(store, "colour", 2 * 24 * 32 * 3 + 5)
    hurt = open_store(folder)
    Image.fromarray(photograph(77)).save(folder / "2.png")
    with pytest.raises(DamagedRecordError):
        hurt.get([2])


def test_verify_finds_damage_and_the_next_build_mends_it(folder):
    store = open_store(folder)
    expected = store.get(range(6))
    damage(store, "grey", 3)
    assert store.verify() == 1
    mended = open_store(folder)
    assert mended.verify() == 0
    np.testing.assert_array_equal(mended.get(range(6)), expected)


@pytest.mark.parametrize(
    "file", ["colour/store.json", "grey/shard-000-00-00000.bin", "facts.parquet", "files.parquet"]
)
@pytest.mark.parametrize("how", ["empty", "gone", "cut"])
def test_any_damaged_file_of_the_store_is_made_again(folder, file, how):
    store = open_store(folder)
    expected, facts = store.get(range(6)), store.facts
    path = store.folder / file
    raw = path.read_bytes()
    path.unlink()
    if how != "gone":
        path.write_bytes(raw[: len(raw) // 2] if how == "cut" else b"")
    again = open_store(folder)
    np.testing.assert_array_equal(again.get(range(6)), expected)
    assert again.facts == facts
    assert again.verify() == 0


# Processes.


def test_several_workers_give_the_same_bytes_as_one(folder):
    for number in range(10, 30):
        Image.fromarray(photograph(number)).save(folder / f"{number}.png")
    (folder / "15.png").write_bytes(b"\x89PNG nothing")
    one = open_store(folder, on_broken="collect")
    two = ImageStore.build_or_open(
        refs_in(folder), folder.parent / "other", SMALL, workers=2, on_broken="collect"
    )
    assert [error.image for error in two.broken] == ["15.png"]
    assert shards_of(one) == shards_of(two)
    assert [f and f.sha256 for f in one.facts] == [f and f.sha256 for f in two.facts]


def test_a_store_goes_through_pickle_small_and_reads_the_same(folder):
    store = open_store(folder)
    expected, _ = store.get(range(6)), store.facts
    packed = pickle.dumps(store)
    assert len(packed) < 20_000
    other = pickle.loads(packed)
    np.testing.assert_array_equal(other.get(range(6)), expected)
    assert other.facts == store.facts


def test_in_a_data_loader_with_workers(folder):
    from torch.utils.data import DataLoader

    class Items:
        def __init__(self, store):
            self.store = store

        def __len__(self):
            return len(self.store)

        def __getitem__(self, position):
            return self.store.get([position])[0]

    store = open_store(folder)
    loader = DataLoader(Items(store), batch_size=2, num_workers=1)
    np.testing.assert_array_equal(np.concatenate([batch.numpy() for batch in loader]), store.get(range(6)))


BUILD = """
import sys, time
from pathlib import Path
from modicum.data.stores import image_decoding
from modicum.data.image import ImageRef
from modicum.data.stores.image_store import ImageStore, StoreSettings
folder = Path(sys.argv[1])
real = image_decoding.read_cropped
def slow(ref, settings):
    time.sleep(0.01)
    print(ref.path.name, flush=True)
    return real(ref, settings)
image_decoding.read_cropped = slow
refs = [ImageRef.parse(path.name, folder) for path in sorted(folder.iterdir())]
ImageStore.build_or_open(refs, folder.parent / "stores", StoreSettings(24, 32))
"""


def hear_ctrl_c():
    """What a background job starts inherits that SIGINT is ignored; a terminal's does not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_build_goes_on_and_no_image_is_decoded_twice(folder, with_signal):
    for number in range(10, 60):
        Image.fromarray(photograph(number)).save(folder / f"{number}.png")
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )
    first = [process.stdout.readline() for _ in range(12)]
    process.send_signal(with_signal)
    first += process.communicate()[0].splitlines()
    done = {line.strip() for line in first if line.strip()}
    assert 12 <= len(done) < 56, "it was stopped on its way"
    second = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(done & set(second)) <= 1, "only the one under way when it stopped"
    store = open_store(folder)
    whole = ImageStore.build_or_open(refs_in(folder), folder.parent / "whole", SMALL)
    assert shards_of(store) == shards_of(whole)
    assert store.facts == whole.facts


IDLE_WORKERS = """
import sys, time
from multiprocessing import active_children
from pathlib import Path
from modicum.data.image import ImageRef
from modicum.data.stores.image_decoding import Undecoded, decode_all
from modicum.data.file_content import FileState
from modicum.data.prepared import StoreSettings
paths = sorted(Path(sys.argv[1]).iterdir())
images = [Undecoded(n, str(n), ImageRef(path), FileState(n, n)) for n, path in enumerate(paths)]
answers = decode_all(20 * images, StoreSettings(24, 32), workers=2)
next(answers)
print(*[child.pid for child in active_children()], flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_process_that_started_them(folder, how):
    process = subprocess.Popen(
        [sys.executable, "-c", IDLE_WORKERS, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        preexec_fn=hear_ctrl_c,
    )
    children = [int(pid) for pid in process.stdout.readline().split()]
    assert len(children) == 2
    if how == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, how)  # as Ctrl-C does
    process.wait(30)
    process.stdout.close()

    def running(pid: int) -> bool:
        stat = Path(f"/proc/{pid}/stat")
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"

    end = time.monotonic() + 10
    while any(map(running, children)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(running, children))


def crashing_decode(settings, task):
    """Ends its process at one file, as a faulty decoder would."""
    if task.ref.path.name == "3.png":
        os._exit(11)
    return image_decoding.decode(settings, task)


def test_a_file_that_crashes_its_decoder_is_broken_and_the_rest_is_decoded(folder, monkeypatch):
    answers = image_decoding.in_processes
    monkeypatch.setattr(
        image_decoding,
        "in_processes",
        lambda function, *rest, **more: answers(partial(crashing_decode, *function.args), *rest, **more),
    )
    store = open_store(folder, workers=1, on_broken="collect")
    assert store.readable.tolist() == [True, True, True, False, True, True]
    assert "ended the process" in store.broken[0].reason


def test_too_little_disk_is_said_before_decoding(folder, monkeypatch, decoded):
    usage = type("Usage", (), {"free": (64 << 20) + 10_000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(ResourceError, match=r"and 67.1 MB to spare, .* are free"):
        open_store(folder)
    assert decoded == []
    # Two grey images fit where two in colour would not.
    monkeypatch.setattr(usage, "free", (64 << 20) + 2 * 24 * 32 + 10)
    for number in range(4):
        (folder / f"{number}.png").unlink()
    assert len(open_store(folder)) == 2


# Real files.


def test_real_photographs_are_within_a_grey_level_of_pillow(real_images):
    """A large JPEG is decoded at a reduced scale; the result must not show it."""
    path = sorted((real_images("fundus_hrf") / "full_resolution").glob("*.[jJ]*"))[0]
    image, small = read_prepared(ImageRef.parse(path.name, path.parent), StoreSettings(256, 256))
    assert (image.source.height, image.source.width) == (2336, 3504)
    assert image.pixels.shape[1] < 2336
    expected = np.asarray(Image.open(path).convert("RGB").resize((256, 256), Image.Resampling.BOX)).astype(
        int
    )
    assert np.abs(small - expected).mean() < 1


def test_fundus_crop_of_a_reduced_decode_is_that_of_the_whole(real_images):
    path = sorted((real_images("fundus_hrf") / "full_resolution").glob("*.[jJ]*"))[0]
    settings = StoreSettings(128, 128, crop="fundus")
    _, small = read_prepared(ImageRef.parse(path.name, path.parent), settings)
    full = np.ascontiguousarray(np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1))
    expected = prepared(full.astype(np.float32) / 255, settings)
    assert np.abs(small.astype(int) - expected).mean() < 2


def test_slices_of_one_volume_are_items_of_their_own(real_images, tmp_path):
    volumes = sorted((real_images("dicom_nifti")).glob("*.nii*"))
    refs = [
        ImageRef.parse(f"{volumes[0].name}#axis=2&index={index}", volumes[0].parent) for index in (1, 2, 3)
    ]
    store = ImageStore.build_or_open(refs, tmp_path, StoreSettings(16, 16, channels=1))
    assert len({facts.sha256 for facts in store.facts}) == 3
    assert store.nbytes == 3 * 256
    assert store.indices_of(refs[::-1]).tolist() == [2, 1, 0]


def test_no_path_and_no_name_of_a_file_is_kept_in_the_store(folder):
    (folder / "0.png").rename(folder / "MEIER_ANNA_1950.png")
    store = open_store(folder)
    for path in store.folder.rglob("*"):
        assert path.is_dir() or b"MEIER" not in path.read_bytes(), path.name
    manifest = json.loads((store.folder / "colour" / "store.json").read_text())
    assert manifest["settings"]["height"] == 24


def test_a_second_process_waits_for_the_first_and_decodes_nothing(folder):
    for number in range(10, 60):
        Image.fromarray(photograph(number)).save(folder / f"{number}.png")
    process = subprocess.Popen([sys.executable, "-c", BUILD, str(folder)], stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    with pytest.raises(ResourceError, match="another process"):
        open_store(folder, wait=0.0)
    store = open_store(folder, wait=30.0)
    process.communicate()
    assert process.returncode == 0
    assert store.broken == []
    assert store.verify() == 0
