"""Policies: each image draws one chain of operations; written to YAML and read again; refused where unreadable."""

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageEnhance, ImageOps

from modicum.errors import InputError
from modicum.transforms import (
    POLICY_OPERATIONS,
    Augmentation,
    Policy,
    describe_augmentation,
    parse_augmentation,
)
from modicum.transforms.policy import CUTOUT, apply_sub_policies, draw_sub_policies


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def whole_levels(count: int = 6, size: int = 32) -> torch.Tensor:
    return torch.randint(256, (count, 3, size, size), generator=seeded(5)).float() / 255


INVERT, SOLARIZE = [["invert", 0]], [["solarize", 3]]


def test_the_search_space_has_the_ten_operations_in_the_order_of_the_release():
    assert POLICY_OPERATIONS == (
        "autocontrast",
        "invert",
        "equalize",
        "solarize",
        "posterize",
        "contrast",
        "color",
        "brightness",
        "sharpness",
        "cutout",
    )


def test_the_operations_of_a_chain_run_in_their_order():
    image = whole_levels(1)
    policy = Policy(policies=[[[["posterize", 0], ["color", 9]]]])
    made = policy({"image": image}, seeded())["image"]
    picture = Image.fromarray((image[0] * 255).byte().permute(1, 2, 0).numpy())
    expected = np.asarray(ImageEnhance.Color(ImageOps.posterize(picture, 4)).enhance(1.9))
    np.testing.assert_array_equal((made[0] * 255).round().byte().permute(1, 2, 0).numpy(), expected)


def test_each_image_draws_one_of_the_sub_policies_and_all_are_alike_likely():
    image = torch.full((3000, 1, 2, 2), 100 / 255)
    policies = [[INVERT, [["posterize", 0]], [["brightness", 9]]]]  # 100 becomes 155, 96, 190
    made = Policy(policies=policies)({"image": image}, seeded())["image"]
    levels, counts = (made[:, 0, 0, 0] * 255).round().int().unique(return_counts=True)
    assert levels.tolist() == [96, 155, 190]
    assert (counts - 1000).abs().max() < 4 * (3000 * 2 / 9) ** 0.5


def test_sub_policies_of_a_short_policy_are_as_likely_as_the_policy():
    # Two policies: one of a single chain, one of three. A policy is drawn first, then one of its own chains.
    image = torch.full((4000, 1, 2, 2), 100 / 255)
    policies = [[INVERT], [[["posterize", 0]], [["posterize", 0]], [["posterize", 0]]]]
    made = Policy(policies=policies)({"image": image}, seeded())["image"]
    inverted = ((made[:, 0, 0, 0] * 255).round() == 155).sum().item()
    assert abs(inverted - 2000) < 4 * 1000**0.5


def test_chains_of_different_lengths_can_stand_together():
    image = whole_levels(40)
    policies = [[INVERT, [["invert", 0], ["invert", 0]]]]
    made = Policy(policies=policies)({"image": image}, seeded())["image"]
    once = torch.isclose(made, 1 - image).all((1, 2, 3))
    twice = torch.isclose(made, image).all((1, 2, 3))
    assert (once ^ twice).all()
    assert once.any()
    assert twice.any()


def test_images_of_a_search_use_sub_policies_of_the_policy_they_belong_to():
    policies = torch.tensor([[[[1, p]] for _ in range(5)] for p in range(6)])
    policy = torch.arange(600) % 6
    drawn = draw_sub_policies(policies, policy, seeded())
    assert torch.equal(drawn["steps"][:, 0, 1], policy)
    assert drawn["sub_policy"].unique().tolist() == [0, 1, 2, 3, 4]


def test_without_policies_every_operation_and_bin_is_drawn_alike():
    drawn = Policy().draw(20_000, (3, 8, 8), seeded())
    assert drawn["steps"].shape == (20_000, 2, 2)
    for values in (drawn["steps"][..., 0], drawn["steps"][..., 1]):
        counts = values.flatten().bincount()
        assert len(counts) == 10
        assert (counts - 4000).abs().max() < 5 * 3600**0.5


def test_masks_stay_byte_for_byte_under_every_operation():
    mask = torch.randint(0, 3, (10, 1, 32, 32), generator=seeded(), dtype=torch.uint8)
    policies = [[[[name, 9], [name, 8]]] for name in POLICY_OPERATIONS]
    out = Policy(policies=policies)({"image": whole_levels(10), "mask": mask}, seeded())
    assert out["mask"] is mask


@pytest.mark.parametrize("shape", [(12, 32, 32), (12, 2, 32, 32)])
def test_cut_out_labels_can_be_erased_where_the_image_is_grey_and_only_there(shape):
    image, mask = torch.zeros(12, 3, 32, 32), torch.ones(shape)
    policy = Policy(policies=[[[["cutout", 9], ["cutout", 6]]]], cutout_labels="erase")
    out = policy({"image": image, "mask": mask}, seeded())
    cut = (out["image"][:, 0] * 255).round() == 127
    assert cut.any((1, 2)).all()
    erased = out["mask"] == 0
    assert torch.equal(erased if erased.ndim == 3 else erased[:, 0], cut)
    assert mask.all()


def test_erasing_leaves_masks_without_a_cutout_alone():
    policy = Policy(policies=[[[["invert", 0], ["cutout", 0]]]], cutout_labels="erase")
    mask = torch.ones(6, 32, 32)
    assert torch.equal(policy({"image": whole_levels(), "mask": mask}, seeded())["mask"], mask)


def test_grey_images_of_one_channel_take_every_operation():
    image = whole_levels()[:, :1]
    for name in POLICY_OPERATIONS:
        made = Policy(policies=[[[[name, 9]]]])({"image": image}, seeded())["image"]
        assert made.shape == image.shape
    assert torch.equal(Policy(policies=[[[["color", 0]]]])({"image": image}, seeded())["image"], image)


def test_a_policy_can_be_applied_to_some_of_the_images():
    image = whole_levels(400, 4)
    made = Policy(p=0.25, policies=[[INVERT]])({"image": image}, seeded())["image"]
    changed = (made != image).any(3).any(2).any(1)
    assert 60 < changed.sum() < 140
    assert torch.equal(made[~changed], image[~changed])


def test_a_policy_stands_in_a_recipe_beside_other_operations():
    recipe = [{"name": "policy", "policies": [[INVERT]]}, "horizontal_flip", {"name": "resize", "size": 16}]
    assert Augmentation(recipe)({"image": whole_levels()}, seeded())["image"].shape == (6, 3, 16, 16)


def test_a_policy_written_to_yaml_and_read_again_is_the_same():
    policy = Policy(policies=[[[["solarize", 3], ["color", 7]], ["invert"]], [INVERT]], cutout_labels="erase")
    text = yaml.safe_dump(describe_augmentation([policy]))
    assert parse_augmentation(yaml.safe_load(text)) == (policy,)


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        (
            [[[["solarise", 3]]]],
            r"policy 1, sub-policy 1: unknown operation 'solarise'; did you mean 'solarize'",
        ),
        (
            [[INVERT, SOLARIZE], [SOLARIZE, [["color", 10]]]],
            r"policy 2, sub-policy 2: color has magnitude 10; give",
        ),
        ([[[["color", -1]]]], r"magnitude -1; give a bin from 0 to 9"),
        (
            [[["color"]]],
            r"policy 1, sub-policy 1: a step is 'color'; give color one magnitude bin: \[color, 3\]",
        ),
        ([[[["color", 1.5]]]], r"give color one magnitude bin"),
        ([[[["color", True]]]], r"give color one magnitude bin"),
        ([[[["color", 1, 2]]]], r"give color one magnitude bin"),
        ([[[7]]], r"policy 1, sub-policy 1: a step is 7; write it as \[solarize, 3\]"),
        ([], r"policies is \[\]; give policies as a list of lists of chains"),
        ([[]], r"policy 1 is \[\]"),
        ([[[]]], r"policy 1, sub-policy 1 is \[\]"),
        ("invert", r"policies is 'invert'"),
        ([{"color": 3}], r"policy 1 is \{'color': 3\}"),
    ],
)
def test_an_unreadable_policy_is_refused_with_its_place(policies, message):
    with pytest.raises(InputError, match=message):
        parse_augmentation([{"name": "policy", "policies": policies}])


def test_fewer_bins_mean_wider_steps():
    image = torch.full((1, 1, 2, 2), 100 / 255)
    made = Policy(policies=[[[["brightness", 2]]]], magnitudes=3)({"image": image}, seeded())["image"]
    assert (made * 255).round().unique().tolist() == [190]  # the last of three bins is 1.9, too


def test_steps_that_are_not_there_change_nothing():
    image = whole_levels()
    drawn = {"steps": torch.full((6, 2, 2), -1), "centre": torch.zeros(6, 2, 2, dtype=torch.float64)}
    assert torch.equal(apply_sub_policies(image, drawn), image)
    assert POLICY_OPERATIONS[CUTOUT] == "cutout"
