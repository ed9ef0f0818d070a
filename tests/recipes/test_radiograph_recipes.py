"""The recipes of radiographs are the published tables, to the number, and each makes a run."""

import csv

import cv2
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

import modicum
from modicum.data.layouts.public.nih import NIH_ORDER
from modicum.data.manifest import Manifest
from modicum.engine.model import load_method
from modicum.engine.recipe.given_recipe import given_recipe
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.recipes import shipped_recipes

# Lian et al.'s code: data, share of labels, epochs / rate / rank on MRM, epochs / rate for batches of 256 / rank on MAE.
LORA = """
nih        1 | 100 / 0.05 / 4  | 400 / 3e-3 / 4
nih       10 | 100 / 0.05 / 8  | 200 / 1e-3 / 8
nih      100 | 100 / 0.2 / 32  | 100 / 3e-3 / 32
chexpert   1 | 100 / 0.02 / 4  | 400 / 3e-3 / 4
chexpert  10 | 100 / 0.05 / 16 | 100 / 5e-3 / 8
chexpert 100 | 100 / 0.01 / 32 | 100 / 3e-3 / 32
rsna       1 | 100 / 0.01 / 4  | 100 / 3e-3 / 4
rsna      10 | 100 / 0.01 / 32 | 100 / 5e-3 / 8
rsna     100 | 100 / 0.01 / 32 | 100 / 5e-3 / 32
"""
# MRM's code: data, share, rate, steps, steps of warm-up, images in the published list.
MRM = """
nih        1 3e-2   3000    50    785
nih       10 3e-3  30000   500   7847
nih      100 3e-3 200000  5000  78468
chexpert   1 3e-3   2000   150   2184
chexpert  10 5e-4  60000  1500  21841
chexpert 100 5e-4 200000 15000 218414
rsna       1 3e-3   2000    50    251
rsna      10 5e-4  10000   200   2518
rsna     100 5e-4  50000  2000  25184
covid    100 3e-2   1000    50    354
"""


def resolved(name: str):
    return make_recipe("data", None, {"weights": "random"}, given_recipe(name))


def cells():
    for line in LORA.strip().splitlines():
        head, *columns = line.split("|")
        data, percent = head.split()
        for family, column in zip(("", "_mae"), columns, strict=True):
            epochs, rate, rank = (part.strip() for part in column.split("/"))
            yield pytest.param(
                f"cxr/lora_{data}_{percent}pct{family}", int(percent), int(epochs), float(rate), int(rank)
            )


@pytest.mark.parametrize(("name", "percent", "epochs", "rate", "rank"), list(cells()))
def test_low_rank_settings_are_the_published_ones(name, percent, epochs, rate, rank):
    recipe, of_mae = resolved(name), name.endswith("_mae")
    training = recipe.training
    assert recipe.method == "lora"
    assert recipe.based_on == name
    assert recipe.data.label_fraction == percent / 100
    assert (training.epochs, recipe.config["rank"]) == (epochs, rank)
    assert training.lr == pytest.approx(rate * 64 / 256 if of_mae else rate)
    # What all cells share.
    assert (training.batch_size, training.warmup_epochs, training.schedule) == (64, 5, "cosine")
    assert (training.min_lr, training.clip_norm, training.accumulate) == (1e-6, 0, 1)
    assert (training.class_weights, training.label_smoothing, recipe.seed) == ("none", 0, 0)
    assert (training.select, training.monitor) == ("best", "auroc")
    expected = {"alpha": 32, "dropout": 0.1, "targets": ["qv"], "pool": "mean", "drop_path": 0.1}
    assert expected.items() <= recipe.config.items()
    assert recipe.image.size == (224, 224)
    assert recipe.image.resize == "crop"  # the short side to 224, then the centre
    # What the two kinds of weights do not.
    if of_mae:
        assert (training.optimizer, training.weight_decay, training.betas) == ("adamw", 0.05, (0.9, 0.999))
        assert (recipe.config["layer_decay"], training.augment) == (0.65, "radiograph_strong")
        assert (recipe.backbone.mean, recipe.backbone.std) == ((0.4785,) * 3, (0.2834,) * 3)
    else:
        assert (training.optimizer, training.momentum, training.nesterov) == ("sgd", 0.9, False)
        assert (training.weight_decay, recipe.config["layer_decay"]) == (0, 1)
        assert training.augment == "radiograph"
        assert (recipe.backbone.mean, recipe.backbone.std) == ((0.4978,) * 3, (0.2449,) * 3)


def test_full_fine_tuning_of_the_same_benchmark():
    mrm, mae = resolved("cxr/full_nih_1pct"), resolved("cxr/full_nih_1pct_mae")
    assert mrm.method == mae.method == "full"
    assert (mrm.training.epochs, mrm.training.lr, mrm.training.optimizer) == (200, 0.01, "sgd")
    assert (mrm.training.weight_decay, mrm.training.augment) == (0, "radiograph")
    assert (mae.training.epochs, mae.training.lr, mae.training.optimizer) == (400, 1.25e-4, "adamw")
    assert (mae.training.weight_decay, mae.config["layer_decay"]) == (0.05, 0.65)
    assert (mae.config["decay_vectors"], mae.config["decay_embeddings"]) == (False, False)


@pytest.mark.parametrize("line", MRM.strip().splitlines())
def test_steps_of_mrm_are_met_to_half_an_epoch(line):
    data, *numbers = line.split()
    percent, rate, steps, warmup, images = (float(number) for number in numbers)
    recipe = resolved(f"cxr/mrm_{data}_{percent:.0f}pct")
    training, per_epoch = recipe.training, images // 96
    assert recipe.method == "full"
    assert abs(training.epochs * per_epoch - steps) <= per_epoch / 2
    assert round(training.warmup_epochs * per_epoch) == warmup
    assert (training.lr, training.optimizer, training.nesterov) == (rate, "sgd", False)
    assert (training.batch_size, training.clip_norm, training.weight_decay) == (96, 1, 0)
    assert (training.min_lr, recipe.seed, training.augment) == (0, 42, "radiograph")
    assert (recipe.config["pool"], recipe.config["drop_path"]) == ("mean", 0.1)
    assert recipe.data.label_fraction == percent / 100


def test_files_are_resized_as_in_the_releases():
    """Bicubically by Lian et al., as MAE does; bilinearly, torchvision's default, by MRM's own code."""
    filters = {name: resolved(name).image.filter for name in shipped_recipes()}
    assert {filters[name] for name in filters if name.startswith("cxr/mrm_")} == {"bilinear"}
    of_lian = [name for name in filters if name.startswith("cxr/") and not name.startswith("cxr/mrm_")]
    assert {filters[name] for name in of_lian} == {"bicubic"}
    assert make_recipe("data", "full", {"weights": "random"}).image.filter == "area"


def test_there_are_eighteen_of_lora_and_twelve_of_full_fine_tuning():
    methods = [resolved(name).method for name in shipped_recipes() if name.startswith("cxr/")]
    assert (methods.count("lora"), methods.count("full"), len(methods)) == (18, 12, 30)
    assert all("\n" not in recipe.summary and recipe.source for recipe in shipped_recipes().values())


@pytest.fixture(scope="module")
def nih(tmp_path_factory):
    """Made radiographs in the layout of NIH's release: 60 patients of two images, oedema darkens one side."""
    folder, draws = tmp_path_factory.mktemp("ChestX-ray14"), np.random.default_rng(0)
    rows, lists = [], {"train": [], "val": [], "test": []}
    (folder / "images_001" / "images").mkdir(parents=True)
    for patient in range(60):
        part = ("train", "train", "train", "val", "test")[patient % 5]
        for visit in range(2):
            name, sick = f"{patient + 1:08d}_{visit:03d}.png", patient // 5 % 3 == 0
            picture = draws.integers(90, 160, (40, 48), np.uint8)
            picture[:, :20] //= 2 if sick else 1
            cv2.imwrite(str(folder / "images_001" / "images" / name), picture)
            rows.append([name, "Edema" if sick else "No Finding", visit, patient + 1, 50, "F", "PA"])
            lists[part].append(name)
    header = ["Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender"]
    with (folder / "Data_Entry_2017.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[*header, "View Position"], *rows])
    for part, names in lists.items():
        (folder / f"{part}_list.txt").write_text("\n".join(names))
    return folder


SMALL = {
    "weights": "random", "backbone": "test_vit", "image_size": 32, "epochs": 2, "batch_size": 4, "warmup_epochs": 0,
    "leaks": "allow", "resamples": 0, "workers": 0,
}  # fmt: skip


@pytest.mark.parametrize("name", ["cxr/lora_nih_10pct", "cxr/lora_nih_10pct_mae", "cxr/full_nih_1pct_mae"])
def test_a_recipe_runs_from_images_to_one_plain_network(nih, tmp_path, name):
    run = modicum.fit(nih, recipe=name, runs=tmp_path, label_fraction=0.25, **SMALL)
    recipe = run.recipe
    assert run.path.name == f"{nih.name.lower()}-{name.rpartition('/')[2]}"
    assert (recipe.method, recipe.based_on) == (name.removeprefix("cxr/").partition("_")[0], name)
    assert (recipe.training.epochs, recipe.backbone.name) == (2, "test_vit")
    table = Manifest.read_saved(run.folder.manifest, nih).table
    assert table["split"].value_counts(dropna=False).to_dict() == {
        "train": 18,
        "val": 24,
        "test": 24,
        np.nan: 54,
    }
    exported = run.export(tmp_path / "plain.safetensors")
    tensors = load_file(exported)
    assert not any("lora" in key for key in tensors)
    theirs = timm.create_model("test_vit", img_size=32, num_classes=len(NIH_ORDER), global_pool="avg").eval()
    theirs.load_state_dict(tensors)
    _, _, method = load_method(run.folder)
    network, images = method.predictor().eval(), torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            theirs(network.backbone.normalise(images)), network(images), atol=1e-5, rtol=1e-4
        )


def test_a_run_can_be_made_again_on_other_data_from_its_recipe(nih, tmp_path):
    first = modicum.fit(nih, recipe="cxr/lora_nih_10pct", runs=tmp_path, name="first", **SMALL, lr=0.02)
    again = make_recipe("elsewhere", None, {}, given_recipe(first.folder.recipe))
    for key in ("method", "task", "options", "image", "backbone", "training", "config", "seed"):
        assert getattr(again, key) == getattr(first.recipe, key), key
    assert again.data.source == "elsewhere"
    assert again.data.label_fraction == 0.1
