"""Every task that is evaluated is cross-validated: each image is held out once, with the metrics of its task."""

import numpy as np
import pandas as pd
import pytest
import torch
from cross_validations import cross_validate, made
from scipy.special import logit, softmax
from sklearn.metrics import roc_auc_score

from modicum.tasks import Classification
from modicum.tasks.detection.fusion import fused_boxes
from modicum.tasks.segmentation.pixels import averaged_logits

UNET = {"unet_channels": [8, 8], "attention_levels": [], "blocks_per_level": 1}


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    """Segmentation with a given test split, in two folds."""
    data = made("segmentation", tmp_path_factory.mktemp("masks"), test_split=True)
    given = {"decoder_width": 16, "folds": 2, "write_report": False}
    return data, cross_validate(data, tmp_path_factory.mktemp("runs"), "masks", "segment", **given)


def test_with_a_test_split_every_other_image_validates_once_and_the_ensemble_is_tested(masks):
    data, done = masks
    table = pd.read_csv(data, dtype=str)
    tested, metrics = table[table["split"] == "test"], done.metrics
    assert sorted(done.table["image"]) == sorted(set(table["image"]) - set(tested["image"]))
    assert metrics["held_out"] == "val"
    assert metrics["cautions"][0].startswith("The data have a test split, so each fold's images validated")
    assert metrics["ensemble"]["test"]["images"] == len(tested)
    assert done.ensemble.metrics["evaluations"]["test"] == metrics["ensemble"]["test"]
    for run in done.folds:
        rows = pd.read_csv(run.path / "manifest.csv", dtype=str)
        assert set(rows.loc[rows["split"] == "test", "image"]) == set(tested["image"])
    values = [run.metrics["evaluations"]["test"]["metrics"]["dice"]["value"] for run in done.folds]
    assert metrics["test_across_folds"]["dice"]["mean"] == pytest.approx(np.mean(values))


def test_the_metric_of_masks_is_the_mean_of_the_images_in_the_table(masks):
    _, done = masks
    assert done.metrics["out_of_fold"]["metrics"]["dice"]["value"] == pytest.approx(done.table["dice"].mean())
    own = [pd.read_csv(run.path / "evaluations" / "val" / "predictions.csv") for run in done.folds]
    own = pd.concat(own).set_index("image")["dice"]
    np.testing.assert_allclose(done.table["dice"], own[done.table["image"]], atol=1e-6)


def test_the_ensemble_of_masks_is_the_mean_of_probabilities(masks):
    _, done = masks
    images = torch.rand(2, done.ensemble.method().context.task.channels, 32, 32)
    with torch.no_grad():
        mean = sum(run.method().predictor().eval()(images).sigmoid() for run in done.folds) / 2
        torch.testing.assert_close(done.ensemble.method().predictor().eval()(images).sigmoid(), mean)


def test_the_mean_of_logits_is_of_what_they_mean():
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 2, 4, 5, 6)))
    mean = softmax(logits.numpy(), 2).mean(0)
    np.testing.assert_allclose(averaged_logits(logits, True).softmax(1), mean, atol=1e-6)
    apart = averaged_logits(logits, False)
    np.testing.assert_allclose(apart, logit(logits.sigmoid().numpy().mean(0)), atol=1e-5)


TASKS = {
    "anomaly": ("padim", {}, "auroc"),
    "detection": ("detect", {}, "map_50"),
    "image-to-image": ("restoration_unet", UNET, "psnr"),
}


@pytest.fixture(scope="module", params=TASKS)
def of_task(request, tmp_path_factory):
    """A cross-validation in two folds, and its data."""
    method, given, metric = TASKS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    data = made(request.param, folder / "data")
    done = cross_validate(data, folder, "x", method, folds=2, write_report=False, **given)
    return request.param, data, done, metric


def test_other_tasks_hold_every_image_out_once(of_task):
    task, data, done, metric = of_task
    table, metrics = done.table, done.metrics
    given_rows = pd.read_csv(data, dtype=str)
    if task == "detection":  # an image of which nothing is said is not scored
        given_rows = given_rows.dropna(subset="boxes")
    assert sorted(table["image"]) == sorted(given_rows["image"])
    assert metrics["out_of_fold"]["metrics"][metric]["value"] is not None
    if task == "anomaly":
        truth = table["truth"] != "healthy"
        assert metrics["out_of_fold"]["metrics"]["auroc"]["value"] == pytest.approx(
            roc_auc_score(truth, table["score"])
        )


def normal_scale(run):
    """Mean and standard deviation of a run's scores of its own normal validation images."""
    table = pd.read_csv(run.path / "evaluations" / "val" / "predictions.csv")
    scores = table.loc[table["truth"] == "healthy", "score"]
    return scores.mean(), scores.std()


def test_their_ensemble_is_the_mean_of_scores_and_pictures_and_fused_boxes(of_task):
    task, _, done, _ = of_task
    both = [run.method().predictor().eval() for run in done.folds]
    images = torch.rand(3, done.ensemble.method().context.task.channels, 32, 32)
    with torch.no_grad():
        joined = done.ensemble.method().predictor().eval()(images)
        outputs = [predictor(images) for predictor in both]
    if task == "anomaly":
        scales = [normal_scale(run) for run in done.folds]
        standard = [(part - mean) / std for part, (mean, std) in zip(outputs, scales, strict=True)]
        torch.testing.assert_close(joined, torch.stack(standard).mean(0).float(), rtol=1e-4, atol=1e-3)
    elif task == "detection":
        for number, found in enumerate(joined.numpy()):
            fused = fused_boxes([part[number].numpy() for part in outputs], 0.55)
            np.testing.assert_allclose(found[np.isfinite(found).all(1)], fused, rtol=1e-5)
    else:
        torch.testing.assert_close(joined, torch.stack(outputs).clamp(0, 1).mean(0))


def test_their_ensemble_predicts_and_evaluates_and_reports(of_task, tmp_path):
    task, data, done, metric = of_task
    run = done.ensemble
    table = pd.read_csv(data, dtype=str)
    columns = {name: name for name in ("boxes", "target") if name in table}
    images = [data.parent / name for name in table["image"][:2]]
    summary = run.predict(images, tmp_path / "out" if task == "image-to-image" else tmp_path / "found.csv")
    assert (summary.predicted, summary.broken) == (2, 0)
    content = run.evaluate(data, workers=0, split="all", **columns)
    assert content["metrics"][metric]["value"] is not None
    assert run.path.name in run.report().read_text()
    if task == "anomaly":  # chosen on scores in the ensemble's own unit
        held = done.table.loc[done.table["truth"] == "healthy"].set_index("image")
        scales = [normal_scale(one) for one in done.folds]
        standard = [
            (score - scales[fold - 1][0]) / scales[fold - 1][1]
            for score, fold in zip(held["score"], held["fold"], strict=True)
        ]
        threshold = run.method().context.task.threshold
        assert min(standard) < threshold.value
        assert np.mean(np.array(standard) < threshold.value) >= 0.95


def test_pooled_findings_keep_each_networks_own_thresholds_and_temperature():
    """Two networks of other scales: the same image is called by one's threshold and not by the other's."""
    from modicum.tasks.classification.operating_points import OperatingPoints

    generator = np.random.default_rng(1)
    parts, said, probabilities, truths = [], [], [], []
    for number, (threshold, temperature) in enumerate(((0.2, 0.5), (0.7, 3.0))):
        points = OperatingPoints((threshold, threshold), temperature, "validation")
        task = Classification("multi-label", ("a", "b"), points=points)
        logits = torch.from_numpy(generator.normal(size=(30, 2)))
        truth = torch.from_numpy((generator.random((30, 2)) < 0.5).astype(np.float32))
        rows = torch.arange(number, 60, 2)
        scores = task.scores()
        scores.update(logits, {"row": rows, "labels": truth})
        parts.append(scores)
        p = (logits / temperature).sigmoid().numpy()
        probabilities.append(pd.DataFrame(p, index=rows.numpy()))
        said.append(pd.DataFrame(p >= threshold, index=rows.numpy()))
        truths.append(pd.DataFrame(truth.numpy(), index=rows.numpy()))
    parts[0].pool(parts[1:])
    p, said, truth = (pd.concat(frames).sort_index() for frames in (probabilities, said, truths))
    table, metrics = parts[0].table(), parts[0].metrics()
    np.testing.assert_allclose(table[["p_a", "p_b"]], p, atol=1e-12)
    assert table["prediction"].tolist() == [
        "|".join(name for name, is_said in zip("ab", row, strict=True) if is_said) for row in said.to_numpy()
    ]
    assert metrics["auroc/a"] == pytest.approx(roc_auc_score(truth[0], p[0]))
    has = truth[1] == 1
    assert metrics["sensitivity/b"] == pytest.approx(said[1][has].mean())
    some = parts[0].of_rows(np.arange(20)).metrics()
    assert some["sensitivity/b"] == pytest.approx(said[1][:20][has[:20]].mean())
