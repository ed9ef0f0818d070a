"""Augmentations: reproducible, independent for each image, readable from a recipe and written back to one."""

import json

import pytest
import torch
import yaml

from modicum.errors import InputError
from modicum.transforms import (
    OPERATIONS,
    POLICY_OPERATIONS,
    PRESETS,
    Augmentation,
    ColorJitter,
    GaussianNoise,
    HorizontalFlip,
    RandomErasing,
    RandomResizedCrop,
    Resize,
    Rotate,
    Translate,
    VerticalFlip,
    describe_augmentation,
    geometry,
    parse_augmentation,
    resize,
)
from modicum.transforms.policy import magnitude_values
from modicum.transforms.rand_augment import BINS, magnitudes


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int = 6, size: int = 48) -> torch.Tensor:
    return torch.rand((count, 3, size, size), generator=seeded(99))


EVERYTHING = [kind() for kind in OPERATIONS.values()]


# Running


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("size", [None, 32, (40, 56)])
def test_presets_give_images_of_the_asked_size_in_range(preset, size):
    out = Augmentation(preset, size=size)({"image": noise()}, seeded())["image"]
    expected = {None: (48, 48), 32: (32, 32), (40, 56): (40, 56)}[size]
    assert out.shape == (6, 3, *expected)
    assert out.min() >= 0
    assert out.max() <= 1 + 1e-6


@pytest.mark.parametrize("operations", [*sorted(PRESETS), EVERYTHING])
def test_the_same_generator_state_gives_the_same_images(operations):
    augment = Augmentation(operations, size=32)
    batch = {"image": noise(), "target": noise(), "mask": (noise() > 0.5).float()}
    first, second = augment(batch, seeded(7)), augment(batch, seeded(7))
    assert torch.equal(first["image"], second["image"])
    assert torch.equal(first["mask"], second["mask"])
    generator = seeded(7)
    augment(batch, generator)
    after_one = generator.get_state()
    if operations != "none":
        assert not torch.equal(augment(batch, generator)["image"], first["image"])
    # And from a stored state, as after a resume.
    resumed = torch.Generator()
    resumed.set_state(after_one)
    generator.set_state(after_one)
    assert torch.equal(augment(batch, resumed)["image"], augment(batch, generator)["image"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("operations", [*sorted(PRESETS), EVERYTHING])
def test_a_gpu_gives_the_same_images_as_the_cpu(operations):
    augment, image = Augmentation(operations, size=32), noise()
    there = augment({"image": image.cuda()}, seeded())["image"]
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), augment({"image": image}, seeded())["image"], atol=1e-4, rtol=0)


def test_copies_of_one_image_become_different_images():
    batch = {"image": noise(1).expand(12, 3, 48, 48)}
    for operations in ("fundus", "chest", "natural", [ColorJitter(brightness=0.5)], [Rotate()]):
        out = Augmentation(operations)(batch, seeded())["image"].flatten(1)
        distance = torch.cdist(out, out) + torch.eye(12) * 1e3
        assert distance.min() > 0.05, operations


def test_an_images_own_change_does_not_depend_on_its_content_or_its_neighbours():
    augment, image = Augmentation("fundus"), noise()
    other = image.clone()
    other[3:] = 0
    first, second = (augment({"image": each}, seeded())["image"] for each in (image, other))
    torch.testing.assert_close(first[:3], second[:3], atol=1e-6, rtol=0)


def test_the_batch_given_is_left_alone_and_other_keys_pass_through():
    image = noise()
    batch = {
        "image": image,
        "target": noise(),
        "label": torch.arange(6),
        "name": ["a", "b", "c", "d", "e", "f"],
    }
    before = image.clone()
    out = Augmentation(EVERYTHING, size=32)(batch, seeded())
    assert torch.equal(image, before)
    assert batch["image"] is image
    assert out["label"] is batch["label"]
    assert out["name"] is batch["name"]


def test_none_is_the_resize_that_evaluation_does():
    image = noise()
    out = Augmentation("none", size=20)({"image": image}, seeded())["image"]
    assert torch.equal(out, resize(image, (20, 20)))
    assert torch.equal(Augmentation("none")({"image": image}, seeded())["image"], image)


def test_an_operation_alone_is_a_pipeline_of_one():
    batch = {"image": noise(), "target": noise()}
    for operation in EVERYTHING:
        alone, piped = operation(batch, seeded(3)), Augmentation([operation])(batch, seeded(3))
        assert torch.equal(alone["image"], piped["image"]), operation


def test_geometry_is_interpolated_once(monkeypatch):
    calls = []
    sample = torch.nn.functional.grid_sample
    monkeypatch.setattr(
        geometry.functional, "grid_sample", lambda *given, **named: calls.append(1) or sample(*given, **named)
    )
    # The jitter stands between the flips and the rest: flips are carried past it.
    Augmentation("fundus", size=40)({"image": noise()}, seeded())
    assert len(calls) == 1


def test_flips_carried_past_colour_end_where_flips_made_at_once_do():
    batch, jitter = {"image": noise()}, ColorJitter(brightness=0.3, contrast=0.3)
    carried = Augmentation([HorizontalFlip(), VerticalFlip(), jitter])(batch, seeded(2))["image"]
    generator = seeded(2)
    step = batch
    for operation in (HorizontalFlip(), VerticalFlip(), jitter):
        step = operation(step, generator)
    torch.testing.assert_close(carried, step["image"], atol=1e-6, rtol=0)


def test_masks_stay_on_their_pixels_through_a_whole_recipe():
    # The mask says where the image is bright; after any geometry it still must.
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    disc = (((y - 40) ** 2 + (x - 25) ** 2) < 150).float()
    batch = {"image": disc.expand(8, 3, 64, 64), "mask": disc.long().expand(8, 64, 64)}
    recipe = [
        HorizontalFlip(),
        VerticalFlip(),
        RandomResizedCrop(area=(0.5, 1)),
        Rotate(),
        Translate(fraction=0.2),
    ]
    out = Augmentation(recipe, size=48)(batch, seeded())
    bright, masked = out["image"][:, 0] > 0.5, out["mask"] == 1
    assert masked.flatten(1).any(1).sum() >= 6
    assert (bright != masked).float().mean() < 0.004


def test_a_size_of_its_own_wins_over_the_output_size_until_the_end():
    recipe = [RandomResizedCrop(size=16), ColorJitter(brightness=0.1)]
    assert Augmentation(recipe)({"image": noise()}, seeded())["image"].shape[-2:] == (16, 16)
    assert Augmentation(recipe, size=24)({"image": noise()}, seeded())["image"].shape[-2:] == (24, 24)
    assert Augmentation([Resize()], size=24)({"image": noise()}, seeded())["image"].shape[-2:] == (24, 24)


# Presets


def test_fundus_is_the_grading_recipe_in_its_order():
    expected = [
        {"name": "horizontal_flip", "p": 0.5},
        {"name": "vertical_flip", "p": 0.5},
        {
            "name": "color_jitter",
            "p": 1.0,
            "brightness": 0.2,
            "contrast": 0.2,
            "saturation": 0.0,
            "hue": 0.0,
        },
        {"name": "random_resized_crop", "p": 1.0, "area": [0.87, 1.15], "aspect": [0.7, 1.3], "size": None},
        {"name": "rotate", "p": 1.0, "degrees": [-180.0, 180.0]},
        {"name": "translate", "p": 1.0, "fraction": 0.2},
    ]
    assert Augmentation("fundus").describe() == expected


def test_strong_radiographs_are_changed_as_often_as_in_the_published_code():
    """Lian et al.: rand-m9-mstd0.5-inc1 (enhancements by up to 1 +- 0.81, each with even odds), erasing with p 0.25."""
    *_, first, second, erasing = PRESETS["radiograph_strong"]
    assert first == second
    assert (first.p, first.length, erasing.p) == (0.5, 1, 0.25)
    kinds = torch.full((2,), POLICY_OPERATIONS.index("brightness"))
    bins = magnitudes(kinds, first.strength, torch.tensor([True, False]))
    factors = magnitude_values("brightness", bins, BINS)
    torch.testing.assert_close(factors, torch.tensor([1.81, 0.19], dtype=torch.float64), atol=0.02, rtol=0)
    assert PRESETS["radiograph"] == PRESETS["radiograph_strong"][:2]


def test_chest_mirrors_nothing():
    names = {operation.name for operation in PRESETS["chest"]}
    assert not names & {"horizontal_flip", "vertical_flip"}
    assert {"rotate", "translate", "zoom", "color_jitter"} <= names


# Recipes


@pytest.mark.parametrize("operations", [*sorted(PRESETS), EVERYTHING])
def test_a_recipe_written_and_read_again_is_the_same(operations):
    parsed = parse_augmentation(operations)
    described = describe_augmentation(parsed)
    assert parse_augmentation(yaml.safe_load(yaml.safe_dump(described))) == parsed
    assert parse_augmentation(json.loads(json.dumps(described))) == parsed


def test_operations_can_be_named_spelled_out_or_given_as_they_are():
    given = ["vertical_flip", {"name": "rotate", "degrees": [-5, 5], "p": 0.25}, GaussianNoise(std=(0, 0.1))]
    assert parse_augmentation(given) == (
        VerticalFlip(),
        Rotate(degrees=(-5, 5), p=0.25),
        GaussianNoise(std=(0, 0.1)),
    )


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            "fundas",
            r"unknown augmentation 'fundas'; did you mean 'fundus'\? \(known: chest, fundus, fundus_both_eyes,",
        ),
        ("rotate", r"unknown augmentation 'rotate'; that is an operation: write it as a list, \[rotate\]"),
        (7, r"augmentation is 7; give a preset"),
        (["rotat"], r"operation 1: unknown operation 'rotat'; did you mean 'rotate'\?"),
        (["rotate", 3], r"operation 2 is 3; give a mapping with a name"),
        ([{"degrees": [0, 1]}], r"operation 1 is .*; give a mapping with a name"),
        (
            [{"name": "rotate", "degree": [0, 1]}],
            r"\(rotate\): unknown parameter 'degree'; did you mean 'degrees'\? \(known: degrees, p\)",
        ),
        (
            [{"name": "rotate", "degrees": [5, -5]}],
            r"degrees = \[5, -5\]; the lower limit 5 is above the upper",
        ),
        (
            [{"name": "rotate", "p": 1.5}],
            r"operation 1 \(rotate\): p = 1.5; input should be less than or equal to 1",
        ),
        ([{"name": "rotate", "degrees": "much"}], r"degrees = 'much'"),
        ([{"name": "zoom", "factor": [0, 2]}], r"factor = \[0, 2\]; the lower limit 0 must be above 0"),
        ([{"name": "hue", "shift": [-0.6, 0]}], r"a hue shift of -0.6 to 0 leaves -0.5 to 0.5"),
        ([{"name": "gaussian_blur", "kernel_size": 4}], r"kernel_size = 4; the kernel size 4 must be odd"),
        (
            [{"name": "random_resized_crop", "area": [1.2, 1.4]}],
            r"no window of at least 1.2 times the image fits",
        ),
        ([{"name": "random_resized_crop", "size": 0}], r"the size 0 x 0 must be at least 1 x 1"),
        ([{"name": "brightness", "factor": [float("nan"), 1]}], r"factor"),
        ([{"name": "resize", "p": 0.5}], r"p = 0.5; input should be greater than or equal to 1"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_line(recipe, message):
    with pytest.raises(InputError, match=message) as caught:
        Augmentation(recipe)
    assert "\n" not in str(caught.value)


def test_a_wrong_size_or_batch_is_refused():
    with pytest.raises(InputError, match="the size 0 x 0 must be at least 1 x 1"):
        Augmentation("none", size=0)
    augment = Augmentation([RandomErasing()])
    with pytest.raises(InputError, match="the batch has no tensor 'image'; its keys are: label"):
        augment({"label": 1}, seeded())
    with pytest.raises(
        InputError, match=r"batch\['image'\] is uint8 \[2, 3, 8, 8\]; give float images in \[0, 1\]"
    ):
        augment({"image": torch.zeros(2, 3, 8, 8, dtype=torch.uint8)}, seeded())


def test_configurations_are_frozen_values():
    with pytest.raises(Exception, match="frozen"):
        Rotate().p = 0.5
    assert Rotate(degrees=(-5, 5)) == Rotate(degrees=(-5.0, 5.0))
    assert hash(Rotate()) == hash(Rotate())
