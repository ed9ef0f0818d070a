"""Duplicates and leaks: copies are found however they were saved, strangers are not, splits are kept apart."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from modicum.data.checks import likeness, remembered_pairs
from modicum.data.checks import near_duplicates as search
from modicum.data.checks.copies import duplicate_groups, near_pairs
from modicum.data.checks.duplicates import leak_message, leaks, resolve_leaks
from modicum.data.checks.likeness import align
from modicum.data.checks.near_duplicates import (
    NearPair,
    NearSearch,
    hamming_pairs,
    near_duplicates,
    perceptual_hash,
    search_near_duplicates,
)
from modicum.data.checks.scan import scan
from modicum.data.image_facts import ImageFacts, picture_of
from modicum.data.layouts import load_manifest
from modicum.data.manifest import Manifest
from modicum.errors import InputError


def grey(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L"), np.float32) / 255


def near(images: list[Image.Image]) -> set[tuple[int, int]]:
    """Pairs found, with the images themselves at hand for the closer look."""
    thumbnails = np.stack([picture_of(grey(image), 32) for image in images])
    pairs = near_duplicates(thumbnails, lambda i: picture_of(grey(images[i]), 128))
    return {(pair.first, pair.second) for pair in pairs}


def re_encoded(image: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    image.convert("RGB").save(data, "JPEG", quality=quality)
    return Image.open(data)


def cropped(image: Image.Image, share: float = 0.02) -> Image.Image:
    x, y = round(share * image.width), round(share * image.height)
    return image.crop((x, y, image.width - x, image.height - y))


COPIES = {
    "JPEG at quality 50": lambda image: re_encoded(image, 50),
    "half the size": lambda image: image.resize(
        (image.width // 2, image.height // 2), Image.Resampling.BILINEAR
    ),
    "twice the size": lambda image: image.resize(
        (2 * image.width, 2 * image.height), Image.Resampling.BICUBIC
    ),
    "10 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.85),
    "2 % cropped on each side": cropped,
    "all of it": lambda image: re_encoded(
        cropped(ImageEnhance.Brightness(image).enhance(1.05)).resize((300, 300)), 60
    ),
}


@pytest.fixture(scope="module")
def kinds(real_images) -> list[Image.Image]:
    """Three real images of each of four kinds."""
    folders = [
        real_images("fundus_dr_grading") / "images",
        real_images("cxr_covid") / "images",
        real_images("skin_ham10000") / "images",
        real_images("fundus_hrf"),
    ]
    chosen = []
    for folder in folders:
        files = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))
        chosen += [Image.open(files[at]).convert("RGB") for at in (0, len(files) // 3, 2 * len(files) // 3)]
    return [image if max(image.size) <= 800 else image.reduce(4) for image in chosen]


@pytest.mark.parametrize("change", COPIES)
def test_a_changed_copy_is_found_and_nothing_else(kinds, change):
    images = [*kinds, *(COPIES[change](image) for image in kinds)]
    assert near(images) == {(i, i + len(kinds)) for i in range(len(kinds))}


SMALL_COPIES = {
    "64 pixels, JPEG at quality 75": (64, lambda image: re_encoded(image, 75)),
    "64 pixels, JPEG at quality 60": (64, lambda image: re_encoded(image, 60)),
    "56 pixels, JPEG at quality 75": (56, lambda image: re_encoded(image, 75)),
    "64 pixels, darker, JPEG at quality 75": (
        64,
        lambda image: re_encoded(ImageEnhance.Brightness(image).enhance(0.9), 75),
    ),
    "72 pixels, half the size": (72, lambda image: image.resize((36, 36), Image.Resampling.BILINEAR)),
}


@pytest.mark.parametrize("copy", SMALL_COPIES)
def test_a_small_picture_is_found_though_little_of_its_detail_is_left(kinds, copy):
    """By its hash: at 64 pixels the local contrast of a fundus photograph hardly survives JPEG."""
    side, change = SMALL_COPIES[copy]
    images = [image.resize((side, side), Image.Resampling.BOX) for image in kinds]
    found = near([*images, *(change(image) for image in images)])
    assert found <= {(i, i + len(kinds)) for i in range(len(kinds))}
    assert len(found) >= 11


def test_pictures_with_nearly_the_same_hash_and_other_content_are_no_copies(monkeypatch):
    """The bound on the thumbnails' similarity holds: with none, any two textures would pass for copies."""
    monkeypatch.setattr(search, "RESEMBLES", 256)
    monkeypatch.setattr(search, "HASH_DISTANCE", 256)
    assert near([texture(seed) for seed in range(12)]) == set()


@pytest.mark.parametrize(
    "turn", [ImageOps.mirror, ImageOps.flip, lambda image: image.rotate(90, expand=True)]
)
def test_a_mirrored_or_turned_image_is_another_image(kinds, turn):
    # A left eye mirrored looks like a right one; it must not pass for it.
    assert near([*kinds, *(turn(image) for image in kinds)]) == set()


def texture(seed: int, side: int = 96) -> Image.Image:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 2.5)
    noise = (noise - noise.min()) / (noise.max() - noise.min())
    return Image.fromarray(np.uint8(20 + 215 * noise))


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(50, 95),
    st.floats(0.6, 2.0),
    st.floats(0.9, 1.1),
)
def test_any_re_encoded_resized_brightened_texture_is_found_and_a_stranger_is_not(
    seed, quality, scale, light
):
    image = texture(seed)
    side = round(96 * scale)
    copy = re_encoded(ImageEnhance.Brightness(image).enhance(light).resize((side, side)), quality)
    assert near([image, copy, texture(seed + 1)]) == {(0, 1)}


def test_blank_images_are_like_nothing():
    flat = [Image.new("L", (64, 64), value) for value in (0, 0, 128, 128, 255)]
    assert near(flat) == set()


def test_likeness_of_a_picture_with_itself_is_one_and_of_its_negative_minus_one():
    picture = picture_of(grey(texture(3)), 32)[None]
    assert align(picture, picture).similarity[0] == pytest.approx(1.0, abs=1e-5)
    assert align(picture, 255 - picture, steps=0).similarity[0] == pytest.approx(-1.0, abs=1e-5)


def test_registration_finds_a_known_shift():
    image = texture(5, side=160)
    first, second = image.crop((8, 8, 136, 136)), image.crop((8, 12, 136, 140))
    pictures = [picture_of(grey(part), 32)[None] for part in (first, second)]
    found = align(*pictures)
    # Four pixels of 128 are one of 32, and content moved up is found further up.
    assert found.warp[0] == pytest.approx([-1, 0, 0, 0], abs=0.15)
    assert found.similarity[0] > 0.95


def bits_of(hashes: np.ndarray) -> np.ndarray:
    return np.unpackbits(hashes.view(np.uint8), axis=1)


def random_hashes(count: int, seed: int = 0) -> np.ndarray:
    bits = np.random.default_rng(seed).random((count, 256)) < 0.5
    near_copies = bits[: count // 4] ^ (np.random.default_rng(seed + 1).random((count // 4, 256)) < 0.1)
    bits = np.concatenate([bits[: count - count // 4], near_copies])
    bits[:, -1] = False
    return np.packbits(bits, axis=1).view(np.uint64)


def test_hash_pairs_are_those_of_scipy():
    hashes = random_hashes(300)
    distance = np.rint(cdist(bits_of(hashes), bits_of(hashes), "hamming") * 256).astype(int)
    expected = {(i, j, distance[i, j]) for i, j in zip(*np.nonzero(np.triu(distance <= 60, 1)), strict=True)}
    found = hamming_pairs(hashes, 60)
    assert len(expected) >= 75
    assert set(map(tuple, found.T.tolist())) == expected


def test_too_many_hash_pairs_leave_the_closest():
    hashes = random_hashes(300)
    every, few = hamming_pairs(hashes, 60), hamming_pairs(hashes, 60, most=30)
    assert 0 < few.shape[1] <= 30
    closest = every[2][every[2] <= few[2].max()]
    assert sorted(few[2].tolist()) == sorted(closest.tolist())


def test_each_picture_is_taken_apart_once_however_many_it_is_compared_with(monkeypatch):
    """Sets whose images all look alike have hundreds of thousands of pairs: with it they take a quarter of the time."""
    base = np.random.default_rng(0).integers(40, 200, (32, 32))
    noise = np.random.default_rng(1).integers(-6, 7, (40, 32, 32))
    pictures = (base + noise).astype(np.uint8)
    counted: list[int] = []

    def detail_of(of):
        counted.append(len(of))
        return likeness.detail_of(of)

    monkeypatch.setattr(search, "detail_of", detail_of)
    found = near_duplicates(pictures)
    assert len(found) > 100
    assert counted == [40] * len(search.PROMISING)
    monkeypatch.setattr(search, "MOST_DETAILS", 10)
    assert near_duplicates(pictures) == found


def test_what_was_found_is_remembered_for_the_same_files_patients_and_splits_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(remembered_pairs, "FEWEST", 3)
    asked: list[int] = []

    found = NearSearch([NearPair(0, 2, 0.9)], ["a limit"])

    def find() -> NearSearch:
        asked.append(1)
        return found

    rows = [("a.png", "1f", "0", "0"), ("b.png", "2f", "1", "1"), ("c.png", "3f", "2", "2")]
    for _ in range(2):
        assert remembered_pairs.remembered(tmp_path, rows, find) == found
    assert len(asked) == 1
    for row in range(3):
        for place in range(4):
            changed = [list(each) for each in rows]
            changed[row][place] += "x"
            remembered_pairs.remembered(tmp_path, map(tuple, changed), find)
    assert len(asked) == 13
    for path in (tmp_path / remembered_pairs.FOLDER).iterdir():
        path.write_text('{"pairs": [[0, 7, 0.9]], "limits": []}')  # no such row
    assert remembered_pairs.remembered(tmp_path, rows, find) == found
    assert len(asked) == 14
    remembered_pairs.remembered(None, rows, find)
    remembered_pairs.remembered(tmp_path, rows[:2], find)
    assert len(asked) == 16


def test_too_many_promising_pairs_leave_the_closest(monkeypatch):
    rng = np.random.default_rng(0)
    base = rng.integers(40, 200, (32, 32))
    pictures = np.stack([base + rng.integers(-n, n + 1, (32, 32)) for n in range(12)]).astype(np.uint8)
    found = near_duplicates(pictures)
    monkeypatch.setattr(search, "MOST_PROMISING", 5)
    fewer = near_duplicates(pictures)
    assert len(fewer) == 5 < len(found)
    assert {(pair.first, pair.second) for pair in fewer} <= {(pair.first, pair.second) for pair in found}


def test_what_a_search_leaves_out_is_said(monkeypatch):
    waves = np.sin(np.arange(32 * 32).reshape(32, 32) / 7)
    noise = np.random.default_rng(0).normal(size=(12, 32, 32))
    pictures = (128 + 60 * waves + 2 * noise).clip(0, 255).astype(np.uint8)
    assert search_near_duplicates(pictures).limits == []
    monkeypatch.setattr(search, "MOST_CANDIDATES", 5)
    (limit,) = search_near_duplicates(pictures).limits
    assert "of 255 instead of 72, because more than 5 pairs" in limit
    monkeypatch.setattr(search, "MOST_CANDIDATES", 200_000)
    monkeypatch.setattr(search, "MOST_PROMISING", 3)
    assert any(
        "the 3 most similar were compared further" in limit
        for limit in search_near_duplicates(pictures).limits
    )
    monkeypatch.setattr(search, "MOST_CLOSER_LOOKS", 2)
    limits = search_near_duplicates(pictures, lambda row: None).limits
    assert any(
        "of 3 pairs that may be near-duplicates 2 were compared at 128 pixels" in limit for limit in limits
    )


def test_the_hash_of_a_blank_picture_is_zero():
    assert not perceptual_hash(np.full((2, 32, 32), 77, np.uint8)).any()


def manifest_of(rows: list[dict], root: Path = Path("nowhere")) -> Manifest:
    return Manifest(pd.DataFrame(rows), root=root, source="table.csv", name="made")


def facts(ref: str, content: str, seed: int) -> ImageFacts:
    return ImageFacts(
        ref=ref,
        sha256=content,
        bytes=100,
        format="png",
        bits=8,
        mode="L",
        height=96,
        width=96,
        slices=1,
        mislabelled=False,
        mean=0.5,
        std=0.2,
        low=0.0,
        high=1.0,
        spacing=None,
        thumbnail=picture_of(grey(texture(seed)), 32).tobytes(),
    )


def made_data() -> tuple[Manifest, list[ImageFacts]]:
    """One leak of each kind, and one pair of copies within a split."""
    rows = [
        # image, patient, split, content, picture
        ("a.png", "p1", "train", "A", 1),
        ("b.png", "p1", "test", "B", 2),  # p1 in train and test
        ("c.png", "p2", "train", "C", 3),
        ("d.png", "p3", "val", "C", 3),  # the file of c
        ("e.png", "p4", "val", "E", 4),
        ("f.png", "p5", "test", "F", 4),  # the picture of e
        ("g.png", "p6", "train", "G", 5),
        ("h.png", "p7", "train", "G", 5),  # the file of g, in one split
        ("i.png", "p8", None, "A", 1),  # in no split
        ("j.png", "p9", "test", "J", 6),
    ]
    table = [{"image": image, "patient": patient, "split": split} for image, patient, split, _, _ in rows]
    return manifest_of(table), [facts(image, content, seed) for image, _, _, content, seed in rows]


def test_leaks_of_each_kind_are_named_with_images_splits_and_patient():
    found = leaks(*made_data())
    assert [(leak.kind, leak.first, leak.second, leak.splits, leak.patient) for leak in found] == [
        ("patient", "a.png", "b.png", ("train", "test"), "p1"),
        ("identical file", "c.png", "d.png", ("train", "val"), None),
        ("near-duplicate", "e.png", "f.png", ("val", "test"), None),
    ]


def test_copies_within_a_split_are_duplicates_but_no_leak():
    manifest, known = made_data()
    assert duplicate_groups(manifest, known) == [[0, 8], [2, 3], [6, 7]]
    without = manifest_of([{"image": fact.ref, "split": "train"} for fact in known])
    assert leaks(without, known) == []


def test_without_splits_there_is_no_leak():
    manifest, known = made_data()
    table = manifest.table.drop(columns="split")
    assert leaks(manifest_of(table.to_dict("records")), known) == []
    assert resolve_leaks(manifest_of(table.to_dict("records")), known)[1] == []


def test_an_error_names_the_pairs_and_the_remedy():
    with pytest.raises(InputError, match="3 leaks between splits: patient 'p1'") as error:
        resolve_leaks(*made_data(), "error")
    assert "c.png, d.png" in str(error.value)
    assert "--leaks drop" in error.value.remedy
    assert "\n" not in str(error.value)


def test_dropping_leaves_the_test_images_and_no_leak():
    manifest, known = made_data()
    left, notes = resolve_leaks(manifest, known, "drop")
    assert list(left.table["image"]) == ["b.png", "d.png", "f.png", "g.png", "h.png", "i.png", "j.png"]
    assert leaks(left, known) == []
    assert len(notes) == 1
    assert notes[0].startswith("3 images dropped from train and val")


def test_allowing_changes_nothing_and_says_so():
    manifest, known = made_data()
    left, notes = resolve_leaks(manifest, known, "allow")
    assert left is manifest
    assert "3 leaks" in notes[0]


def test_no_leak_leaves_no_note():
    manifest, known = made_data()
    assert resolve_leaks(manifest.subset([1, 9]), known)[1] == []


def test_slices_of_one_volume_in_two_splits_are_a_leak_but_images_of_one_array_file_are_not():
    rows = [
        {"image": "a.nii.gz#axis=2&index=1", "split": "train"},
        {"image": "a.nii.gz#axis=2&index=2", "split": "test"},
        {"image": "b.npz#array=x&index=1", "split": "train"},
        {"image": "b.npz#array=x&index=2", "split": "test"},
    ]
    known = [facts(row["image"], str(i), 10 + i) for i, row in enumerate(rows)]
    (leak,) = leaks(manifest_of(rows), known)
    assert (leak.kind, leak.first, leak.second) == ("identical file", rows[0]["image"], rows[1]["image"])


def test_an_image_that_stands_in_two_splits_is_a_leak():
    rows = [{"image": "a.png", "split": "train"}, {"image": "a.png", "split": "val"}]
    (leak,) = leaks(manifest_of(rows), [facts("a.png", "A", 1)])
    assert str(leak) == "the same image twice (train, val): a.png"
    left, _ = resolve_leaks(manifest_of(rows), [facts("a.png", "A", 1)], "drop")
    assert list(left.table["split"]) == ["val"]


def test_a_copy_with_many_companions_is_named_once_for_each():
    rows = [{"image": f"{i}.png", "split": "train" if i < 50 else "test"} for i in range(100)]
    found = leaks(manifest_of(rows), [facts(f"{i}.png", "A", 1) for i in range(100)])
    assert len(found) == 50
    assert len(leak_message(found, 5)) < 500
    assert "and 45 more" in leak_message(found, 5)


def scanned(source: Path, **options):
    manifest = load_manifest(source, **options)
    return manifest, scan(manifest.refs(), workers=0).facts


def named(manifest, pairs) -> set[tuple[str, str]]:
    names = [Path(image).name for image in manifest.table["image"]]
    return {tuple(sorted((names[pair.first], names[pair.second]))) for pair in pairs}


def test_the_known_copy_among_the_octa_images_is_found(real_images):
    folder = real_images("octa_vessels")
    manifest, known = scanned(folder / "manifest.csv", columns={"image": "file", "patient": "subject"})
    names = [Path(image).stem for image in manifest.table["image"]]
    assert [[names[row] for row in rows] for rows in duplicate_groups(manifest, known)] == [
        ["10333", "10388"]
    ]
    assert near_pairs(manifest, known) == []
    thumbnails = np.stack([np.frombuffer(fact.thumbnail, np.uint8).reshape(32, 32) for fact in known])
    (pair,) = near_duplicates(thumbnails)
    assert (names[pair.first], names[pair.second]) == ("10333", "10388")


def test_the_fifteen_known_near_identical_pairs_of_radiographs_are_found(real_images):
    folder = real_images("cxr_covid")
    manifest, known = scanned(folder / "images")
    found = named(manifest, near_pairs(manifest, known))
    # The collection's description counts 15; each was looked at.
    assert len(found) == 15
    assert (
        "16660_2_1.jpg",
        "covid-19-rapidly-progressive-acute-respiratory-distress-syndrome-ards-admission.jpg",
    ) in found
    # One radiograph with and without arrows, and one with and without a caption.
    assert ("1-s2.0-S2387020620301959-gr3_lrg-a.png", "1-s2.0-S2387020620301959-gr4_lrg-b.png") in found
    assert ("AR-1.jpg", "extubation-1.jpg") in found
    # The same patient on another day is another photograph.
    assert ("7afaaccc.jpg", "ec083e35.jpg") not in found


def test_no_alarm_among_fundus_photographs(real_images):
    folder = real_images("fundus_dr_grading")
    manifest, known = scanned(folder / "labels.csv", columns={"label": "dr_grade"})
    assert len(known) == 416
    assert near_pairs(manifest, known) == []
    assert leaks(manifest, known) == []


def test_pixel_identical_images_in_train_and_val_of_an_array_file_are_found(real_images):
    path = real_images("cxr_pneumoniamnist") / "pneumoniamnist_balanced.npz"
    manifest, known = scanned(path)
    found = {(leak.first, leak.second) for leak in leaks(manifest, known)}
    arrays = np.load(path)
    train = {image.tobytes(): i for i, image in enumerate(arrays["train_images"])}
    expected = {
        (
            f"{path.name}#array=train_images&index={train[image.tobytes()]}",
            f"{path.name}#array=val_images&index={i}",
        )
        for i, image in enumerate(arrays["val_images"])
        if image.tobytes() in train
    }
    assert expected <= found
    assert len(found) == 4
