"""What tables and pages say of an error does not tell how an image is called."""

from pathlib import Path

import pandas as pd
import pytest

from modicum.comparison.image_names import ImageNames
from modicum.data.manifest import Manifest

NAMES = {
    "image": ["eyes/Jane Doe.png", "scans/mueller.nii.gz#axis=2&index=80", "IM0001", "1", "doe/series 3"],
    "target": ["t/Jane Doe 2.png", None, None, None, None],
}


@pytest.fixture
def names():
    return ImageNames.of(Manifest(pd.DataFrame(NAMES), Path("/data")))


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (
            "1 of 40 images cannot be read (the first: eyes/Jane Doe.png: the file ends too early); repair it",
            "1 of 40 images cannot be read (the first: [image]: the file ends too early); repair it",
        ),
        ("/data/eyes/Jane Doe.png: is empty", "[image]: is empty"),
        ("'Jane Doe.png' and 'Jane Doe 2.png' differ", "'[image]' and '[image]' differ"),
        ("scans/mueller.nii.gz#axis=2&index=80: NaN in the volume", "[image]: NaN in the volume"),
        ("scans/mueller.nii.gz: 12 slices", "[image]: 12 slices"),
        ("IM0001 holds no pixels, of 10001 images", "[image] holds no pixels, of 10001 images"),
        ("doe/series 3: its slices overlap", "[image]: its slices overlap"),
        ("cannot open /mnt/other/smith_john.dcm (denied)", "cannot open [image] (denied)"),
        ("labels.csv row 17: grade '5' is not in 0..4", "labels.csv row 17: grade '5' is not in 0..4"),
        ("batch of 16: out of memory; lower --batch-size", "batch of 16: out of memory; lower --batch-size"),
    ],
)  # fmt: skip
def test_the_reason_stays_and_the_name_goes(names, said, kept):
    assert names.left_out_of(said) == kept


def test_the_file_that_is_the_whole_data_set_is_no_image():
    rows = {"image": [f"chest.npz#array=train_images&index={i}" for i in range(3)]}
    names = ImageNames.of(Manifest(pd.DataFrame(rows), Path("/data")))
    assert names.left_out_of("chest.npz: no array 'val_labels'") == "chest.npz: no array 'val_labels'"
