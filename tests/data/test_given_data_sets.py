"""What a folder, table or list means for predictions: the images that it means for every other command."""

import json

import numpy as np
import pytest
from PIL import Image

from modicum.data.layouts import load_manifest
from modicum.data.layouts.given_images import GivenReading, given_images
from modicum.errors import InputError


def write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)


@pytest.fixture
def vessels(tmp_path):
    """Three images with masks and a table."""
    folder = tmp_path / "vessels"
    for number in (1, 2, 10):
        write(folder, f"images/{number}.png", f"masks/{number}.png")
    rows = [
        f"images/{n}.png,masks/{n}.png,{split}" for n, split in ((1, "train"), (2, "test"), (10, "fold3"))
    ]
    (folder / "manifest.csv").write_text("\n".join(["image,mask,split", *rows]) + "\n")
    return folder


def both(folder, **reading):
    """Names for predictions, and the images that inspect and fit read."""
    return given_images([folder], GivenReading(**reading)).names, list(load_manifest(folder).table["image"])


def test_the_images_of_a_table_in_the_folder_not_its_masks(vessels):
    names, read = both(vessels)
    assert names == read == ["images/1.png", "images/2.png", "images/10.png"]


def test_a_known_layout_without_a_table(vessels):
    (vessels / "manifest.csv").unlink()
    names, read = both(vessels)
    assert sorted(names) == sorted(read) == ["images/1.png", "images/10.png", "images/2.png"]


def test_a_data_list_in_the_folder(tmp_path):
    write(tmp_path, "imagesTr/a.png", "labelsTr/a.png")
    listed = {"training": [{"image": "imagesTr/a.png", "label": "labelsTr/a.png"}]}
    (tmp_path / "dataset.json").write_text(json.dumps(listed))
    names, read = both(tmp_path)
    assert names == read == ["imagesTr/a.png"]


def test_an_array_file_in_the_folder(tmp_path):
    np.savez(tmp_path / "set.npz", test_images=np.zeros((2, 8, 8), np.uint8), test_labels=np.array([0, 1]))
    names, read = both(tmp_path)
    assert names == read
    assert len(names) == 2


def test_a_table_whose_columns_are_called_otherwise(tmp_path):
    write(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "list.csv").write_text("id_code,diagnosis\na,0\nb,1\n")
    names, read = both(tmp_path)
    assert names == read == ["a.png", "b.png"]


def test_folders_of_classes_and_plain_folders_are_all_their_images(tmp_path):
    write(tmp_path, "healthy/1.png", "ill/2.png", "part_1/3.png", "4.png")
    assert sorted(given_images([tmp_path]).names) == ["4.png", "healthy/1.png", "ill/2.png", "part_1/3.png"]


def test_the_notes_say_on_what_grounds(vessels):
    assert any("manifest.csv" in note for note in given_images([vessels]).notes)


def test_rows_of_a_split(vessels):
    assert both(vessels, split="test")[0] == ["images/2.png"]
    assert both(vessels, split="fold3")[0] == ["images/10.png"]
    assert len(both(vessels, split="all")[0]) == 3
    with pytest.raises(InputError, match=r"no split 'val'.*splits: fold3, test, train"):
        both(vessels, split="val")
    with pytest.raises(InputError, match="is an image, which has no split"):
        given_images([vessels / "images/1.png"], GivenReading(split="test"))


def test_images_that_lie_elsewhere_than_the_table(vessels, tmp_path):
    table = tmp_path / "names.csv"
    table.write_text("image\n1.png\n")
    images = given_images([table], GivenReading(images=vessels / "images"))
    assert [ref.path.is_file() for ref in images.refs] == [True]


def test_the_run_s_columns_are_used_where_the_table_has_them(vessels, tmp_path):
    table = vessels / "list.csv"
    table.write_text("file,who\nimages/1.png,p1\n")
    run = {"image": "file", "patient": "who", "eye": "side"}
    images = given_images([table], GivenReading(usual_columns=run))
    assert images.names == ["images/1.png"]
    assert list(images.facts["patient"]) == ["p1"]
    assert (
        given_images([vessels], GivenReading(usual_columns=run)).names == both(vessels)[0]
    )  # it has none of them


def test_the_run_s_pairs_are_used_where_the_folder_has_both(tmp_path):
    write(tmp_path, "p1/T1/z0.png", "p1/T2/z0.png", "p2/T1/z0.png", "p2/T2/z0.png")
    reading = GivenReading(usual_pairs=("T1", "T2"))
    assert given_images([tmp_path], reading).names == ["p1/T1/z0.png", "p2/T1/z0.png"]
    assert given_images([tmp_path / "p1/T1"], reading).names == ["z0.png"]


def test_tables_of_earlier_predictions_say_nothing_of_the_folder(tmp_path):
    write(tmp_path, "a.png", "b.png")
    (tmp_path / "predictions.csv").write_text("image,prediction,p_0,p_1,error\na.png,0,0.9,0.1,\n")
    names, read = both(tmp_path)
    assert sorted(names) == sorted(read) == ["a.png", "b.png"]


def test_links_out_of_a_plain_folder_are_followed_as_before(tmp_path):
    write(tmp_path, "elsewhere/a.png", "b.png")
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "a.png").symlink_to(tmp_path / "elsewhere/a.png")
    assert given_images([folder]).names == ["a.png"]


def test_masks_and_tables_that_were_read_are_known(vessels):
    images = given_images([vessels])
    assert images.tables == [vessels / "manifest.csv"]
    assert [path.name for path in images.named_files] == ["1.png", "2.png", "10.png"]
