"""How a public layout is read is part of the recipe."""

import pytest

from modicum.engine.inputs.preparation import read_manifest
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.errors import InputError


def chexpert(folder):
    """A copy of the table's structure: two patients, one unsure of oedema."""
    folder = folder / "CheXpert-v1.0-small"
    lines = [
        "Path,Sex,Age,Frontal/Lateral,AP/PA,Atelectasis,Cardiomegaly,Consolidation,Edema,Pleural Effusion"
    ]
    for number, edema in enumerate(("1.0", "-1.0")):
        path = f"train/patient0000{number}/study1/view1_frontal.jpg"
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_bytes(b"jpeg")
        lines.append(f"CheXpert-v1.0-small/{path},Male,50,Frontal,AP,0.0,,1.0,{edema},0.0")
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize(("policy", "expected"), [("zeros", 0.0), ("ones", 1.0)])
def test_a_policy_for_uncertain_findings_is_kept_and_followed(tmp_path, policy, expected):
    recipe = make_recipe(chexpert(tmp_path), "linear", {"layout_options": {"uncertain": policy}})
    assert recipe.data.layout_options == {"uncertain": policy}
    table = read_manifest(recipe.data, recipe.task).table
    assert table["labels:Edema"].tolist() == [1.0, expected]


def test_an_unknown_layout_is_named(tmp_path):
    recipe = make_recipe(chexpert(tmp_path), "linear", {"layout": "chexprt"})
    with pytest.raises(InputError, match=r"chexprt.*chexpert"):
        read_manifest(recipe.data, recipe.task)
