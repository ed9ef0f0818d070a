"""SPMix from files to answers: run folder, report, use without saliency, comparison, bad columns."""

import json
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
import safetensors.torch

import modicum
from modicum.errors import InputError

COUNTS = {"train": (12, 6, 2), "val": (2, 2, 1), "test": (2, 2, 2)}
SETTINGS = {
    "backbone": "test_resnet", "weights": "random", "image_size": 16, "epochs": 1, "batch_size": 8, "resamples": 20,
    "head_above": 10, "tail_below": 3, "leaks": "allow",
}  # fmt: skip
SPMIX = {
    "queue": 16,
    "projection": 8,
    "projection_width": 16,
    "query_augment": "none",
    "key_augment": "none",
    "patch": 4,
}


@pytest.fixture(scope="module")
def lesions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lesions")
    generator, rows = np.random.default_rng(0), []
    for split, counts in COUNTS.items():
        for label, count in enumerate(counts):
            for number in range(count):
                image = generator.integers(150, 220, (16, 16, 3), dtype=np.uint8)
                mask = np.zeros((16, 16), np.uint8)
                mask[4:10, 4 + label : 10 + label] = 255
                image[mask > 0] //= 2 + label
                name = f"{split}{label}{number}"
                cv2.imwrite(str(folder / f"{name}.png"), image)
                cv2.imwrite(str(folder / f"{name}_lesion.png"), mask)
                rows.append((f"{name}.png", f"class{label}", split, f"{name}_lesion.png"))
    table = pd.DataFrame(rows, columns=["image", "label", "split", "lesion"])
    table.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


@pytest.fixture(scope="module")
def run(lesions, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    return modicum.fit(lesions, method="spmix", runs=runs, name="spmix", **SETTINGS, **SPMIX)


def test_a_run_keeps_the_network_alone_and_counts_the_tail(run):
    tensors = safetensors.torch.load_file(run.path / "weights.safetensors")
    assert all(name.startswith("tune.network.") for name in tensors)
    metrics = json.loads((run.path / "metrics.json").read_text())
    test = metrics["evaluations"]["test"]["metrics"]
    assert {"head_accuracy", "medium_accuracy", "tail_accuracy", "macro_f1"} <= set(test)
    assert json.loads((run.path / "model.json").read_text())["task"]["class_groups"]["members"] == {
        "head": ["class0"], "medium": ["class1"], "tail": ["class2"],
    }  # fmt: skip


def test_saliency_is_computed_once_whatever_the_network_the_seed_or_the_mixing(run, lesions, monkeypatch):
    from modicum.methods.spmix import saliency_stage

    settings = {**SETTINGS, **SPMIX, "backbone": "test_vit", "image_size": 16, "resamples": 0, "seed": 1}
    whole = saliency_stage.fine_grained_saliency
    asked = []
    monkeypatch.setattr(
        saliency_stage, "fine_grained_saliency", lambda *a: asked.append(len(a[0])) or whole(*a)
    )
    modicum.fit(lesions, method="spmix", runs=run.path.parent, name="again", write_report=False, **settings)
    assert sum(asked) <= 1  # the first, for the shape of a record


def test_answers_need_no_saliency(run, lesions, tmp_path):
    stores = run.path.parent / ".stores"
    assert list(stores.glob("features-*"))  # saliency of all images, once
    shutil.rmtree(stores)
    images = sorted(lesions.parent.glob("test*[0-9].png"))
    assert run.predict(images, tmp_path / "answers.csv").predicted == len(images)


def test_the_report_shows_pairs_and_counts(run):
    pairs = json.loads((run.path / "pairs.json").read_text())["pairs"]
    assert set(pairs[0]["panels"]) == {
        "foreground", "background", "foreground saliency", "background saliency", "share", "mixture",
    }  # fmt: skip
    page = run.report().read_text()
    assert "Mixed pairs" in page
    assert f"{pairs[0]['foreground']} on {pairs[0]['background']}" in page
    assert "Rare and common classes" in page
    (run.path / "pairs.json").write_text("{")
    assert "Mixed pairs" not in run.report().read_text()


def test_masks_in_a_column_guide_it_and_other_sizes_are_refused(lesions, tmp_path):
    settings = {**SETTINGS, **SPMIX, "saliency_by": "mask", "mask": "lesion", "resamples": 0}
    found = modicum.fit(lesions, method="spmix", runs=tmp_path, name="mask", write_report=False, **settings)
    assert "saliency" not in json.loads((found.path / "metrics.json").read_text()).get("stages", {})
    odd = tmp_path / "odd"
    shutil.copytree(lesions.parent, odd)
    cv2.imwrite(str(odd / "train00_lesion.png"), np.zeros((8, 8), np.uint8))
    with pytest.raises(InputError, match="its mask"):
        modicum.fit(odd / "table.csv", method="spmix", runs=tmp_path, name="odd", **settings)
    with pytest.raises(InputError, match="no column 'saliency'"):
        modicum.fit(
            lesions, method="spmix", runs=tmp_path, name="none", **{**settings, "saliency_by": "column"}
        )


def test_a_comparison_has_the_groups_beside_its_score(lesions, tmp_path):
    settings = {**SETTINGS, "monitor": "balanced_accuracy", "loss": "logit_adjusted"}
    found = modicum.compare(lesions, ["full"], seeds=1, runs=tmp_path, name="tails", **settings)
    columns = {"tail_accuracy", "tail_accuracy_std", "tail_accuracy low", "head_accuracy", "macro_f1"}
    assert columns <= set(found.table)
    assert "balanced_accuracy" not in found.table  # it is the score itself
    text = (found.path / "table.md").read_text()
    assert "Accuracy of the tail" in text
    assert "Macro F1" in text
    assert "Rare and common classes" in (found.path / "compare.html").read_text()
