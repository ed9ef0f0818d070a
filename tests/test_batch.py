"""What names in a batch stand for, and the inputs of relatives among them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modicum.batch import (
    FELLOW,
    KINDS,
    PARTNER,
    Kind,
    box_classes_of,
    check_pictures,
    for_each_relative,
    kind_of,
    names_of,
    with_prefix,
    without_prefix,
)
from modicum.errors import InputError

PREFIXES = st.lists(st.sampled_from([FELLOW, PARTNER]), max_size=3).map("".join)
IMAGE = torch.rand(2, 3, 8, 12)


@given(PREFIXES, st.sampled_from(sorted(KINDS)))
def test_a_relatives_input_is_what_it_is_of_the_row_itself(prefixes, name):
    assert kind_of(prefixes + name) == KINDS[name]
    assert kind_of(f"{prefixes}masks:optic disc") is Kind.LABEL_MAP
    assert kind_of(f"{prefixes}heatmap") is None
    assert kind_of(f"{prefixes}heatmap", {"heatmap": "saliency"}) is Kind.SALIENCY


def test_what_is_declared_goes_before_the_convention_and_can_be_of_one_relative_only():
    assert kind_of("mask", {"mask": "image"}) is Kind.IMAGE
    assert kind_of("fellow_mask", {"fellow_mask": Kind.SALIENCY}) is Kind.SALIENCY
    assert kind_of("mask", {"fellow_mask": "saliency"}) is Kind.LABEL_MAP


def test_a_kind_that_does_not_exist_is_refused_with_the_nearest():
    with pytest.raises(
        InputError,
        match="'heatmap' is declared as 'salency', which is not a kind of tensor; did you mean 'saliency'",
    ):
        kind_of("heatmap", {"heatmap": "salency"})


@given(PREFIXES.filter(bool), st.dictionaries(st.sampled_from(sorted(KINDS)), st.integers()))
def test_prefixes_come_on_and_off(prefix, batch):
    assert without_prefix(with_prefix(batch, prefix), prefix) == batch
    assert without_prefix({**batch, **with_prefix(batch, prefix)}, prefix) == batch


def test_names_are_found_by_their_kind_in_the_order_of_the_batch():
    batch = {"fov": 1, "image": 2, "label": 3, "mask": 4, "partner_mask": 5, "extra": 6, "saliency": None}
    assert names_of(batch, Kind.LABEL_MAP) == ["fov", "mask", "partner_mask"]
    assert names_of(batch, Kind.IMAGE, Kind.SALIENCY, kinds={"extra": "saliency"}) == ["image", "extra"]


def test_classes_are_called_after_their_boxes():
    assert [box_classes_of(name) for name in ("boxes", "lesion_boxes", "nodules")] == [
        "box_classes", "lesion_box_classes", "nodules_classes",
    ]  # fmt: skip


def test_each_relative_is_changed_on_its_own_with_its_own_kinds():
    batch = {
        "image": IMAGE, "label": 1, "fellow_image": IMAGE, "fellow_map": 2, "partner_label": 3,
        "partner_image": IMAGE, "partner_fellow_image": IMAGE, "fellow_missing": 4,
    }  # fmt: skip
    seen = []

    def change(part, kinds):
        seen.append((sorted(part), dict(kinds)))
        return {name: (name, value) for name, value in part.items()}

    changed = for_each_relative(batch, change, {"map": "saliency", "fellow_map": "label_map"})
    assert {name: value[0] for name, value in changed.items()} == {
        name: name.removeprefix("partner_").removeprefix("fellow_") for name in batch
    }
    assert [names for names, _ in seen] == [
        ["image", "label"],
        ["image", "map", "missing"],
        ["image", "label"],
        ["image"],
    ]
    assert seen[1][1]["map"] is Kind.LABEL_MAP
    assert seen[2][1]["map"] is Kind.SALIENCY


def test_a_relative_without_an_image_stays_as_it_is():
    batch = {"image": IMAGE, "fellow_label": 1}
    assert for_each_relative(batch, lambda part, _: dict.fromkeys(part, 0)) == {"image": 0, "fellow_label": 1}


@pytest.mark.parametrize("name", ["depth", "fellow_depth", "partner_depth"])
@pytest.mark.parametrize("shape", [(2, 8, 12), (2, 1, 8, 12), (2, 5, 4, 8, 12)])
def test_what_looks_like_a_picture_and_has_no_kind_is_refused_by_name_shape_and_remedy(name, shape):
    batch = {"image": IMAGE, name: torch.zeros(shape)}
    with pytest.raises(InputError) as caught:
        check_pictures(batch)
    text = str(caught.value)
    assert f"'{name}' {list(shape)} looks like a picture" in text
    assert f"kinds={{'{name}': 'saliency'}}" in text
    check_pictures({**batch, f"{name.removesuffix('depth')}image": IMAGE}, {"depth": "features"})


@pytest.mark.parametrize(
    "value", [torch.zeros(2), torch.zeros(2, 12), torch.zeros(2, 8, 8), torch.zeros(8, 12), ["a", "b"]]
)
def test_what_is_no_picture_needs_no_kind(value):
    check_pictures({"image": IMAGE, "extra": value})


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"mask": torch.zeros(2, 8, 8)}, r"'mask' is 8 x 8 pixels, and its image 8 x 12; give 'mask' the image's size"),
        ({"target": torch.zeros(2, 8, 12)}, r"'target' of kind image is float32 \[2, 8, 12\]"),
        ({"saliency": torch.zeros(2, 1, 8, 12, dtype=torch.uint8)}, "'saliency' of kind saliency is uint8"),
        ({"boxes": torch.zeros(2, 5, 5)}, r"'boxes' of kind boxes is float32 \[2, 5, 5\]; give float \[batch, boxes"),
        ({"boxes": torch.zeros(2, 5, 4).long()}, "'boxes' of kind boxes is int64"),
        ({"points": torch.zeros(2, 2)}, "'points' of kind points"),
        ({"fellow_mask": torch.zeros(2, 8, 12)}, "has 'fellow_mask' and no 'fellow_image' for it to move with"),
        ({"fellow_boxes": torch.zeros(2, 1, 4)}, "has 'fellow_boxes' and no 'fellow_image'"),
        (
            {"fellow_image": torch.zeros(2, 3, 6, 6), "fellow_mask": torch.zeros(2, 8, 12)},
            "'fellow_mask' is 8 x 12 pixels, and its image 6 x 6",
        ),
    ],
)  # fmt: skip
def test_what_cannot_lie_on_its_image_is_refused(batch, message):
    with pytest.raises(InputError, match=message):
        check_pictures({"image": IMAGE, **batch})
