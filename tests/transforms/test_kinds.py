"""Every transform goes by what a tensor is: what lies on an image stays on it, whatever it is called."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.batch import FELLOW, PARTNER, with_prefix, without_prefix
from modicum.errors import InputError
from modicum.transforms import (
    OPERATIONS,
    Augmentation,
    ColorJitter,
    ElasticMisalignment,
    GeometricOperation,
    HorizontalFlip,
    Misalign,
    MisalignElastic,
    Policy,
    RandAugment,
    RandomErasing,
    RandomResizedCrop,
    RandomScaleCrop,
    Rotate,
    Translate,
    VerticalFlip,
    Zoom,
    apply_views_to_batch,
    blend,
    mixup,
)
from modicum.transforms.views import VIEWS

SIZE = (36, 44)
SEEDS = st.integers(0, 2**31)
MOVING = [kind() for kind in OPERATIONS.values() if issubclass(kind, GeometricOperation)]
CHANGING = [ColorJitter(brightness=0.3, contrast=0.3), RandAugment(), RandomErasing(p=1)]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def image(count=4, seed=0, size=SIZE):
    return torch.rand(count, 3, *size, generator=seeded(seed))


def luminance(images):
    return (images * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)


def levels(images):
    """The image's darkest and brightest quarter as a map of labels."""
    grey = luminance(images)
    return ((grey > 0.6).int() + 2 * (grey < 0.4).int()).to(torch.uint8)


# Geometry


@settings(max_examples=30, deadline=None)
@given(
    SEEDS, st.lists(st.sampled_from(MOVING), min_size=1, max_size=5), st.sampled_from([None, 24, (30, 50)])
)
def test_saliency_stays_on_the_image_that_it_is_the_luminance_of(seed, chain, size):
    batch = {
        "image": image(seed=seed),
        "saliency": luminance(image(seed=seed)),
        "heat": luminance(image(seed=seed))[:, 0],
    }
    moved = Augmentation(chain, size, kinds={"heat": "saliency"})(batch, seeded(seed))
    torch.testing.assert_close(moved["saliency"], luminance(moved["image"]), rtol=0, atol=1e-5)
    torch.testing.assert_close(moved["heat"], moved["saliency"][:, 0], rtol=0, atol=0)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.lists(st.sampled_from([*MOVING, *CHANGING]), min_size=1, max_size=5))
def test_what_belongs_together_moves_alike_under_any_name(seed, chain):
    """Maps of labels under several names, some of them of relatives that no list holds."""
    masks = levels(image(seed=seed))
    batch = {"image": image(seed=seed), "mask": masks, "masks:disc": masks, "zones": masks[:, 0].long()}
    batch |= {"saliency": luminance(image(seed=seed)), "label": torch.arange(4)}
    batch |= with_prefix({**batch, "image": image(seed=seed + 1)}, FELLOW)
    batch |= with_prefix({"image": image(3, seed + 2), "fov": masks[:3] > 0, "zones": masks[:3, 0]}, PARTNER)
    moved = Augmentation(chain, 24, kinds={"zones": "label_map"})(batch, seeded(seed))
    for prefix in ("", FELLOW):
        assert torch.equal(moved[prefix + "mask"], moved[prefix + "masks:disc"])
        assert torch.equal(moved[prefix + "zones"], moved[prefix + "mask"][:, 0].long())
        assert moved[prefix + "label"] is batch[prefix + "label"]
    assert torch.equal(moved["partner_fov"][:, 0], moved["partner_zones"] > 0)
    assert {moved[name].dtype for name in ("mask", "partner_zones")} == {torch.uint8}
    assert all(value.shape[-2:] == (24, 24) for name, value in moved.items() if value.ndim > 2)


def test_relatives_have_draws_of_their_own_after_the_rows_themselves():
    own = {"image": image(), "mask": levels(image())}
    batch = own | with_prefix(own, FELLOW) | with_prefix(own, PARTNER)
    augment, generator = Augmentation("fundus", 32), seeded(5)
    moved = augment(batch, seeded(5))
    for prefix in ("", FELLOW, PARTNER):  # one after the other, from one generator
        expected = augment(own, generator)
        found = {name: moved[prefix + name] for name in expected}
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not torch.equal(moved["image"], moved["fellow_image"])
    assert not torch.equal(moved["partner_image"], moved["fellow_image"])


@pytest.mark.parametrize("operation", [kind() for kind in OPERATIONS.values()], ids=list(OPERATIONS))
def test_an_operation_alone_does_with_relatives_what_a_pipeline_of_it_does(operation):
    own = {"image": image(), "target": image(seed=3), "saliency": luminance(image())}
    batch = own | with_prefix(own, FELLOW)
    alone, piped = operation(batch, seeded(3)), Augmentation([operation])(batch, seeded(3))
    assert alone.keys() == piped.keys() == batch.keys()
    assert all(torch.equal(alone[name], piped[name]) for name in batch)


def test_a_picture_that_nobody_declared_is_refused_before_anything_moves():
    batch = {"image": image(), "depth": luminance(image())}
    message = r"'depth' \[4, 1, 36, 44\] looks like a picture.*kinds=\{'depth': 'saliency'\}"
    for call in (HorizontalFlip(), Augmentation("fundus"), Augmentation("none", 20), Misalign(), Policy()):
        with pytest.raises(InputError, match=message):
            call({**batch, "target": image()}, seeded())
    with pytest.raises(InputError, match=message):
        mixup(batch, 0.4)
    with pytest.raises(InputError, match=message):
        apply_views_to_batch({**batch, "view": torch.zeros(4).long()}, VIEWS)
    declared = HorizontalFlip(p=1)(batch, seeded(), {"depth": "saliency"})
    assert torch.equal(declared["depth"], batch["depth"].flip(3))
    passed = Augmentation([HorizontalFlip(p=1)], kinds={"depth": "features"})(batch, seeded())
    assert passed["depth"] is batch["depth"]
    with pytest.raises(InputError, match="'salency', which is not a kind of tensor"):
        Augmentation("none", kinds={"depth": "salency"})


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.float64])
def test_types_stay_what_they_are(dtype):
    batch = {
        "image": image(), "mask": levels(image()).to(dtype), "saliency": luminance(image()).double(),
        "boxes": torch.tensor([[[1.0, 2, 9, 9]]]).expand(4, 1, 4), "box_classes": torch.ones(4, 1, dtype=torch.int32),
    }  # fmt: skip
    moved = Augmentation(["rotate", "random_resized_crop"], 20)(batch, seeded())
    assert {name: value.dtype for name, value in moved.items()} == {
        name: value.dtype for name, value in batch.items()
    }


# Colour, cutouts


@pytest.mark.parametrize("operation", CHANGING)
def test_colour_changes_the_image_and_nothing_else(operation):
    batch = {name: image() for name in ("image", "target", "source", "saliency", "mask")}
    changed = operation(batch, seeded())
    assert [name for name in batch if changed[name] is not batch[name]] == ["image"]


def test_a_cutout_erases_all_label_maps_but_the_field_of_view():
    ones = torch.ones(6, 1, *SIZE)
    batch = {"image": image(6), **dict.fromkeys(("mask", "masks:disc", "fov", "zones"), ones)}
    cut = Policy(policies=[[[("cutout", 9)]]], cutout_labels="erase")(batch, seeded(), {"zones": "label_map"})
    assert cut["fov"] is ones
    assert (cut["mask"] == 0).any((1, 2, 3)).all()
    assert torch.equal(cut["mask"], cut["masks:disc"])
    assert torch.equal(cut["mask"], cut["zones"])


# Pairs that do not lie on each other


@pytest.mark.parametrize(
    "operation", [Misalign(interpolation="nearest"), MisalignElastic(sigma=6, interpolation="nearest")]
)
def test_what_lies_on_a_misaligned_image_moves_with_it(operation):
    whole = (image(size=(32, 32)) * 255).round() / 255
    batch = {
        "image": whole,
        "target": whole,
        "mask": (whole[:, 0] * 255).to(torch.uint8),
        "grey": luminance(whole),
    }
    moved = operation(batch, seeded(), {"grey": "label_map"})
    assert torch.equal(moved["mask"], (moved["image"][:, 0] * 255).round().to(torch.uint8))
    torch.testing.assert_close(moved["grey"], luminance(moved["image"]), rtol=0, atol=1e-6)
    assert not torch.equal(moved["image"], moved["target"])


def test_a_misaligned_images_saliency_and_box_move_with_it():
    batch = {"image": torch.zeros(4, 1, 40, 40), "target": torch.zeros(4, 1, 40, 40)}
    batch["image"][:, :, 12:20, 15:30] = 1
    batch |= {"saliency": batch["image"], "boxes": torch.tensor([[[15.0, 12, 30, 20]]]).expand(4, 1, 4)}
    moved = Misalign(level=5)(batch, seeded())
    torch.testing.assert_close(moved["saliency"], moved["image"], rtol=0, atol=1e-6)
    for row in range(4):
        rows, columns = (moved["image"][row, 0] > 0.5).nonzero().unbind(1)
        left, top, right, bottom = moved["boxes"][row, 0].tolist()
        assert left - 0.5 <= columns.min() + 0.5
        assert columns.max() + 0.5 <= right + 0.5
        assert top - 0.5 <= rows.min() + 0.5
        assert rows.max() + 0.5 <= bottom + 0.5
    bent = ElasticMisalignment(sigma=4, background=0.0)({**batch, "boxes": None}, seeded())
    torch.testing.assert_close(bent["saliency"], bent["image"], rtol=0, atol=1e-6)
    with pytest.raises(
        InputError, match="'boxes' cannot be deformed with the image; leave misalign_elastic out"
    ):
        MisalignElastic()(batch, seeded())


# Views


def test_all_that_lies_on_an_image_is_shown_in_its_view():
    whole = image(8, size=(20, 20))
    batch = {
        "image": whole, "target": whole.flip(1), "mask": (whole[:, :1] * 255).to(torch.uint8),
        "saliency": whole[:, 0], "boxes": torch.tensor([[[2.0, 3, 9, 5]]]).expand(8, 1, 4), "view": torch.arange(8),
    }  # fmt: skip
    batch |= with_prefix({"image": whole, "view": torch.zeros(8).long()}, FELLOW) | {"partner_image": whole}
    shown = apply_views_to_batch(batch, VIEWS)
    assert torch.equal(shown["target"], shown["image"].flip(1))
    assert torch.equal(shown["mask"], (shown["image"][:, :1] * 255).to(torch.uint8))
    assert torch.equal(shown["saliency"], shown["image"][:, 0])
    assert torch.equal(shown["fellow_image"], whole)
    assert torch.equal(shown["partner_image"], whole)
    inside = torch.zeros(8, 1, 20, 20)
    inside[:, :, 3:5, 2:9] = 1
    lit = apply_views_to_batch({"image": inside, "view": torch.arange(8)}, VIEWS)["image"]
    for row, (left, top, right, bottom) in enumerate(shown["boxes"][:, 0].round().int().tolist()):
        expected = torch.zeros(20, 20)
        expected[top:bottom, left:right] = 1
        assert torch.equal(lit[row, 0], expected)


def test_a_mask_is_cropped_as_its_image_is():
    half = torch.zeros(3, 1, 64, 64)
    half[:, :, 20:44, 24:50] = 1
    batch = {"image": half, "mask": half.bool(), "view": torch.arange(3)}
    shown = apply_views_to_batch(batch, ("crop1", "crop2", "crop3"))
    assert ((shown["image"] > 0.5) != shown["mask"]).float().mean() < 0.01


# Mixing


def test_blending_goes_by_kind():
    first = {
        "image": torch.ones(2, 1, 4, 4), "target": torch.ones(2, 1, 4, 4), "saliency": torch.ones(2, 1, 4, 4),
        "mask": torch.ones(2, 2, 4, 4), "fov": torch.tensor([True, False]).view(2, 1, 1, 1).expand(2, 1, 4, 4),
        "labels": torch.ones(2, 3), "label": torch.tensor([5, 6]), "row": torch.tensor([0, 1]),
        "boxes": torch.ones(2, 1, 4), "box_classes": torch.ones(2, 1).long(), "features": torch.ones(2, 7),
    }  # fmt: skip
    second = {name: torch.zeros_like(value) for name, value in first.items()} | {
        "fov": torch.ones(2, 1, 4, 4).bool()
    }
    mixed = blend(first, second, 0.75)
    for name in ("image", "target", "saliency", "mask", "labels"):
        assert torch.equal(mixed[name], 0.75 * first[name]), name
    for name in ("label", "row", "features"):
        assert mixed[name] is first[name]
    assert torch.equal(mixed["fov"], first["fov"])
    assert mixed["boxes"].flatten(1).tolist() == [[1, 1, 1, 1, 0, 0, 0, 0]] * 2
    assert mixed["box_classes"].tolist() == [[1, 0]] * 2
    by_row = blend(first, second, torch.tensor([1.0, 0.25]))
    assert by_row["image"].mean((1, 2, 3)).tolist() == [1, 0.25]


def test_a_field_of_view_of_one_of_two_counts_for_both():
    batch = {
        "image": image(2),
        "partner_image": image(2, 1),
        "partner_fov": torch.zeros(2, 1, *SIZE, dtype=torch.bool),
    }
    mixed = blend(batch, without_prefix(batch, PARTNER), 0.5)
    assert not mixed["fov"].any()
    assert mixed["partner_fov"] is batch["partner_fov"]
    with pytest.raises(
        InputError,
        match="the second batch has no 'mask' to blend with \\(keys: fov, image\\); add 'mask' to it",
    ):
        blend({**batch, "mask": torch.ones(2, 1, *SIZE)}, without_prefix(batch, PARTNER), 0.5)


def test_mixup_mixes_whatever_lies_on_the_image_in_one_share_with_one_other():
    level = torch.arange(6).view(6, 1, 1, 1).expand(6, 1, 4, 4) / 6
    batch = {
        "image": level,
        "saliency": level,
        "target": level,
        "map": level,
        "labels": level[:, 0, 0],
        "fellow_image": level,
    }
    torch.manual_seed(3)
    mixed = mixup(batch, 0.4, {"map": "saliency"})
    assert not torch.equal(mixed["image"], level)
    for name in ("saliency", "target", "map"):
        assert torch.equal(mixed[name], mixed["image"]), name
    assert torch.equal(mixed["labels"], mixed["image"][:, 0, 0])
    assert mixed["fellow_image"] is level


def test_flips_alone_are_still_exact_for_all_kinds():
    batch = {"image": image(), "saliency": luminance(image()), "mask": levels(image())}
    for flip, axis in ((HorizontalFlip(p=1), 3), (VerticalFlip(p=1), 2)):
        moved = flip(batch, seeded())
        assert all(torch.equal(moved[name], batch[name].flip(axis)) for name in batch)


def test_what_opens_is_black_in_an_image_and_nothing_in_saliency_and_masks():
    ones = torch.ones(4, 1, 30, 30)
    batch = {"image": ones, "saliency": ones, "mask": ones.long()}
    for operation in (
        Rotate(),
        Translate(fraction=0.4),
        Zoom(factor=(0.4, 0.6)),
        RandomScaleCrop(p=1, factor=(0.5, 0.6)),
    ):
        moved = operation(batch, seeded(4))
        assert all((value == 0).any() for value in moved.values()), operation
    kept = RandomResizedCrop()(batch, seeded())
    assert all((value > 0.9999).all() for value in kept.values())
