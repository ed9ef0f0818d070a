"""LesionPaste, CutPaste and deviation networks as methods: counts, runs on files, and bad input."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

import modicum
from modicum.errors import InputError
from modicum.methods.base import Context
from modicum.methods.cutpaste import CutPaste, CutPasteConfig
from modicum.methods.deviation import Deviation, DeviationConfig, deviation_loss
from modicum.methods.lesionpaste import LesionPasteConfig, LesionPasteMethod
from modicum.nn import Backbone
from modicum.nn.local_contrast import local_contrast
from modicum.tasks.anomaly.task import Anomaly
from modicum.transforms.cut_paste import cut_paste

SIDE = 48
SMALL = {
    "backbone": "test_resnet", "weights": "random", "image_size": SIDE, "epochs": 2, "batch_size": 8, "leaks": "allow",
    "resamples": 20, "workers": 0, "device": "cpu", "contrast": "none",
}  # fmt: skip


def reference(masks=("masks:MA", "masks:HE"), count=1) -> dict[str, torch.Tensor]:
    marked = torch.zeros(count, 1, SIDE, SIDE, dtype=torch.uint8)
    marked[:, :, 20:24, 20:25] = marked[:, :, 30:32, 10:13] = 255
    images = torch.full((count, 3, SIDE, SIDE), 0.4)
    return {"image": images, "label": torch.ones(count, dtype=torch.int64), **dict.fromkeys(masks, marked)}


def context(given=None, backbone="test_resnet", **more) -> Context:
    return Context(
        Anomaly(("0",), ("1",)),
        lambda: Backbone(backbone, (SIDE, SIDE)),
        {},
        {},
        image_size=(SIDE, SIDE),
        reference=lambda: reference() if given is None else given,
        **more,
    )


def count(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_reference_network_has_the_published_counts():
    with torch.device("meta"):
        vgg = Backbone("vgg16", (SIDE, SIDE))
    assert count(vgg.body.features) == 14_714_688
    from modicum.methods.lesionpaste.network import _vgg_head

    with torch.device("meta"):
        head = _vgg_head(512)
    assert [count(layer) for layer in head if count(layer)] == [102_764_544, 16_781_312, 8_194]
    assert count(vgg.body.features) + count(head) == 134_268_738


def test_training_and_prediction_see_the_same_pixels_of_a_file():
    # The release normalises test images only.
    made = LesionPasteMethod(LesionPasteConfig(contrast="none", blend=0.0), context())
    (stage,) = made.stages()
    images = torch.rand(3, 3, SIDE, SIDE)
    seen = []
    stage.network.features = lambda pixels, features=stage.network.features: (
        seen.append(pixels) or features(pixels)
    )
    stage.train().losses({"image": images, "row": torch.arange(3)})
    made.predictor().eval()(images)
    assert torch.equal(seen[0][:3], seen[1])


def test_with_nothing_pasted_both_halves_are_the_same_images():
    made = LesionPasteMethod(LesionPasteConfig(blend=0.0), context())
    (stage,) = made.stages()
    images, masks = stage.synthesised({"image": torch.rand(4, 3, SIDE, SIDE), "row": torch.arange(4)})
    assert torch.equal(images[:4], images[4:]), (
        "AUROC is one half whatever is learned: no trace of the pasting itself"
    )
    assert masks[4:].any()


def test_validation_images_get_the_same_lesions_in_every_epoch_and_training_images_new_ones():
    (stage,) = LesionPasteMethod(LesionPasteConfig(), context()).stages()
    batch = {"image": torch.rand(4, 3, SIDE, SIDE), "row": torch.arange(4)}
    stage.eval()
    assert torch.equal(stage.synthesised(batch)[0], stage.synthesised(batch)[0])
    stage.train()
    torch.manual_seed(0)
    first, second = stage.synthesised(batch)[0], stage.synthesised(batch)[0]
    torch.manual_seed(0)
    assert torch.equal(first, stage.synthesised(batch)[0])
    assert not torch.equal(first, second)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_black_and_white_images_are_pasted_into_and_scored(value):
    made = LesionPasteMethod(LesionPasteConfig(organ="threshold"), context())
    (stage,) = made.stages()
    batch = {"image": torch.full((2, 3, SIDE, SIDE), value), "row": torch.arange(2)}
    assert all(torch.isfinite(loss) for loss in stage.losses(batch).values())
    assert torch.isfinite(made.predictor().eval()(batch["image"])).all()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "no row has the split 'reference'"),
        ({"image": torch.zeros(1, 3, 8, 8)}, "no mask of their lesions"),
        (
            {
                **reference(),
                "masks:MA": torch.zeros(1, 1, SIDE, SIDE),
                "masks:HE": torch.zeros(1, 1, SIDE, SIDE),
            },
            "mark nothing",
        ),
        ({**reference(), "image": torch.full((1, 3, SIDE, SIDE), torch.nan)}, "NaN"),
    ],
)
def test_what_is_no_annotated_image_is_refused_in_one_line(given, words):
    with pytest.raises(InputError, match=words) as error:
        LesionPasteMethod(LesionPasteConfig(contrast="none"), context(given))
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"severity of 'XX'"):
        LesionPasteMethod(LesionPasteConfig(severity={"XX": 3}), context())


def test_maps_come_with_the_second_loss():
    assert not hasattr(LesionPasteMethod(LesionPasteConfig(), context()).predictor(), "maps")
    made = LesionPasteMethod(LesionPasteConfig(segmentation_weight=0.5), context())
    (stage,) = made.stages()
    losses = stage.losses({"image": torch.rand(2, 3, SIDE, SIDE), "row": torch.arange(2)})
    assert set(losses) == {"classification", "segmentation"}
    found = made.predictor().eval().maps(torch.rand(2, 3, SIDE, SIDE))["anomaly"]
    assert 0 <= found.min() <= found.max() <= 1


def test_local_contrast_is_that_of_opencv():
    image = cv2.GaussianBlur(np.random.default_rng(0).random((240, 240, 3)).astype(np.float32), (0, 0), 3)
    own = local_contrast(torch.from_numpy(image.transpose(2, 0, 1))[None])[0].numpy().transpose(1, 2, 0)
    mean = cv2.GaussianBlur(image, (0, 0), 240 / 30)
    expected = np.clip(4 * (image - mean) + 128 / 255, 0, 1)
    inside = np.hypot(*(np.mgrid[:240, :240] - 119.5)) < 0.8 * 120
    assert np.abs(own - expected)[inside].mean() < 1.5 / 255
    assert own[0, 0, 0] == pytest.approx(128 / 255)


# --- on files ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Grey discs with texture; grades 1 and 2 have one and three dark spots. One of grade 2 is annotated."""
    folder = tmp_path_factory.mktemp("discs")
    generator = np.random.default_rng(0)
    splits = {"train": (10, 0, 0), "val": (6, 2, 2), "test": (6, 6, 6), "reference": (0, 0, 1)}
    rows = []
    for split, counts in splits.items():
        for grade, number in enumerate(counts):
            for index in range(number):
                name = f"{split}{grade}{index}.png"
                pixels = np.zeros((SIDE, SIDE), np.float32)
                cv2.circle(pixels, (24, 24), 23, 0.6, -1)
                pixels += generator.normal(0, 0.02, pixels.shape) * (pixels > 0)
                mask = np.zeros((SIDE, SIDE), np.uint8)
                for x, y in generator.integers(14, 34, ((0, 1, 3)[grade], 2)).tolist():
                    cv2.circle(mask, (x, y), 3, 255, -1)
                pixels[mask > 0] = 0.2
                cv2.imwrite(str(folder / name), (255 * pixels).clip(0, 255).astype(np.uint8))
                row = {"image": name, "label": grade, "split": split, "patient": f"{split}{grade}{index}"}
                if split == "reference" or (split == "test" and grade):
                    cv2.imwrite(str(folder / f"m{name}"), mask)
                    row["mask"] = f"m{name}"
                rows.append(row)
    table = folder / "discs.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    return table


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return modicum.fit(
        data, "lesionpaste", runs=tmp_path_factory.mktemp("runs"), name="r", segmentation_weight=1.0, **SMALL
    )


def test_a_run_scores_grades_and_pixels_and_chooses_its_threshold_on_normal_images(run):
    found = json.loads((run.path / "metrics.json").read_text())
    scores = found["evaluations"]["test"]["metrics"]
    assert {"auroc", "auroc/1", "auroc/2", "pixel_auroc", "pro"} <= set(scores)
    assert all(scores[name]["value"] is not None for name in ("auroc/1", "pixel_auroc", "pro"))
    assert found["evaluations"]["test"]["resampling_unit"] == "patient"
    bank = found["findings"]["paste"]["lesion_bank"]
    assert 1 <= bank["types"]["lesion"]["lesions"] <= 3
    assert bank["pictures"]["pasted"].startswith("data:image/jpeg")
    task = json.loads((run.path / "model.json").read_text())["task"]
    assert task["threshold"]["from"] == "validation"
    assert task["threshold"]["images"] == 6
    val = pd.read_csv(run.path / "evaluations" / "val" / "predictions.csv", dtype={"truth": str})
    normal = val[val["truth"] == "0"]["score"]
    assert (normal <= task["threshold"]["value"] + 1e-6).all(), "95 % of 6 is all of them"


def test_its_page_shows_scores_and_the_bank(run):
    page = (run.path / "report.html").read_text()
    for words in ("Scores of each group", "Lesions that are pasted", "Pixel AUROC", "from a score of"):
        assert words in page, words


def test_new_images_get_a_score_and_a_map(run, data, tmp_path):
    run.predict([data.parent / "test20.png"], tmp_path / "p.csv", maps=tmp_path / "maps", device="cpu")
    row = pd.read_csv(tmp_path / "p.csv").iloc[0]
    assert 0 <= row["score"] <= 1, "a probability"
    assert row["prediction"] in ("0", 0, "abnormal")
    written = cv2.imread(str(tmp_path / "maps" / row["map"]), cv2.IMREAD_UNCHANGED)
    assert written.shape == (SIDE, SIDE)


def changed(data, tmp_path, change) -> str:
    table = pd.read_csv(data, dtype=str)
    table["image"] = [str(data.parent / name) for name in table["image"]]
    table["mask"] = [str(data.parent / name) if isinstance(name, str) else name for name in table["mask"]]
    path = tmp_path / "changed.csv"
    change(table, tmp_path).to_csv(path, index=False)
    return str(path)


def with_small_mask(table, folder):
    cv2.imwrite(str(folder / "small.png"), np.full((9, 9), 255, np.uint8))
    return table.assign(mask=table["mask"].where(table["split"] != "reference", str(folder / "small.png")))


def with_reference_in_test(table, folder):
    again = table[table["split"] == "reference"].assign(split="test", patient="other")
    file = folder / "again.png"
    cv2.imwrite(str(file), cv2.imread(again["image"].iloc[0], cv2.IMREAD_UNCHANGED))
    return pd.concat([table, again.assign(image=str(file))])


@pytest.mark.parametrize(
    ("change", "more", "words"),
    [
        (with_small_mask, {}, "is 9 x 9 pixels, the image 48 x 48"),
        (with_reference_in_test, {"leaks": "error"}, "leak|in several splits|duplicate"),
        (lambda t, f: t[t["split"] != "reference"], {}, "no row has the split 'reference'"),
        (lambda t, f: t[(t["split"] != "train") | (t["label"] != "0")], {}, "split 'train' is empty"),
        (
            lambda t, f: t.assign(label=t["label"].map({"0": "a", "1": "b", "2": "c"})),
            {},
            "none reads as normal",
        ),
    ],
)
def test_bad_data_end_in_one_line(data, tmp_path, change, more, words):
    path = changed(data, tmp_path, change)
    with pytest.raises(InputError, match=words) as error:
        modicum.fit(path, "lesionpaste", runs=tmp_path, name="r", allow_outside=True, **{**SMALL, **more})
    assert "\n" not in str(error.value)


def test_the_supervised_bound_is_full_on_the_same_task(data, tmp_path):
    path = changed(data, tmp_path, lambda t, f: t.assign(split=t["split"].replace("reference", "train")))
    small = {key: value for key, value in SMALL.items() if key != "contrast"}
    bound = modicum.fit(path, "full", task="anomaly", runs=tmp_path, name="r", allow_outside=True, **small)
    assert "auroc/1" in bound.metrics["evaluations"]["test"]["metrics"]


# --- rivals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scar", [False, True])
def test_cutpaste_changes_one_place_of_each_image(scar):
    images = torch.rand(12, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    made = cut_paste(images, torch.Generator().manual_seed(0), scar)
    changed = (made != images).any(1)
    share = changed.float().mean((1, 2))
    assert (share > 0).all()
    assert share.max() <= (0.05 if scar else 0.16), "a patch has 2 to 15 % of the area"
    assert torch.equal(made, cut_paste(images, torch.Generator().manual_seed(0), scar))


def test_cutpaste_scores_by_the_mahalanobis_distance():
    made = CutPaste(CutPasteConfig(shrinkage=0.1), context())
    _, density = made.stages()
    predictor = made.predictor().eval()
    images = torch.rand(600, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        density.on_pass_start(0)
        for part in images.split(100):
            density.see({"image": part})
        features = predictor.encoder(images).double()
        density.finish()
        found = predictor(images)[:, 0].double()
    away = (features - features.mean(0)).numpy()
    covariance = np.cov(away.T, bias=True)
    shrunk = 0.9 * covariance + 0.1 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    expected = [one @ np.linalg.solve(shrunk, one) for one in away]
    assert np.allclose(found, expected, rtol=1e-3)


def test_the_deviation_loss_is_its_formula():
    prior = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    scores, abnormal = torch.tensor([0.5, -1.0, 2.0, 9.0]), torch.tensor([False, False, True, True])
    deviation = (scores - prior.mean()) / prior.std()
    expected = (deviation[0].abs() + deviation[1].abs() + 5 - deviation[2] + 0) / 4
    assert deviation_loss(scores, abnormal, prior).item() == pytest.approx(expected.item())


def test_deviation_needs_an_abnormal_image_and_scores_by_the_highest_places():
    with pytest.raises(InputError, match="no abnormal row has the split 'reference'"):
        Deviation(DeviationConfig(), context({}))
    healthy = {**reference(), "label": torch.zeros(1, dtype=torch.int64)}
    with pytest.raises(InputError, match="no abnormal row"):
        Deviation(DeviationConfig(), context(healthy))
    network = Deviation(DeviationConfig(top=1.0), context()).predictor().eval()
    images = torch.rand(2, 3, SIDE, SIDE)
    assert torch.allclose(network(images)[:, 0], network.places(images).mean((1, 2)))
