"""Roles of columns: one table, which manifests, tables, recipes and the command line all go by."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from modicum.data.layouts import load_manifest
from modicum.data.layouts.columns import arrange
from modicum.data.manifest import COLUMNS, Manifest, path_columns
from modicum.data.roles import ROLES
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.errors import InputError

BEFORE = ["image", "label", "patient", "eye", "domain", "mask", "fov", "target", "report", "split"]


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((8, 8), 90, np.uint8))


def test_columns_keep_their_order_so_that_data_sets_keep_their_hash():
    assert [name for name in COLUMNS if name in BEFORE] == BEFORE
    table = pd.DataFrame({"image": ["a.png", "b.png"], "split": ["train", "test"], "label": ["0", "1"]})
    found = Manifest(table, Path()).content_hash()[:16]
    assert found == "81f7cf512b6dd026"  # as saved with runs of earlier versions


def test_columns_of_images_are_those_of_the_table_and_one_mask_a_class():
    columns = [*ROLES, "masks:cup", "labels:edema", "mask_notes", "other"]
    assert path_columns(columns) == ["image", "mask", "fov", "target", "saliency", "masks:cup"]


@pytest.mark.parametrize("command", ["fit", "inspect", "compare", "evaluate"])
def test_help_shows_every_role(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    words = [sys.executable, "-m", "modicum", command, "--help"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    for role in ROLES.values():
        option = "--split-column" if role.name == "split" else f"--{role.name}"
        assert any(f"│ {option} " in line and role.help in line for line in shown.splitlines()), option


@pytest.mark.parametrize("role", [name for name in ROLES if name != "image"])
def test_a_table_names_each_role_by_the_role_or_by_another_name(role, tmp_path):
    rows = pd.DataFrame({"image": ["a.png"], role: ["1"], "mine": ["0"]})
    own = arrange(rows, None, "t.csv")
    assert own[role].tolist() == ["1"]
    named = arrange(rows, {role: "mine"}, "t.csv")
    column = "labels:mine" if role == "labels" else role
    assert named[column].tolist() == ["0"]
    assert named[f"file_{role}"].tolist() == ["1"]


@pytest.mark.parametrize("role", ROLES)
def test_a_recipe_takes_each_role_as_a_setting(role):
    recipe = make_recipe("data.csv", "full", {role: "mine", "weights": "random"})
    assert recipe.data.columns == {role: "mine"}


def test_two_columns_for_one_role_are_refused_but_for_findings():
    rows = pd.DataFrame({"image": ["a.png"], "one": ["1"], "two": ["0"]})
    with pytest.raises(InputError, match=r"role 'mask' is given 2 columns \(one, two\); name one"):
        arrange(rows, {"mask": ["one", "two"]}, "t.csv")
    assert {"labels:one", "labels:two"} <= set(arrange(rows, {"labels": ["one", "two"]}, "t.csv"))


def test_saliency_maps_are_looked_for_beside_the_images_and_boxes_stay_as_they_are(tmp_path):
    for name in ("a.png", "b.png", "maps/a.png"):
        write_image(tmp_path / name)
    text = 'image,saliency,boxes\na.png,maps/a.png,"[[1, 2, 3, 4]]"\nb.png,,NaN\n'
    (tmp_path / "t.csv").write_text(text)
    found = load_manifest(tmp_path / "t.csv").table
    assert found["saliency"].isna().tolist() == [False, True]
    assert "1" in found["boxes"].iloc[0]
    assert found["boxes"].isna().tolist() == [False, True]
    (tmp_path / "t.csv").write_text(text.replace("maps/a.png", "maps/c.png"))
    with pytest.raises(InputError, match=r"c\.png"):
        load_manifest(tmp_path / "t.csv")
