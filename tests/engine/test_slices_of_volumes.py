"""Trainings say which slices of volumes they learn from, and keep it in the recipe."""

import nibabel as nib
import numpy as np
import pytest

from modicum.engine.inputs.auxiliary_images import with_auxiliary_images
from modicum.engine.inputs.preparation import prepare, task_for
from modicum.engine.recipe.given_recipe import given_recipe
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError

GIVEN = {"image_size": 8, "device": "cpu"}


@pytest.fixture
def table(tmp_path):
    """Six volumes of six slices, two of which have something in the mask."""
    rows = ["image,mask,label,split"]
    for at, split in enumerate(["train"] * 4 + ["val", "test"]):
        voxels = np.random.default_rng(at).integers(1, 200, (8, 8, 6)).astype(np.int16)
        mask = np.zeros_like(voxels)
        mask[2:5, 2:5, 1:3] = 1
        for name, values in (("v", voxels), ("m", mask)):
            nib.save(nib.Nifti1Image(values, np.diag([1.0, 1, 2, 1])), tmp_path / f"{name}{at}.nii.gz")
        rows.append(f"v{at}.nii.gz,m{at}.nii.gz,{'ab'[at % 2]},{split}")
    (tmp_path / "data.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "data.csv"


def prepared(table, method, **settings):
    recipe = make_recipe(table, method, GIVEN | settings)
    folder = table.parent
    found = prepare(recipe, RunFolder(folder / "run"), folder / "stores", 0)
    return recipe, with_auxiliary_images(
        found, task_for(found.manifest, recipe), recipe, folder / "stores", 0, None
    )


def test_segmentation_learns_from_every_labelled_slice_and_says_so(table, capsys):
    recipe, found = prepared(table, "segment")
    assert recipe.data.slices == "labelled"
    assert [len(found.rows(split)) for split in ("train", "val", "test")] == [8, 2, 2]
    assert {ref.index for ref in found.manifest.refs()} == {1, 2}
    note = "6 volumes of 36 slices became 12 images (--slices labelled)"
    assert note in " ".join(found.notes)
    assert note in " ".join(capsys.readouterr().err.split())
    reader, positions = found.auxiliary_images["mask"]
    assert reader(positions).reshape(12, -1).any(axis=1).all()


def test_classification_learns_from_the_middle_slices_as_ever_and_says_so(table):
    recipe, found = prepared(table, "linear")
    assert recipe.data.slices == "middle"
    assert [str(ref) for ref in found.manifest.refs()] == [f"v{at}.nii.gz" for at in range(6)]
    assert "6 images of 6 hold several slices (36 together)" in " ".join(found.notes)


def test_other_slices_on_request(table):
    _, found = prepared(table, "linear", slices="every:3")
    assert [ref.index for ref in found.manifest.refs()[:2]] == [1, 4]
    assert len(found.rows("train")) == 8
    assert "hold several slices" not in " ".join(found.notes)
    with pytest.raises(InputError, match=r"slices.*most"):
        make_recipe(table, "linear", {"slices": "most"})


def test_a_recipe_of_before_keeps_the_slices_that_it_meant(table, tmp_path):
    recipe = make_recipe(table, "segment", GIVEN)
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml())
    assert Recipe.read(path).data.slices == "labelled"
    path.write_text(
        "".join(line for line in recipe.to_yaml().splitlines(True) if "slices:" not in line or "adj" in line)
    )
    assert Recipe.read(path).data.slices == "middle"
    path.write_text(make_recipe(table, "segment", {**GIVEN, "slices": "every:2"}).to_yaml())
    assert make_recipe(table, None, GIVEN, given_recipe(path)).data.slices == "every:2"
