"""Lesion-based contrastive learning against the figures of its release."""

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

import modicum
from modicum.data.phantoms import write_fundus_dataset
from modicum.errors import InputError
from modicum.methods.base import Context
from modicum.methods.lesion_contrast import LesionContrast, LesionContrastConfig, projection_head
from modicum.nn import Backbone
from modicum.tasks.encoder import Encoder


def method(backbone: str = "test_resnet", **config) -> LesionContrast:
    torch.manual_seed(0)
    context = Context(Encoder(), lambda: Backbone(backbone, (64, 64)), {}, {}, image_size=(64, 64))
    return LesionContrast(LesionContrastConfig(**config), context)


def count(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_networks_have_the_published_counts():
    made = method("resnet50", patch=32)
    (stage,) = made.stages()
    assert count(stage.encoder) == 23_508_032
    assert count(stage.head) == 4_458_624
    assert count(stage) == 27_966_656, "the release carries an unused classifier of 2,049,000 more"
    assert count(projection_head(2048, kind="linear")) == 262_272
    with torch.no_grad():
        first, second, _ = stage.eval().embed(batch(3))
    assert first.shape == second.shape == (3, 128)


def batch(count=4, boxes=2) -> dict[str, torch.Tensor]:
    """Images whose pixels tell their place: red is the column, green the row, blue the image."""
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    images = torch.stack(
        [
            torch.stack([columns / 64, rows / 64, torch.full((64, 64), (1 + i) / (count + 1))])
            for i in range(count)
        ]
    )
    found = torch.full((count, boxes, 4), torch.nan)
    for i in range(count):
        found[i, : 1 + i % boxes] = torch.tensor([10.0 + 3 * i, 20.0, 15.0 + 3 * i, 26.0])
    return {"image": images, "boxes": found}


@pytest.mark.parametrize("views", ["lesions", "random"])
def test_two_views_are_windows_of_one_image_and_lesions_contain_their_box(views):
    (stage,) = method(views=views, patch=16).stages()
    torch.manual_seed(0)
    shown, rows = stage.views_of(batch())
    assert shown["image"].shape == (8, 3, 16, 16)
    assert rows.tolist() == [0, 1, 2, 3]
    first, second = shown["image"].chunk(2)
    assert not torch.equal(first, second), "the views are drawn separately"
    for i in range(4):
        for view in (first[i], second[i]):
            assert torch.allclose(view[2], torch.tensor((1 + i) / 5)), "of its own image, and inside of it"
            left, top = (round(64 * view[channel, 0, 0].item()) for channel in (0, 1))
            assert torch.allclose(view[0, 0], (left + torch.arange(16)) / 64)
            if views == "lesions":
                assert left <= 10 + 3 * i
                assert 15 + 3 * i <= left + 16
                assert top <= 20
                assert top + 16 >= 26


def test_an_image_gives_one_box_at_a_time_drawn_anew():
    (stage,) = method(patch=16).stages()
    given = batch(1)
    given["boxes"][0] = torch.tensor([[2.0, 2.0, 8.0, 8.0], [40.0, 40.0, 50.0, 50.0]])
    torch.manual_seed(0)
    seen = []
    for _ in range(200):
        boxes, rows = stage._boxes(given)
        assert rows.tolist() == [0]
        seen.append(boxes[0, 0].item())
    assert 60 < seen.count(2.0) < 140
    assert set(seen) == {2.0, 40.0}


def test_several_boxes_of_an_image_are_no_negatives_of_each_other():
    (stage,) = method(patch=16, boxes_per_image=3).stages()
    given = batch(3)
    _, rows = stage._boxes(given)
    assert sorted(rows.tolist()) == [0, 1, 1, 2], "as many as there are, at most three"
    torch.manual_seed(1)
    first, second, rows = stage.eval().embed(given)
    torch.manual_seed(1)
    found = stage.losses(given)["contrast"]
    both = F.normalize(torch.cat([first, second]), dim=1)
    number = rows.repeat(2)
    terms = []
    for i in range(8):
        partner = (i + 4) % 8
        kept = [j for j in range(8) if j == partner or number[j] != number[i]]
        terms.append(torch.logsumexp(both[kept] @ both[i] / 0.07, 0) - both[partner] @ both[i] / 0.07)
    torch.testing.assert_close(found, torch.stack(terms).mean(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("views", "each"), [("random", 1), ("random", 3), ("whole", 1)])
def test_an_encoder_that_says_the_same_of_all_images_has_the_loss_that_is_called_chance(views, each):
    (stage,) = method(patch=16, views=views, boxes_per_image=each).stages()
    for parameter in stage.head[-1].parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.ones_(stage.head[-1].bias)
    found = stage.eval().losses(batch(5))
    assert stage.chance_losses(5)["contrast"] == pytest.approx(found["contrast"].item(), abs=1e-5)


def test_boxes_larger_than_a_patch_are_not_taken():
    (stage,) = method(patch=16).stages()
    given = batch(2)
    given["boxes"][0] = torch.tensor([[0.0, 0.0, 16.5, 4.0], [0.0, 0.0, 4.0, 40.0]])
    _, rows = stage._boxes(given)
    assert rows.tolist() == [1]


def test_both_views_learn_in_one_pass_and_the_head_is_not_kept():
    made = method(patch=16)
    (stage,) = made.stages()
    seen = []
    stage.encoder.register_forward_hook(lambda module, given, found: seen.append(len(given[0])))
    first, second, _ = stage.train().embed(batch())
    assert seen == [8], "one forward pass with shared batch statistics"
    for view in (first, second):
        view.retain_grad()
    stage.losses(batch())["contrast"].backward()
    assert all(parameter.grad is not None for parameter in stage.parameters())
    assert stage.persistent_modules() == ("encoder",)


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    """Made photographs with boxes around all that is marked."""
    folder = tmp_path_factory.mktemp("eyes")
    fractions = {"train": 0.6, "val": 0.2, "test": 0.2}
    path = write_fundus_dataset(
        folder, 20, 64, seed=5, fractions=fractions, grade_probabilities=(1, 0, 1, 0, 0)
    )
    table = pd.read_csv(path, dtype=str)
    cells = []
    for name in table["lesions"]:
        marked = (cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED) > 0).astype(np.uint8)
        things = cv2.connectedComponentsWithStats(marked)[2][1:, :4].tolist()
        cells.append("" if not things else str([[x, y, x + w, y + h] for x, y, w, h in things[:5]]))
    table["boxes"] = cells
    table.drop(columns=["mask", "disc", "lesions"]).to_csv(path, index=False)
    return path


SETTINGS = {
    "backbone": "test_resnet", "weights": "random", "image_size": 64, "leaks": "allow", "workers": 0, "device": "cpu",
    "write_report": False, "resamples": 10, "crop": "none",
}  # fmt: skip


def test_the_encoder_alone_starts_another_method(eyes, tmp_path):
    given = {"patch": 16, "epochs": 2, "batch_size": 6, "validate_every": 1}
    run = modicum.fit(eyes, "lesion_contrast", name="contrast", runs=tmp_path, **given, **SETTINGS)
    assert run.metrics["evaluations"] == {}
    assert run.metrics["selection"]["metric"] == "loss"
    encoder = run.method().predictor()
    again = modicum.fit(
        eyes, "linear", name="probe", runs=tmp_path, epochs=1, **{**SETTINGS, "weights": f"run:{run.path}"}
    )
    assert again.metrics["evaluations"]["test"]["images"] > 0
    probe = again.method().predictor().backbone
    for name, tensor in encoder.body.state_dict().items():
        assert torch.equal(tensor, probe.body.state_dict()[name]), name
    with pytest.raises(InputError, match="has learned an encoder, which predicts nothing"):
        run.predict(eyes, tmp_path / "no.csv")
    page = run.report().read_text()
    assert "loss" in page
    assert "What it learns from" in page
    sheet = cv2.imread(str(run.path / "previews" / "contrast.png"))
    side = 16 * 6  # enlarged until a view has 96 pixels
    assert sheet.shape == (6 * (side + 4) - 4, 4 * (side + 4) - 4, 3), (
        "six images, two views as cut and as augmented"
    )
    assert (sheet[side : side + 4] == 255).all()


def test_without_boxes_it_says_how_to_learn_without(eyes, tmp_path):
    table = pd.read_csv(eyes, dtype=str).drop(columns="boxes")
    table["image"] = [str(eyes.parent / name) for name in table["image"]]
    table.to_csv(tmp_path / "plain.csv", index=False)
    given = {**SETTINGS, "epochs": 1, "batch_size": 6, "patch": 16, "runs": tmp_path, "allow_outside": True}
    with pytest.raises(InputError, match="learn without: --set views=random"):
        modicum.fit(tmp_path / "plain.csv", "lesion_contrast", name="no", **given)
    run = modicum.fit(tmp_path / "plain.csv", "lesion_contrast", name="whole", views="whole", **given)
    assert run.metrics["stages"]["contrast"]
