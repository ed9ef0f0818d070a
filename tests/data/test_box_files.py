"""Files of boxes, each as its own format defines it, and what is refused of them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from modicum.data.boxes import BoxOptions, checked_boxes, read_boxes, with_box_file
from modicum.data.checks.scan import scan
from modicum.data.layouts import load_manifest
from modicum.data.manifest import Manifest
from modicum.errors import InputError


def write(path: Path, content: str | dict | list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def edges(found, image):
    return found.images[image].xyxy.tolist()


def images(folder: Path, *names: str, size=(40, 30)) -> Path:
    """Images of 40 x 30 pixels, and a table of them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((size[1], size[0]), np.uint8)).save(folder / name)
    return write(folder / "labels.csv", "image\n" + "\n".join(names) + "\n")


def cell(manifest: Manifest, row: int) -> dict:
    return json.loads(manifest.table["boxes"].iloc[row])


# Tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "numbers"),
    [
        ("image,x0,y0,x1,y1", "10,20,40,60"),
        ("image_id,x1,y1,x2,y2", "10,20,40,60"),
        ("filename,xmin,ymin,xmax,ymax", "10,20,40,60"),
        ("File Name,left,top,right,bottom", "10,20,40,60"),
        ("image,x,y,w,h", "10,20,30,40"),
        ("image,x,y,width,height", "10,20,30,40"),
        ("image,left,top,width,height", "10,20,30,40"),
        ("image,x_min,y_min,w,h", "10,20,30,40"),
        ("image,bbox_x,bbox_y,bbox_w,bbox_h", "10,20,30,40"),
        ("image,x_center,y_center,width,height", "25,40,30,40"),
        ("image,cx,cy,w,h", "25,40,30,40"),
    ],
)
def test_a_table_is_understood_by_the_names_of_its_columns(tmp_path, header, numbers):
    path = write(tmp_path / "b.csv", f"{header}\na.png,{numbers}\n")
    found = read_boxes(path)
    assert edges(found, "a.png") == [[10, 20, 40, 60]]
    assert found.images["a.png"].units == "pixels"
    assert found.images["a.png"].place(0, "") == "b.csv row 2"


def test_chestx_ray14s_own_table_of_boxes(tmp_path):
    """The first lines of BBox_List_2017.csv as NIH publishes it, with its commas in a header and at the ends."""
    text = (
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
        "00013118_008.png,Atelectasis,225.084745762712,547.019216763771,86.7796610169491,79.1864406779661,,,\n"
        "00014716_007.png,Atelectasis,686.101694915254,131.543498411017,185.491525423729,313.492403548165,,,\n"
    )
    found = read_boxes(write(tmp_path / "BBox_List_2017.csv", text))
    assert found.images["00013118_008.png"].class_names == ("Atelectasis",)
    np.testing.assert_allclose(
        edges(found, "00013118_008.png"), [[225.084746, 547.019217, 311.864407, 626.205657]]
    )


def test_a_table_with_several_boxes_blank_rows_classes_and_scores(tmp_path):
    text = "image,x0,y0,x1,y1,class,confidence\na.png,1,2,3,4,MA,0.9\nb.png,,,,,,\na.png,5,6,7,8,HE,0.25\n"
    found = read_boxes(write(tmp_path / "b.csv", text))
    assert list(found.images) == ["a.png", "b.png"]
    assert edges(found, "a.png") == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert found.images["a.png"].class_names == ("MA", "HE")
    assert found.images["a.png"].scores.tolist() == [0.9, 0.25]
    assert found.images["a.png"].place(1, "") == "b.csv row 4"
    assert len(found.images["b.png"]) == 0


def test_width_and_height_beside_corners_are_the_images_unless_they_are_the_boxes_own(tmp_path):
    tensorflow = "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,640,480,x,10,20,40,60\n"
    assert read_boxes(write(tmp_path / "a.csv", tensorflow)).images["a.png"].size == (480, 640)
    own = "image,x0,y0,x1,y1,width,height\na.png,10,20,40,60,30,40\n"
    assert read_boxes(write(tmp_path / "b.csv", own)).images["a.png"].size is None
    neither = "image,x0,y0,x1,y1,width,height\na.png,10,20,40,60,30,40\na.png,1,2,3,4,9,9\n"
    with pytest.raises(
        InputError, match=r"b.csv row 3: width and height are 9 x 9, in row 2 of the same image 30 x 40"
    ):
        read_boxes(write(tmp_path / "b.csv", neither))


def test_units_are_recognised_where_there_is_no_doubt(tmp_path):
    shares = read_boxes(write(tmp_path / "s.csv", "image,x0,y0,x1,y1\na.png,0.1,0.2,0.5,1\nb.png,0,0,1,1\n"))
    assert {boxes.units for boxes in shares.images.values()} == {"normalised"}
    assert "s.csv: boxes are read as shares of the image's width and height" in shares.notes


@pytest.mark.parametrize("rows", ["a.png,0,0,1,1\n", "a.png,0.5,0.5,1.5,1.5\n"])
def test_units_in_doubt_are_refused_until_they_are_said(tmp_path, rows):
    path = write(tmp_path / "s.csv", "image,x0,y0,x1,y1\n" + rows)
    with pytest.raises(
        InputError, match=r"in pixels or shares of the image is not clear.*--box-options units="
    ):
        read_boxes(path)
    for units in ("pixels", "normalised"):
        assert read_boxes(path, {"units": units}).images["a.png"].units == units


def test_a_share_among_pixels_is_refused(tmp_path):
    path = write(tmp_path / "s.csv", "image,x0,y0,x1,y1\na.png,10,20,30,40\nb.png,0.1,0.2,0.5,0.6\n")
    with pytest.raises(InputError, match=r"s.csv row 3: the box 0.1, 0.2, 0.5, 0.6 looks like shares"):
        read_boxes(path)
    assert read_boxes(path, {"units": "pixels"}).images["b.png"].units == "pixels"


def test_x_and_y_are_the_centre_only_where_the_user_says_so(tmp_path):
    path = write(tmp_path / "b.csv", "image,x,y,w,h\na.png,25,40,30,40\n")
    assert edges(read_boxes(path, {"format": "cxcywh"}), "a.png") == [[10, 20, 40, 60]]
    with pytest.raises(InputError, match="no columns hold boxes as xyxy"):
        read_boxes(path, {"format": "xyxy"})
    centres = write(tmp_path / "c.csv", "image,cx,cy,w,h\na.png,25,40,30,40\n")
    with pytest.raises(InputError, match="no columns hold boxes as xywh"):
        read_boxes(centres, {"format": "xywh"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("picture,x0,y0,x1,y1\na,1,2,3,4\n", "b.csv: no column names the images"),
        ("image,a,b,c,d\na,1,2,3,4\n", "b.csv: no columns hold boxes"),
        ('image,bbox\na,"[1,2,3,4]"\n', "b.csv: no columns hold boxes"),
        ("image,x0,y0,x1,y1,x2,y2\na,1,2,3,4,5,6\n", "several columns could be the boxes"),
        ("image,x,y,cx,cy,w,h\na,1,2,3,4,5,6\n", "several columns could be the boxes"),
        ("image,x0,y0,x1,y1\na,1,2,three,4\n", "b.csv row 2: x1 is 'three'"),
        ("image,x0,y0,x1,y1\n,1,2,3,4\n", "b.csv row 2 names no image"),
        ("image,x0,y0,x1,y1,class\na,1,2,3,4,\n", "b.csv row 2: the box has no class"),
        ("image,x0,y0,x1,y1,score\na,1,2,3,4,\n", "b.csv row 2: the box has no score"),
    ],
)
def test_tables_that_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_boxes(write(tmp_path / "b.csv", text))


# COCO -------------------------------------------------------------------------------------------------------------

COCO = {
    "info": {"year": 2026},
    "images": [
        {"id": 7, "file_name": "a.png", "width": 40, "height": 30},
        {"id": 9, "file_name": "sub/b.png", "width": 40, "height": 30},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 2, "bbox": [4, 5, 10.5, 20], "area": 210, "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 40, 30], "area": 1200, "iscrowd": 0},
        {"id": 3, "image_id": 7, "category_id": 3, "bbox": [1, 1, 2, 2], "area": 4, "iscrowd": 1},
    ],
    "categories": [{"id": 2, "name": "drusen"}, {"id": 3, "name": "haemorrhage", "supercategory": "lesion"}],
}


def coco(**changed):
    return {**json.loads(json.dumps(COCO)), **changed}


def test_cocos_bbox_is_x_y_width_height(tmp_path):
    found = read_boxes(write(tmp_path / "coco.json", COCO))
    assert edges(found, "a.png") == [[4, 5, 14.5, 25], [0, 0, 40, 30]]
    assert found.images["a.png"].class_names == ("drusen", "haemorrhage")
    assert found.images["a.png"].size == (30, 40)
    assert edges(found, "sub/b.png") == []
    assert found.images["a.png"].place(1, "") == "coco.json annotation 2"
    assert found.notes == ["coco.json: left out: 1 box around crowds (iscrowd)"]


def test_cocos_results_name_images_by_their_id(tmp_path):
    results = [{"image_id": 42, "category_id": 18, "bbox": [258, 41, 348, 243], "score": 0.236}]
    found = read_boxes(write(tmp_path / "results.json", results))
    assert edges(found, "42") == [[258, 41, 606, 284]]
    assert (found.images["42"].class_names, found.images["42"].scores.tolist()) == (("18",), [0.236])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"annotations": [{"id": 5, "image_id": 8, "bbox": [1, 2, 3, 4]}]},
            "annotation 5: there is no image of id 8",
        ),
        ({"annotations": [{"id": 5, "image_id": 7, "bbox": [1, 2, 3]}]}, "annotation 5: its bbox is"),
        ({"annotations": [{"id": 5, "image_id": 7}]}, "annotation 5: its bbox is None"),
        (
            {"annotations": [{"id": 5, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4]}]},
            "annotation 5: there is no category of id 1",
        ),
        ({"images": [{"id": 7, "file_name": "a"}, {"id": 7, "file_name": "b"}]}, "two images have the id 7"),
        (
            {"images": [{"id": 7, "file_name": "a"}, {"id": 8, "file_name": "a"}]},
            "images 7 and 8 are both 'a'",
        ),
        ({"images": [{"id": 7}]}, "without id or file_name"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "two categories have the id 1"),
        (
            {"annotations": [{"id": 5, "image_id": 7, "category_id": 2, "bbox": [0.1, 0.2, 0.3, 0.4]}]},
            "no box reaches beyond 1",
        ),
    ],
)
def test_coco_that_contradicts_itself_is_refused(tmp_path, changed, message):
    with pytest.raises(InputError, match=message):
        read_boxes(write(tmp_path / "coco.json", coco(**changed)))


def test_a_size_that_is_not_the_images_is_refused_before_training(tmp_path):
    table = images(tmp_path, "a.png", "sub/b.png", size=(80, 60))
    manifest = load_manifest(table, columns={"boxes": str(write(tmp_path / "coco.json", COCO))})
    message = r"coco.json annotation 1: the image is said to be 40 x 30 pixels, and it is 80 x 60"
    with pytest.raises(InputError, match=message):
        checked_boxes(manifest, scan(manifest.refs()).facts)


# YOLO -------------------------------------------------------------------------------------------------------------


def yolo(folder: Path) -> Path:
    """Two images in ``images/train``, one with boxes in ``labels/train``, classes in data.yaml."""
    images(folder, "images/train/a.png", "images/train/b.png")
    write(folder / "labels/train/a.txt", "0 0.5 0.5 0.25 0.5\n\n1 0.1 0.2 0.2 0.4\n")
    write(folder / "data.yaml", "path: .\ntrain: images/train\nnames:\n  0: drusen\n  1: haemorrhage\n")
    return folder


@pytest.mark.parametrize("given", ["", "labels", "labels/train", "data.yaml"])
def test_yolos_line_is_class_centre_and_size_in_shares(tmp_path, given):
    folder = yolo(tmp_path / "set")
    found = read_boxes(folder / given)
    (image,) = found.images
    assert image in ("train/a", "a")
    np.testing.assert_allclose(
        edges(found, image), [[0.375, 0.25, 0.625, 0.75], [0, 0, 0.2, 0.4]], atol=1e-15
    )
    boxes = found.images[image]
    assert (boxes.units, boxes.class_names, boxes.scores) == ("normalised", ("drusen", "haemorrhage"), None)
    assert boxes.place(1, "") == f"{image}.txt line 3"
    manifest = load_manifest(folder / "labels.csv", columns={"boxes": str(folder / given)})
    assert cell(manifest, 0)["boxes"] == [[0.375, 0.25, 0.625, 0.75], [0, 0, 0.2, 0.4]]
    assert isinstance(manifest.table["boxes"].iloc[1], float)


def test_yolos_classes_are_those_of_labelimgs_list_or_their_numbers(tmp_path):
    write(tmp_path / "labels/a.txt", "1 0.5 0.5 0.2 0.2 0.75\n")
    found = read_boxes(tmp_path / "labels")
    assert (found.images["a"].class_names, found.images["a"].scores.tolist()) == (("1",), [0.75])
    assert "labels: no classes.txt or data.yaml names the classes: their numbers are the names" in found.notes
    write(tmp_path / "labels/classes.txt", "drusen\nhaemorrhage\n")
    assert read_boxes(tmp_path / "labels").images["a"].class_names == ("haemorrhage",)
    write(tmp_path / "labels/data.yaml", "names: [drusen, exudate]\n")
    with pytest.raises(InputError, match=r"classes.txt, data.yaml in 'labels' name different classes"):
        read_boxes(tmp_path / "labels")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0.1 0.1 0.9 0.1 0.9 0.9\n", r"a.txt line 1 is an outline or a turned box"),
        ("0 0.1 0.1\n", r"a.txt line 1 is 3 numbers"),
        ("drusen 0.5 0.5 0.2 0.2\n", r"a.txt line 1: its class is 'drusen'"),
        ("0 0.5 0.5 0.2 x\n", r"a.txt line 1: '0.5 0.5 0.2 x' are not numbers"),
        ("0 0.5 0.5 0.2 0.2\n0 320 240 100 50\n", r"a.txt line 2: 320 is no share of the image"),
        ("0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2 0.2 0.9\n", r"a.txt: some lines have a score and others none"),
        ("5 0.5 0.5 0.2 0.2\n", r"a.txt line 1: class 5 has no name \(named are 0 to 1\)"),
    ],
)
def test_yolo_that_is_refused(tmp_path, text, message):
    write(tmp_path / "labels/a.txt", text)
    write(tmp_path / "classes.txt", "x\ny\n")
    with pytest.raises(InputError, match=message):
        read_boxes(tmp_path / "labels")


# Mappings and cells -----------------------------------------------------------------------------------------------


def test_a_mapping_in_json_or_in_python(tmp_path):
    document = {
        "a.png": [[1, 2, 3.5, 4]],
        "b.png": {"boxes": [[5, 6, 7, 8]], "labels": None, "scores": [0.5]},
        "c.png": [],
    }
    for source in (document, write(tmp_path / "b.json", document)):
        found = read_boxes(source)
        assert edges(found, "a.png") == [[1, 2, 3.5, 4]]
        assert found.images["b.png"].scores.tolist() == [0.5]
        assert len(found.images["c.png"]) == 0
    assert found.images["a.png"].place(0, "") == "b.json: image 'a.png' box 1"
    as_corner = read_boxes({"a.png": [[1, 2, 3, 4]]}, {"format": "xywh"})
    assert edges(as_corner, "a.png") == [[1, 2, 4, 6]]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"train": {"a.png": [[1, 2, 3, 4]]}}, r"image 'train' has no 'boxes'; give one mapping"),
        ({"a.png": [1, 2, 3, 4]}, r"image 'a.png': box 1 is 1, not four numbers"),
        ({"a.png": [[1, 2, 3]]}, r"image 'a.png': box 1 is \[1, 2, 3\], not four numbers"),
        ({"a.png": [[1, 2, 3, "4"]]}, r"image 'a.png': box 1: '4' is not a number"),
        (
            {"a.png": {"boxes": [[1, 2, 3, 4]], "clases": ["x"]}},
            r"'clases' is not known of boxes; did you mean",
        ),
        ({"a.png": {"boxes": [[1, 2, 3, 4]], "classes": []}}, r"0 classes for 1 boxes"),
        ({"a.png": "x"}, r"image 'a.png': boxes are 'x'"),
    ],
)
def test_mappings_that_are_refused(document, message):
    with pytest.raises(InputError, match=message):
        read_boxes(document)


def test_cells_of_a_table_are_lists_or_files_of_one_image(tmp_path):
    images(tmp_path, "a.png", "b.png", "c.png", "d.png")
    write(tmp_path / "boxes/a.json", {"boxes": [[1, 2, 3, 4]], "classes": ["x"]})
    write(tmp_path / "labels/b.txt", "0 0.5 0.5 1 1\n")
    write(tmp_path / "classes.txt", "x\n")
    table = write(
        tmp_path / "table.csv",
        'image,boxes\na.png,a.json\nb.png,b.txt\nc.png,\nd.png,"[[5, 6, 7, 8], [1, 1, 2, 2]]"\n',
    )
    manifest = load_manifest(table)
    assert cell(manifest, 0) == {
        "boxes": [[1, 2, 3, 4]],
        "format": "xyxy",
        "units": "pixels",
        "classes": ["x"],
    }
    assert cell(manifest, 1)["units"] == "normalised"
    assert cell(manifest, 1)["boxes"] == [[0, 0, 1, 1]]
    assert isinstance(manifest.table["boxes"].iloc[2], float)
    assert cell(manifest, 3)["boxes"] == [[5, 6, 7, 8], [1, 1, 2, 2]]
    again = load_manifest(table, columns={"boxes": "boxes"})
    assert again.table["boxes"].equals(manifest.table["boxes"])
    ignored = load_manifest(table, columns={"boxes": ""})
    assert "boxes" not in ignored.table
    assert ignored.table["file_boxes"].iloc[0] == "a.json"


def test_what_was_read_reads_back_from_a_saved_manifest(tmp_path):
    images(tmp_path, "a.png")
    table = write(tmp_path / "b.csv", "image,x,y,w,h,class\na,0.1,0.2,0.3,0.123456789,x\n")
    made = load_manifest(tmp_path / "labels.csv", columns={"boxes": str(table)})
    made.save(tmp_path / "saved.csv")
    assert cell(Manifest.read_saved(tmp_path / "saved.csv", tmp_path), 0) == {
        "boxes": [[0.1, 0.2, 0.4, 0.32345679]],
        "format": "xyxy",
        "units": "normalised",
        "classes": ["x"],
        "source": "b.csv row",
        "numbers": [2],
    }
    assert made.content_hash() == Manifest.read_saved(tmp_path / "saved.csv", tmp_path).content_hash()


def test_a_parquet_tables_nested_lists(tmp_path):
    images(tmp_path, "a.png", "b.png")
    nested = [[[1.0, 2.0, 3.5, 4.0], [5.0, 6.0, 7.0, 8.0]], None]
    pd.DataFrame({"image": ["a.png", "b.png"], "boxes": nested}).to_parquet(tmp_path / "t.parquet")
    assert cell(load_manifest(tmp_path / "t.parquet"), 0)["boxes"] == [[1, 2, 3.5, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x.txt", r"table.csv row 2: boxes 'x.txt' is neither a list nor a file that is there"),
        (
            "264 152 213 379",
            r"table.csv row 2: boxes '264 152 213 379' is neither a list nor a file that is there",
        ),
        ("[[1, 2, 3, 4]", r"table.csv row 2: its boxes are not JSON"),
        ("a.png", r"table.csv row 2: boxes 'a.png' is neither a list nor a file of one image's boxes"),
        ("../x.json", r"table.csv row 2: boxes '../x.json' is outside the data's folder"),
    ],
)
def test_cells_that_are_refused(tmp_path, text, message):
    folder = tmp_path / "data"
    images(folder, "a.png")
    write(tmp_path / "x.json", [[1, 2, 3, 4]])
    quoted = text.replace('"', '""')
    table = write(folder / "table.csv", f'image,boxes\na.png,"{quoted}"\n')
    with pytest.raises(InputError, match=message):
        load_manifest(table)


# Which image is meant ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image",
    ["train/a.png", "data/train/a.png", "train/a", "{root}/train/a.png", "train\\a.png", "./train/a.png"],
)
def test_an_image_is_found_by_its_path_before_its_name(tmp_path, image):
    table = images(tmp_path, "train/a.png", "val/a.png")
    source = {image.format(root=tmp_path): [[1, 2, 3, 4]]}
    manifest = load_manifest(table, columns={"boxes": source})
    assert manifest.table["boxes"].notna().tolist() == [True, False]


@pytest.mark.parametrize("image", ["a.png", "a", "a.jpg", "elsewhere/a.png"])
def test_an_image_is_found_by_its_name_with_or_without_ending(tmp_path, image):
    table = images(tmp_path, "train/a.png", "val/b.png")
    manifest = load_manifest(table, columns={"boxes": {image: [[1, 2, 3, 4]]}})
    assert manifest.table["boxes"].notna().tolist() == [True, False]


def test_a_name_that_several_images_have_is_refused_with_both(tmp_path):
    table = images(tmp_path, "train/a.png", "val/a.png")
    message = r"'a.png' can be 2 images of labels.csv \('train/a.png', 'val/a.png'\)"
    with pytest.raises(InputError, match=message):
        load_manifest(table, columns={"boxes": {"a.png": [[1, 2, 3, 4]]}})


def test_two_names_of_one_image_are_refused_with_both(tmp_path):
    table = images(tmp_path, "a.png", "b.png")
    with pytest.raises(InputError, match=r"'a.png' and 'a.jpg' are both the image 'a.png' of labels.csv"):
        load_manifest(table, columns={"boxes": {"a.png": [[1, 2, 3, 4]], "a.jpg": []}})


def test_an_image_that_the_data_do_not_have_is_refused_or_counted(tmp_path):
    table = images(tmp_path, "a.png")
    boxes = write(
        tmp_path / "x.csv", "image,x0,y0,x1,y1\na.png,1,2,3,4\nz.png,1,2,3,4\nz.png,1,2,3,4\ny.png,,,,\n"
    )
    with pytest.raises(InputError, match=r"x.csv row 3: no image of labels.csv is 'z.png'; .*unmatched=drop"):
        load_manifest(table, columns={"boxes": str(boxes)})
    kept = load_manifest(table, columns={"boxes": str(boxes)}, box_options={"unmatched": "drop"})
    assert "x.csv: left out: 2 boxes of 1 image that the data do not have" in kept.notes
    assert cell(kept, 0)["boxes"] == [[1, 2, 3, 4]]
    with pytest.raises(InputError, match=r"no image of labels.csv is 'z'"):
        load_manifest(table, columns={"boxes": {"z": [[1, 2, 3, 4]]}}, box_options={"unmatched": "drop"})


def test_slices_of_a_volume_are_told_apart_by_their_part():
    rows = [f"v.nii.gz#axis=2&index={index}" for index in range(3)]
    manifest = Manifest(pd.DataFrame({"image": rows}), Path("root"))
    found = with_box_file(manifest, {"v.nii.gz#axis=2&index=1": [[1, 2, 3, 4]]}, BoxOptions())
    assert found.table["boxes"].notna().tolist() == [False, True, False]
    with pytest.raises(InputError, match=r"'v.nii.gz' can be 3 images"):
        with_box_file(manifest, {"v.nii.gz": [[1, 2, 3, 4]]}, BoxOptions())


def test_boxes_of_a_folder_of_images_and_files_beside_the_data(tmp_path):
    images(tmp_path / "x", "one/a.png", "two/b.png")
    (tmp_path / "x" / "labels.csv").unlink()
    write(tmp_path / "x" / "found.json", {"a": [[1, 2, 3, 4]]})
    manifest = load_manifest(tmp_path / "x", columns={"boxes": "found.json"})
    assert manifest.table["boxes"].notna().tolist() == [True, False]
    with pytest.raises(InputError, match=r"boxes 'lost.json' are not a file that is there"):
        load_manifest(tmp_path / "x", columns={"boxes": "lost.json"})
    table = images(tmp_path / "y", "a.png")
    with pytest.raises(InputError, match=r"boxes 'lesion' are neither a column of labels.csv nor a file"):
        load_manifest(table, columns={"boxes": "lesion"})


def test_options_are_read_from_a_command_line(tmp_path):
    assert BoxOptions.parse("outside=drop, min_side=2.5") == {"outside": "drop", "min_side": 2.5}
    for text, message in (
        ("outside", "is not KEY=VALUE"),
        ("outsid=drop", "did you mean 'outside'"),
        ("outside=keep", "use one of refuse, drop"),
        ("min_side=x", "give a number"),
        ("min_side=-1", "give a number"),
    ):
        with pytest.raises(InputError, match=message):
            BoxOptions.parse(text)
