"""The text form of references: it says what it means, and can be read back whatever the file is called."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modicum.data.image import ImageRef


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("scans/a.nii.gz#axis=2&index=80", ImageRef(Path("scans/a.nii.gz"), axis=2, index=80)),
        ("multi.dcm#frame=3", ImageRef(Path("multi.dcm"), frame=3)),
        ("data.npz#array=train_images&index=5", ImageRef(Path("data.npz"), array="train_images", index=5)),
        ("plain.png", ImageRef(Path("plain.png"))),
    ],
)
def test_text_form_is_read_and_written(text, ref):
    assert ImageRef.parse(text) == ref
    assert str(ref) == text


@pytest.mark.parametrize(
    "name",
    [
        "case #3.png",
        "a#b",
        "a#axis=two",
        "a#frame=-1",
        "a#frame=",
        "#frame=1",
        "a#frame=1&frame=2",
        "a#frame=1.png",
        "a#",
    ],
)
def test_a_hash_that_starts_no_known_part_belongs_to_the_name(name):
    ref = ImageRef.parse(name)
    assert ref == ImageRef(Path(name))
    assert str(ref) == name


def test_a_file_named_like_a_part_gets_one_more_hash():
    ref = ImageRef(Path("scan#frame=3"))
    assert str(ref) == "scan#frame=3#"
    assert ImageRef.parse("scan#frame=3#") == ref


def test_the_root_is_where_the_file_is_and_not_in_the_text():
    ref = ImageRef.parse("a/b.png", Path("/data/set"))
    assert ref.path == Path("/data/set/a/b.png")
    assert str(ref) == "a/b.png"
    assert str(ImageRef.parse("/elsewhere/b.png", Path("/data/set"))) == "/elsewhere/b.png"
    assert ref == ImageRef(Path("/data/set/a/b.png")), "the root is no part of the identity"


numbers = st.none() | st.integers(0, 10**6)
names = st.text(st.sampled_from("ab#=&%/. 1") | st.characters(exclude_characters="\0/"), min_size=1).map(Path)
tricky = (
    st.lists(st.sampled_from(["a", "#", "frame=1", "&", "index=2", "array=x"]), min_size=1)
    .map("".join)
    .map(Path)
)


@given(path=names | tricky, frame=numbers, axis=numbers, index=numbers, array=st.none() | st.text(min_size=1))
def test_every_reference_can_be_read_back(path, frame, axis, index, array):
    if array is not None:
        array = array.encode(errors="ignore").decode() or "x"  # half of a surrogate pair has no text form
    ref = ImageRef(path, frame=frame, axis=axis, index=index, array=array)
    assert ImageRef.parse(str(ref)) == ref


PIECES = ["a", "b.png", ".", "..", "/", "//", "#", "frame=1", "\\", "c:", " ", ""]


@given(text=st.lists(st.sampled_from(PIECES), min_size=1).map("".join))
def test_a_text_that_is_kept_is_the_one_that_would_be_made(text):
    for root in (None, Path("/data/set"), Path("x/../y")):
        ref = ImageRef.parse(text, root)
        assert str(ref) == str(replace(ref)), "a copy knows no text and makes it from its path"
