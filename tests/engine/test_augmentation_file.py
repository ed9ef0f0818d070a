"""Augmentations from files: policies and lists of operations; what cannot be read is refused with its place."""

import pytest
import torch
import yaml

from modicum.engine.recipe.augmentation_file import names_a_file, read_augmentation
from modicum.errors import InputError
from modicum.methods.aadg import AadgConfig, PolicySearch
from modicum.transforms import Augmentation, Policy, parse_augmentation


def test_a_policy_that_a_search_found_is_an_augmentation_of_any_method(tmp_path):
    torch.manual_seed(0)
    search = PolicySearch(AadgConfig())
    search.begin()
    search.end(0)
    found = search.findings()["policy"]
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump(found), encoding="utf-8")
    operations = read_augmentation(path)
    (policy,) = parse_augmentation(operations)
    assert isinstance(policy, Policy)
    written = [[[list(step) for step in steps] for steps in each] for each in policy.policies]
    assert written == found["policies"]
    image = torch.rand(4, 3, 32, 32)
    made = Augmentation(operations, size=24)({"image": image}, torch.Generator().manual_seed(0))
    assert made["image"].shape == (4, 3, 24, 24)


def test_a_policy_can_stand_in_a_list_of_operations(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text("- horizontal_flip\n- name: policy\n  policies: [[[[solarize, 3], invert]]]\n")
    assert [operation["name"] for operation in read_augmentation(path)] == ["horizontal_flip", "policy"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "policies: [[[[solarise, 3]]]]",
            r"policy 1, sub-policy 1: unknown operation 'solarise'; did you mean",
        ),
        ("policies: [[[[color, 12]]]]", r"color has magnitude 12; give a bin from 0 to 9"),
        (
            "policies: [[[[color, 1]]]]\nmagnitude: 10",
            r"unknown parameter 'magnitude'; did you mean 'magnitudes'",
        ),
        ("policies: [[[[color, 1]]]]\ncutout_labels: drop", r"cutout_labels = 'drop'"),
        ("- rotat", r"unknown operation 'rotat'; did you mean 'rotate'"),
        ("fundus", r"has neither policies nor a list of operations; give a mapping with 'policies'"),
        ("{policies: ", r"cannot be read \(ParserError\)"),
        ("", r"has neither policies nor"),
    ],
)
def test_what_is_no_augmentation_is_refused_with_the_file_and_the_place(tmp_path, text, message):
    path = tmp_path / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read_augmentation(path)
    assert "policy.yaml" in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none.yaml' does not exist"):
        read_augmentation(tmp_path / "none.yaml")


def test_names_of_presets_are_no_files():
    assert names_a_file("policy.yaml")
    assert names_a_file("runs/aadg/policy.YML")
    assert not names_a_file("fundus")
    assert not names_a_file([{"name": "rotate"}])
