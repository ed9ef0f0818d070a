"""Parquet tables with the images inside, as Hugging Face writes them."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from modicum.data.layouts import load_manifest
from modicum.data.readers import read_image
from modicum.errors import BrokenImageError, InputError


def encoded(value, form="PNG"):
    data = io.BytesIO()
    Image.new("L", (6, 5), value).save(data, form)
    return data.getvalue()


def cells(kind):
    pictures = [encoded(10 * n, "JPEG" if n % 2 else "PNG") for n in range(5)]
    if kind == "struct":
        return [{"bytes": data, "path": f"{n}.png"} for n, data in enumerate(pictures)]
    return pa.array(pictures, pa.large_binary() if kind == "large" else pa.binary())


@pytest.mark.parametrize("kind", ["struct", "binary", "large"])
@pytest.mark.parametrize("source", [".", "train-00000-of-00001.parquet"])
def test_images_inside_a_table_are_read(tmp_path, kind, source):
    table = pa.table({"image": cells(kind), "label": [0, 1, 0, 1, 1], "patient": list("aabbc")})
    pq.write_table(table, tmp_path / "train-00000-of-00001.parquet", row_group_size=2)
    made = load_manifest(tmp_path / source)
    assert made.table["image"].iloc[3] == "train-00000-of-00001.parquet#array=image&index=3"
    assert made.table["label"].tolist() == ["0", "1", "0", "1", "1"]
    for n, ref in enumerate(made.refs()):
        image = read_image(ref)
        assert image.pixels.shape == (1, 5, 6)
        np.testing.assert_allclose(image.pixels, 10 * n / 255, atol=0.005)
        assert image.source.format == ("jpeg" if n % 2 else "png")
        assert not image.source.mislabelled
    assert made.patients()[4] == "patient:c"


def test_images_in_a_column_of_another_name(tmp_path):
    pq.write_table(pa.table({"scan": cells("struct"), "grade": list("01011")}), tmp_path / "set.parquet")
    made = load_manifest(tmp_path / "set.parquet", columns={"image": "scan", "label": "grade"})
    assert read_image(made.refs()[4]).source.format == "png"
    assert len(set(made.patients())) == 5


def test_a_cell_with_a_path_alone_is_the_file(tmp_path):
    Image.new("L", (6, 5), 7).save(tmp_path / "0.png")
    rows = [{"bytes": None, "path": "0.png"}, {"bytes": encoded(3), "path": None}]
    pq.write_table(pa.table({"image": rows, "label": [0, 1]}), tmp_path / "set.parquet")
    assert load_manifest(tmp_path / "set.parquet").table["image"].tolist() == [
        "0.png",
        "set.parquet#array=image&index=1",
    ]


def test_what_is_not_an_image_is_named(tmp_path):
    rows = [{"bytes": b"", "path": None}, {"bytes": b"no image", "path": None}]
    pq.write_table(pa.table({"image": rows, "n": [0, 1]}), tmp_path / "set.parquet")
    path = tmp_path / "set.parquet"
    for part, reason in (
        ("#array=image&index=0", "is empty in this row"),
        ("#array=image&index=1", "is a text file, not an image"),
        ("#array=image&index=2", "index 2 was requested"),
        ("#array=n&index=0", "column 'n' holds no images"),
        ("#array=x&index=0", "has no column 'x'"),
    ):
        with pytest.raises(BrokenImageError, match=reason):
            read_image(f"{path}{part}")


def test_a_row_without_an_image_is_named(tmp_path):
    pq.write_table(
        pa.table({"image": [{"bytes": None, "path": None}, {"bytes": encoded(1), "path": None}]}),
        tmp_path / "set.parquet",
    )
    with pytest.raises(InputError, match=r"set.parquet row 1 names no image"):
        load_manifest(tmp_path / "set.parquet")
