"""What a user names for prediction, and what each image is then called."""

import numpy as np
import pytest
from PIL import Image

from modicum.data.layouts.given_images import images_of
from modicum.errors import InputError


@pytest.fixture
def two_folders(tmp_path, monkeypatch):
    """``a/1.png``, ``a/deep/2.png`` and ``b/1.png`` below the current folder."""
    for name in ("a/1.png", "a/deep/2.png", "b/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_names_of_one_folder_are_relative_to_it(two_folders):
    names, refs = images_of(["a"])
    assert names == ["1.png", "deep/2.png"]
    assert all(ref.path.is_file() for ref in refs)


def test_images_of_the_same_name_in_two_folders_keep_different_names(two_folders):
    names, refs = images_of(["a", two_folders / "b"])
    assert names == ["a/1.png", "a/deep/2.png", f"{two_folders.as_posix()}/b/1.png"]
    assert len({ref.path for ref in refs}) == 3


def test_an_array_file_stands_for_all_its_images(two_folders):
    np.savez("set.npz", test_images=np.zeros((3, 8, 8), np.uint8), test_labels=np.array([0, 1, 0]))
    names, refs = images_of(["set.npz"])
    assert names == [f"set.npz#array=test_images&index={index}" for index in range(3)]
    assert [ref.index for ref in refs] == [0, 1, 2]


def test_a_table_may_call_its_images_otherwise_and_need_no_labels(two_folders):
    (two_folders / "list.csv").write_text("file,label\na/1.png,\nb/1.png,3\n")
    assert images_of(["list.csv"], columns={"image": "file"})[0] == ["a/1.png", "b/1.png"]
    with pytest.raises(InputError, match=r"no column 'image'.*--image file"):
        images_of(["list.csv"])


def test_a_table_leaves_its_folder_only_if_allowed(two_folders):
    (two_folders / "a/list.csv").write_text("image\n../b/1.png\n")
    with pytest.raises(InputError, match=r"outside the data's folder.*--allow-outside"):
        images_of(["a/list.csv"])
    names, refs = images_of(["a/list.csv"], allow_outside=True)
    assert refs[0].path.is_file()
    assert names == [(two_folders / "b/1.png").as_posix()]


def test_nothing_there_is_an_error(two_folders):
    with pytest.raises(InputError, match=r"'c\.png' does not exist"):
        images_of(["c.png"])
    (two_folders / "empty").mkdir()
    with pytest.raises(InputError, match="'empty' contains no images"):
        images_of(["empty"])
    assert images_of(["empty", "b"])[0] == ["b/1.png"]
