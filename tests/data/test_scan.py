"""Scanning: facts against closed forms, hashlib and Pillow; processes that die; facts kept between scans."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modicum.data.checks.facts_file import load_facts, save_facts
from modicum.data.checks.scan import scan
from modicum.data.file_content import file_sha256
from modicum.data.grey_levels import grey_levels
from modicum.data.image import ImageRef
from modicum.data.image_facts import THUMBNAIL, picture_of
from modicum.data.processes import in_processes
from modicum.data.readers import list_images


def save_png(path: Path, values: np.ndarray) -> ImageRef:
    Image.fromarray(values).save(path)
    return ImageRef(path, root=path.parent)


def thumbnail(facts) -> np.ndarray:
    return np.frombuffer(facts.thumbnail, np.uint8).reshape(THUMBNAIL, THUMBNAIL)


def made_set(folder: Path, count: int) -> list[ImageRef]:
    rng = np.random.default_rng(0)
    return [save_png(folder / f"{i}.png", rng.integers(0, 256, (40, 50), np.uint8)) for i in range(count)]


def test_facts_of_a_ramp_are_the_closed_form(tmp_path):
    ramp = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    (facts,) = scan([save_png(tmp_path / "ramp.png", ramp)], workers=0).facts
    assert (facts.ref, facts.format, facts.bits, facts.mode) == ("ramp.png", "png", 8, "L")
    assert (facts.height, facts.width, facts.slices, facts.mislabelled) == (64, 256, 1, False)
    assert facts.mean == pytest.approx(0.5, abs=1e-6)
    # The variance of 0..n-1 is (n^2 - 1) / 12.
    assert facts.std == pytest.approx(np.sqrt((256**2 - 1) / 12) / 255, abs=1e-6)
    assert (facts.low, facts.high) == (pytest.approx(0.01, abs=0.005), pytest.approx(0.99, abs=0.005))
    # Eight columns each: their mean is 8 k + 3.5, rounded to even.
    assert np.array_equal(thumbnail(facts), np.tile(np.rint(8 * np.arange(32) + 3.5), (32, 1)))


def test_file_hash_and_size_are_those_of_hashlib(tmp_path):
    ref = save_png(tmp_path / "a.png", np.zeros((40, 40), np.uint8))
    (facts,) = scan([ref], workers=0).facts
    data = ref.path.read_bytes()
    assert facts.sha256 == hashlib.sha256(data).hexdigest()
    assert facts.bytes == len(data)


def test_brightness_of_colour_is_pillows(tmp_path):
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (48, 64, 3), np.uint8)
    (facts,) = scan([save_png(tmp_path / "a.png", colour)], workers=0).facts
    grey = np.asarray(Image.fromarray(colour).convert("L"), np.float64)
    assert facts.mean == pytest.approx(grey.mean() / 255, abs=1 / 255)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_thumbnail_is_the_mean_over_blocks(rows, columns, seed):
    grey = np.random.default_rng(seed).random((32 * rows, 32 * columns), np.float32)
    blocks = grey.reshape(32, rows, 32, columns).mean((1, 3))
    assert np.abs(picture_of(grey, 32) - 255 * blocks).max() <= 0.501


def test_thumbnail_of_a_side_that_32_does_not_divide_is_pillows_box_filter():
    values = np.random.default_rng(1).random((77, 101), np.float32)
    boxed = Image.fromarray(values).resize((32, 32), Image.Resampling.BOX)
    # Pillow's box filter takes whole pixels only, this one their parts as well.
    assert np.corrcoef(picture_of(values, 32).ravel(), np.asarray(boxed).ravel())[0, 1] > 0.8
    assert picture_of(values, 32).mean() / 255 == pytest.approx(values.mean(), abs=2e-3)


def test_grey_levels_of_equal_channels_are_the_channel():
    channel = np.random.default_rng(0).random((5, 7), np.float32)
    assert np.allclose(grey_levels(np.stack([channel] * 3)), channel, atol=1e-6)


def test_parts_of_a_file_differ_and_the_file_is_hashed_once(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    np.savez(tmp_path / "data.npz", images=images)
    refs = [ImageRef(tmp_path / "data.npz", array="images", index=i, root=tmp_path) for i in range(20)]
    file_sha256.cache_clear()
    facts = scan(refs, workers=0).facts
    assert len({fact.sha256 for fact in facts}) == 20
    assert file_sha256.cache_info().misses == 1
    assert facts[3].ref == "data.npz#array=images&index=3"
    assert facts[3].mean == pytest.approx(images[3].mean() / 255, abs=1e-6)


def test_broken_images_are_named_with_reasons_and_the_others_read(tmp_path):
    refs = made_set(tmp_path, 4)
    data = refs[1].path.read_bytes()
    refs[1].path.write_bytes(data[: len(data) // 2])
    refs[3].path.unlink()
    found = scan(refs, workers=0)
    assert [fact.ref for fact in found.facts] == ["0.png", "2.png"]
    assert [error.image for error in found.broken] == ["1.png", "3.png"]
    assert "truncated" in found.broken[0].reason
    assert "not found" in found.broken[1].reason


def test_an_image_named_twice_has_its_facts_twice(tmp_path):
    (ref,) = made_set(tmp_path, 1)
    assert [fact.ref for fact in scan([ref, ref], workers=0).facts] == ["0.png", "0.png"]


def test_processes_find_what_one_process_finds(tmp_path):
    refs = made_set(tmp_path, 40)
    refs[7].path.write_bytes(b"")
    one, several = scan(refs, workers=0), scan(refs, workers=2)
    assert one.facts == several.facts
    assert [(e.image, e.reason) for e in one.broken] == [(e.image, e.reason) for e in several.broken]


def double_or_die(number: int) -> int:
    """Stands for a decoder that takes its process down on some files."""
    if number % 17 == 5:
        os._exit(1)
    return 2 * number


def test_an_item_that_kills_its_process_is_found_and_the_others_are_done():
    answers = list(in_processes(double_or_die, range(40), workers=2, lost=lambda n: -n, chunk=4))
    assert answers == [-n if n in (5, 22, 39) else 2 * n for n in range(40)]


def test_a_script_without_a_main_guard_is_not_run_again_by_the_processes(tmp_path):
    made_set(tmp_path, 20)
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from modicum.data.readers import list_images\n"
        "from modicum.data.checks.scan import scan\n"
        "from modicum.data.image import ImageRef\n"
        "print('started')\n"
        f"refs = [ImageRef(path) for path in list_images(Path({str(tmp_path)!r}))]\n"
        "print(len(scan(refs, workers=2).facts))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["started", "20"], done.stderr


def test_facts_survive_a_file_exactly(tmp_path):
    found = scan(made_set(tmp_path, 5), workers=0)
    found.facts[2] = replace(found.facts[2], spacing=(0.5, 0.25))
    save_facts(found, tmp_path / "facts.parquet")
    known = load_facts(tmp_path / "facts.parquet")
    assert [known[fact.ref].facts for fact in found.facts] == found.facts


def test_only_files_that_changed_are_read_again(tmp_path, monkeypatch):
    refs = made_set(tmp_path, 5)
    before = scan(refs, workers=0)
    save_facts(before, tmp_path / "facts.parquet")
    save_png(refs[3].path, np.zeros((60, 60), np.uint8))
    read = []
    facts_of_file = sys.modules["modicum.data.checks.scan"].facts_of_file
    monkeypatch.setattr(
        "modicum.data.checks.scan.facts_of_file", lambda r: read.append(r) or facts_of_file(r)
    )
    after = scan(refs, workers=0, earlier_facts=load_facts(tmp_path / "facts.parquet"))
    assert read == [refs[3]]
    assert after.facts[3].height == 60
    assert [after.facts[i] for i in (0, 1, 2, 4)] == [before.facts[i] for i in (0, 1, 2, 4)]


@pytest.mark.parametrize("content", [b"", b"no parquet", None])
def test_a_damaged_or_missing_facts_file_is_no_facts(tmp_path, content):
    path = tmp_path / "facts.parquet"
    if content is not None:
        path.write_bytes(content)
    assert load_facts(path) == {}


def test_every_real_dicom_and_nifti_file_has_its_spacing(real_images):
    folder = real_images("dicom_nifti")
    found = scan([ImageRef(path, root=folder) for path in list_images(folder)], workers=0)
    spacing = {fact.ref: fact.spacing for fact in found.facts}
    assert not found.broken
    # pydicom's and nibabel's own test data; the values are in the headers.
    assert spacing["CT_small.dcm"] == pytest.approx((0.661468, 0.661468))
    assert spacing["patient07_T1.nii.gz"] == pytest.approx((1.0, 1.0))
