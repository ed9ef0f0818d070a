"""What an encoder that has read reports is measured by, each from files to scores: the recipes of PRIOR and of BenchX."""

import json
import shutil

import pandas as pd
import pytest

import modicum
from modicum.data.phantoms import write_chest_dataset

PRIOR = {"text_width": 16, "text_depth": 1, "text_heads": 2, "text_hidden": 32, "width": 16, "report_length": 48,
         "max_sentences": 8, "heads": 2, "prototypes": 12, "queries": 4, "decoder_depth": 1, "decoder_heads": 2,
         "last_stage": "align", "align.epochs": 1, "align.warmup_epochs": 0}  # fmt: skip
SMALL = {
    "batch_size": 4,
    "resamples": 10,
    "device": "cpu",
    "leaks": "allow",
    "write_report": False,
    "workers": 0,
}
DOWN = {**SMALL, "epochs": 1, "warmup_epochs": 0, "validate_every": 1}
FINDING = "Cardiomegaly"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("protocols")


@pytest.fixture(scope="module")
def data(folder):
    """Tables for each protocol over the same images."""
    fractions = {"train": 0.6, "val": 0.2, "test": 0.2}
    path = write_chest_dataset(folder / "chest", 20, 64, seed=1, fractions=fractions)
    table = pd.read_csv(path, dtype=str)
    common = table[["image", "patient", "split"]]
    finding = table["labels:cardiomegaly"].map({"0": "none", "1": FINDING})
    parts = {
        "pairs": common.assign(report=table["report"]),
        "binary": common.assign(label=finding),
        "findings": table[[*common, *(name for name in table if name.startswith("labels:"))]],
        "lungs": common.assign(mask=(table["mask"])),
        "hearts": common.assign(**{"masks:heart": table["heart"]}),
    }
    for name, part in parts.items():
        part.to_csv(path.parent / f"{name}.csv", index=False)
    return {name: path.parent / f"{name}.csv" for name in parts}


@pytest.fixture(scope="module")
def prior(folder, data):
    settings = {**SMALL, **PRIOR, "backbone": "test_resnet", "weights": "random", "image_size": 64}
    return modicum.fit(data["pairs"], "prior", name="prior", runs=folder / "runs", **settings)


@pytest.mark.parametrize(
    ("recipe", "table", "metric"),
    [
        ("prior/rsna_10pct", "binary", "auroc"),
        ("benchx/nih_10pct", "findings", "auroc"),
    ],
)
def test_labels_are_learned_from_a_run(folder, data, prior, recipe, table, metric):
    run = modicum.fit(
        data[table], recipe=recipe, name=recipe.replace("/", "-"), runs=folder / "runs", image_size=64,
        backbone=f"run:{prior.path}", **DOWN,
    )  # fmt: skip
    assert run.metrics["method"] == "full"
    assert run.metrics["backbone"] == "test_resnet"
    assert metric in run.metrics["evaluations"]["test"]["metrics"]
    read = run.recipe
    assert read.backbone.weights == f"run:{prior.path}"


def test_masks_are_learned_by_a_u_net_on_a_run(folder, data, prior):
    run = modicum.fit(
        data["lungs"], recipe="prior/siim_unet", name="unet", runs=folder / "runs", image_size=64, decoder_width=32,
        backbone=f"run:{prior.path}", patch=64, **DOWN,
    )  # fmt: skip
    assert (run.metrics["method"], run.metrics["task"]) == ("segment", "segmentation")
    assert run.metrics["evaluations"]["test"]["metrics"]["dice"]["value"] >= 0


def test_boxes_are_learned_on_a_run(folder, data, prior):
    run = modicum.fit(
        data["hearts"], recipe="prior/rsna_detect", name="detect", runs=folder / "runs", image_size=64,
        backbone=f"run:{prior.path}", boxes="masks", channels=16, head_width=32, **DOWN,
    )  # fmt: skip
    assert (run.metrics["method"], run.metrics["task"]) == ("detect", "detection")


def test_prompts_and_precision_on_chexpert_5x200(folder, data, prior):
    root = folder / "five"
    content = {}
    for number, image in enumerate(sorted((data["pairs"].parent / "images").glob("*.png"))[:10]):
        relative = f"train/patient{number:05d}/study1/view1_frontal.jpg"
        (root / relative).parent.mkdir(parents=True)
        shutil.copy(image, root / relative)
        content[str(number)] = {"image_path": relative, "label": [int(number % 5 == k) for k in range(5)]}
    (root / "chexpert_5x200.json").write_text(json.dumps(content))
    names = ["Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"]
    prompts = {name: f"{name} is observed." for name in names}
    found = prior.evaluate(root, prompts=prompts, allow_outside=True, write_report=False)
    assert found["images"] == 10
    assert {"accuracy", "balanced_accuracy", "macro_f1", "kappa", "auroc"} <= found["metrics"].keys()
    pairs = prior.evaluate(data["pairs"], split="all", name="pairs", allow_outside=True, write_report=False)
    assert {"image_to_text_precision_at_5", "text_to_image_recall_at_10"} <= pairs["metrics"].keys()


def test_encoders_of_several_runs_stand_in_one_table(folder, data, prior):
    mrm = modicum.fit(
        data["pairs"], "mrm", name="mrm", runs=folder / "runs", backbone="test_vit", weights="random", image_size=64,
        epochs=1, warmup_epochs=0, report_length=24, report_width=16, report_depth=1, report_heads=2, decoder_width=16,
        decoder_depth=1, decoder_heads=2, **SMALL,
    )  # fmt: skip
    done = modicum.compare(
        data["findings"], recipe="benchx/nih_100pct", name="table", runs=folder / "runs", image_size=64, seeds=1,
        sweep={"backbone": {"prior": f"run:{prior.path}", "mrm": f"run:{mrm.path}"}},
        **{name: value for name, value in DOWN.items() if name != "write_report"},
    )  # fmt: skip
    assert done.failed == []
    assert list(done.table["method"]) == ["full-backbone=prior", "full-backbone=mrm"]
    assert done.table["backbone"].tolist() == ["prior", "mrm"]
