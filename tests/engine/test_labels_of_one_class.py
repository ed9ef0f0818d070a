"""Training images of one class are enough wherever nothing is learned of labels, and only there."""

import pandas as pd
import pytest

from modicum.data.layouts import load_manifest
from modicum.engine.inputs.preparation import with_parts
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.errors import InputError


@pytest.fixture
def data(tmp_path):
    """Ten images, all of one class, as a set of normal ones is."""
    names = [f"{at}.png" for at in range(10)]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    columns = {"image": names, "label": "normal", "mask": names, "target": names, "report": "no finding"}
    pd.DataFrame(columns).to_csv(tmp_path / "data.csv", index=False)
    return tmp_path / "data.csv"


@pytest.mark.parametrize(
    "method", ["lesion_contrast", "mae", "mrm", "segment", "reggan", "led", "prior", "padim", "detect"]
)
@pytest.mark.parametrize("given", [True, False])
def test_one_class_is_enough_where_labels_are_not_learned(data, method, given):
    manifest = load_manifest(data)
    if given:
        manifest = manifest.with_columns([], split=["train"] * 7 + ["val"] * 2 + ["test"])
    made = with_parts(manifest, make_recipe(data, method, {"backbone": "test_resnet", "weights": "random"}))
    assert set(made.table["split"]) == {"train", "val", "test"}


@pytest.mark.parametrize("method", ["linear", "full", "lora"])
def test_classifiers_need_two(data, method):
    with pytest.raises(InputError, match="all training images have the label 'normal'"):
        with_parts(load_manifest(data), make_recipe(data, method, {"weights": "random"}))
