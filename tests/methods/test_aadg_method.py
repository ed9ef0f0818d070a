"""AADG from files to a run folder: domains, batches, the policy that it leaves, and what that is good for."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

import modicum
from modicum.data.phantoms import write_fundus_dataset
from modicum.engine.run_folder import read_json
from modicum.errors import InputError
from modicum.methods import Context
from modicum.methods.aadg import TRAINING, Aadg, AadgConfig
from modicum.nn import Backbone
from modicum.tasks.segmentation.targets import MaskCodes
from modicum.tasks.segmentation.task import Segmentation, SegmentationOptions

GROUNDS = {"north": 20, "east": 60, "west": 90}
SMALL = {
    "backbone": "test_resnet", "weights": "random", "architecture": "unet", "decoder_width": 16, "image_size": 40,
    "patch": 32, "batch_size": 4, "epochs": 3, "repeats_per_epoch": 1, "search_after": 1, "policies": 2, "resamples": 0,
    "device": "cpu", "workers": 0,
}  # fmt: skip


def discs_of_domains(folder, count=6):
    """Bright discs on grounds of three lights, with masks; two images a patient."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:48, :48]
    lines = ["image,mask,patient,domain"]
    for domain, ground in GROUNDS.items():
        for number in range(count):
            row, column = generator.uniform(14, 34, 2)
            disc = (y - row) ** 2 + (x - column) ** 2 < generator.uniform(6, 10) ** 2
            image = ground + generator.integers(0, 20, (48, 48, 3)) + 100 * disc[..., None]
            name = f"{domain}{number}"
            Image.fromarray(image.astype(np.uint8)).save(folder / f"{name}.png")
            Image.fromarray(disc.astype(np.uint8) * 255).save(folder / f"{name}_mask.png")
            lines.append(f"{name}.png,{name}_mask.png,{domain}-{number // 2},{domain}")
    (folder / "discs.csv").write_text("\n".join(lines) + "\n")
    return folder / "discs.csv"


def method(domains=(0, 1, 2), kind="binary", training=None, loss_options=None, **settings) -> Aadg:
    codes = {"foreground": ((1, 255),), "background": ((0, 0),)}
    if kind == "multi-class":
        codes = {"background": ((0, 0),), "one": ((1, 1),), "two": ((2, 2),)}
    names = tuple(codes) if kind == "multi-class" else ("foreground",)
    task = Segmentation(kind, {"mask": MaskCodes(kind, names, codes)}, SegmentationOptions())
    backbone = "mobilenetv2_100" if "architecture" not in settings else "test_resnet"
    context = Context(
        task, lambda: Backbone(backbone, (64, 64)), {"domain": np.array(domains)}, loss_options or {},
        image_size=(64, 64),
        training={**TRAINING, **(training or {})},
    )  # fmt: skip
    return Aadg(AadgConfig(**settings), context)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return discs_of_domains(tmp_path_factory.mktemp("aadg") / "data")


@pytest.fixture(scope="module")
def run(table):
    return modicum.fit(table, "aadg", name="west", runs=table.parent / "runs", held_out="west", **SMALL)


def test_the_loss_is_the_methods_own_then_the_trainings_then_the_papers():
    assert method().stages()[0].loss.loss.parts == {"bce": 1}
    given = {"loss": "dice+0.5*bce"}
    assert method(loss_options=given).stages()[0].loss.loss.parts == {"dice": 1, "bce": 0.5}
    assert method(loss_options=given, loss="focal").stages()[0].loss.loss.parts == {"focal": 1}


# As published


def test_the_network_is_the_papers():
    made = method()
    assert sum(p.numel() for p in made.predictor().parameters()) == 4_378_513
    assert made.stages()[0].discriminator.embed.in_features == 1280


def test_the_batch_holds_eight_images_of_each_of_three_domains():
    made = method()
    assert TRAINING["batch_size"] == 24
    assert made.stages()[0].domains == 3
    assert TRAINING["sampling"] == "round_robin"


def test_the_search_begins_after_a_fifth_of_the_epochs_at_a_tenth_of_the_rate():
    stage = method().stages()[0]
    assert stage.search_after == 60
    segmentation, discriminator = stage.updates()
    assert [segmentation.lr_factor(epoch) for epoch in (0, 59, 60, 299)] == [1.0, 1.0, 0.1, 0.1]
    assert [discriminator.lr_factor(epoch) for epoch in (0, 60)] == [1.0, 1.0]


def test_windows_are_cut_behind_the_policies():
    stage = method(patch=48).stages()[0]
    assert stage.patch is None  # or the engine would cut them before
    stage.on_epoch_start(0)
    batch = {
        "image": torch.rand(3, 3, 64, 64), "mask": torch.zeros(3, 1, 64, 64), "domain": torch.arange(3),
        "fov": torch.ones(3, 1, 64, 64, dtype=torch.bool),
    }  # fmt: skip
    assert stage._copies(batch)["image"].shape == (3, 3, 48, 48)


def test_the_releases_normalisation_is_two_settings_of_the_backbone():
    """The command of the docs: pixels from -1 to 1."""
    from modicum.engine.model import make_backbone
    from modicum.engine.recipe.new_recipe import make_recipe

    half = {"backbone.mean": [0.5] * 3, "backbone.std": [0.5] * 3}
    recipe = make_recipe("data", "aadg", {"backbone": "test_resnet", "weights": "random", **half})
    made = method(architecture="unet", decoder_width=16)
    context = made.context
    object.__setattr__(context, "backbone", lambda: make_backbone(recipe.backbone, (64, 64), 0, None))
    network = Aadg(AadgConfig(architecture="unet", decoder_width=16), context).predictor()
    black_and_white = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 64, 64)
    found = network.normalise(black_and_white)
    assert torch.equal(found.amin((1, 2, 3)), torch.tensor([-1.0, 1.0]))
    assert torch.equal(found.amax((1, 2, 3)), torch.tensor([-1.0, 1.0]))


def test_small_copies_are_placed_as_set():
    for placement in ("anywhere", "release"):
        (operation,) = method(placement=placement).stages()[0].move.operations
        assert operation.placement == placement


def test_operations_are_dropped_alike_for_a_seed_and_named_in_the_findings():
    """At most 8 of the paper's 10: one alone is no choice. The kept ones are in the controller's size."""

    def left_out(seed, **settings):
        torch.manual_seed(seed)
        stage = method(architecture="unet", decoder_width=16, **settings).stages()[0]
        assert stage.search.controller.choices[0] == 10 - len(stage.findings()["left_out"])
        return stage.findings()["left_out"]

    drawn = [left_out(seed, drop_operations=3, exclude=("invert",)) for seed in (0, 0, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert len({tuple(names) for names in drawn}) > 1
    for names in drawn:
        assert len(set(names)) == 4
        assert "invert" in names
    with pytest.raises(
        ValueError, match="dropping 9 of 10 operations leaves nothing to choose from; at most 8"
    ):
        AadgConfig(drop_operations=9)


# Domains and batches


def test_domains_that_do_not_train_leave_no_gap_in_the_numbers():
    stage = method([0, 2, 2], training={"batch_size": 4}).stages()[0]
    assert stage.domains == 2
    numbered = stage._numbered({"domain": torch.tensor([2, 0, 0, 2])})
    assert numbered["domain"].tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"domains": [1, 1]}, "the training images come from 1; add a column 'domain'"),
        (
            {"domains": range(5)},
            "a batch of 24 images cannot be divided equally among the 5 training domains; give --batch-size 40",
        ),
        ({"training": {"sampling": "natural"}}, "sampling is 'natural'"),
        ({"training": {"epochs": 20}, "search_after": 20}, "begin after 20 epochs, but training has 20"),
        (
            {"kind": "multi-class", "cutout_labels": "erase", "architecture": "unet"},
            "leave no pixel without one; use cutout_labels=keep",
        ),
    ],
)
def test_what_the_search_cannot_work_with_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        method(**given)


def test_a_table_without_domains_is_refused(table, tmp_path):
    bare = table.parent / "bare.csv"
    pd.read_csv(table).drop(columns="domain").to_csv(bare, index=False)
    with pytest.raises(InputError, match=r"no 'domain'; give the table a column"):
        modicum.fit(bare, "aadg", name="bare", runs=tmp_path, **SMALL)


def test_blank_domains_are_refused_and_no_domain_of_their_own(table, tmp_path):
    blank = table.parent / "blank.csv"
    rows = pd.read_csv(table)
    rows.loc[rows["domain"] == "west", "domain"] = None
    rows.to_csv(blank, index=False)
    with pytest.raises(
        InputError, match=r"blank for \d+ training images, .*; fill in the cells or delete the rows"
    ):
        modicum.fit(blank, "aadg", name="blank", runs=tmp_path, **SMALL)


def test_an_oracle_chooses_by_the_held_out_domain_and_says_so(table, tmp_path):
    settings = {**SMALL, "held_out": "west", "select": "oracle", "monitor": "dice"}
    made = modicum.fit(table, "segment", name="oracle", runs=tmp_path, **{
        key: value for key, value in settings.items() if key not in {"search_after", "policies"}
    })  # fmt: skip
    assert made.metrics["selection"]["split"] == "test"
    tested = made.metrics["evaluations"]["test"]["metrics"]["dice"]["value"]
    assert made.metrics["selection"]["value"] == pytest.approx(tested, abs=0.02)
    assert "chosen on the test images" in made.report().read_text()


def test_an_oracle_without_test_images_is_refused(table, tmp_path):
    settings = {**SMALL, "select": "oracle", "fractions": [0.8, 0.2, 0]}
    with pytest.raises(InputError, match="no test images to choose the weights by; leave select out"):
        modicum.fit(table, "segment", name="none", runs=tmp_path, **{
            key: value for key, value in settings.items() if key not in {"search_after", "policies"}
        })  # fmt: skip


def test_a_scale_that_is_no_interval_is_refused():
    with pytest.raises(ValueError, match="the smaller first"):
        AadgConfig(scale=(2.0, 0.5))


# A run


def test_the_domain_that_is_held_out_is_tested_on_and_not_learned_from(run):
    rows = pd.read_csv(run.path / "manifest.csv")
    assert set(rows[rows["split"] == "test"]["domain"]) == {"west"}
    assert set(rows[rows["split"] != "test"]["domain"]) == {"north", "east"}
    assert run.metrics["evaluations"]["test"]["images"] == 6
    assert run.recipe.data.held_out == "west"


def test_the_run_leaves_the_policies_of_its_last_epoch_as_a_file(run):
    found = yaml.safe_load((run.path / "policy.yaml").read_text())
    assert found == read_json(run.path / "metrics.json")["findings"]["search"]["policy"]
    assert len(found["policies"]) == 2
    assert [len(each) for each in found["policies"]] == [5, 5]


def test_every_epoch_of_the_search_is_written_down(run):
    assert [each["epoch"] for each in run.metrics["findings"]["search"]["history"]] == [1, 2]


def test_a_finished_run_predicts_without_its_search(run, tmp_path):
    data = run.path.parents[1]
    found = run.predict([str(data / "west0.png")], out=tmp_path / "masks")
    assert (found.predicted, found.broken) == (1, 0)


def test_the_same_settings_give_the_same_weights_and_policies(run, table):
    again = modicum.fit(table, "aadg", name="again", runs=run.path.parent, held_out="west", **SMALL)
    assert (again.path / "policy.yaml").read_bytes() == (run.path / "policy.yaml").read_bytes()
    assert (again.path / "weights.safetensors").read_bytes() == (
        run.path / "weights.safetensors"
    ).read_bytes()


# The policy elsewhere


def test_a_classifier_trains_with_a_learned_policy_and_keeps_it_in_its_recipe(run, tmp_path):
    eyes = write_fundus_dataset(
        tmp_path / "eyes", 8, 40, seed=1, masks=False, fractions={"train": 0.5, "val": 0.5},
        grade_probabilities=(1, 0, 1, 0, 0),
    )  # fmt: skip
    settings = {
        "backbone": "test_resnet", "weights": "random", "image_size": 32, "epochs": 1, "batch_size": 4,
        "resamples": 0, "device": "cpu", "workers": 0, "leaks": "allow",
    }  # fmt: skip
    policy = tmp_path / "policy.yaml"
    policy.write_bytes((run.path / "policy.yaml").read_bytes())
    first = modicum.fit(eyes, "full", name="one", runs=tmp_path, augment=str(policy), **settings)
    (operation,) = first.recipe.training.augment
    assert operation["name"] == "policy"
    assert operation["policies"] == yaml.safe_load(policy.read_text())["policies"]
    policy.unlink()
    again = modicum.fit(eyes, "full", name="two", runs=tmp_path, augment=[operation], **settings)
    assert (again.path / "weights.safetensors").read_bytes() == (
        first.path / "weights.safetensors"
    ).read_bytes()


# Beside the baseline


@pytest.mark.slow
def test_a_comparison_holds_out_every_domain_for_both_methods(table, tmp_path):
    shared = {
        key: value for key, value in SMALL.items() if key not in {"search_after", "policies", "workers"}
    }
    done = modicum.compare(
        table, ["segment", "aadg"], protocol="leave-one-domain-out", seeds=1, runs=tmp_path, name="discs",
        workers=0, **{**shared, "aadg.policies": 2, "epochs": 2},
    )  # fmt: skip
    assert not done.failed, done.errors
    assert list(done.cells["held_out"]) == ["east", "north", "west"] * 2
    assert set(done.table["method"]) == {"segment", "aadg"}
    for _, row in done.table.iterrows():
        assert row["score"] == pytest.approx(np.mean([row[f"score {domain}"] for domain in GROUNDS]))


def test_a_domain_without_masks_is_refused_before_any_training(table, tmp_path):
    rows = pd.read_csv(table)
    rows.loc[rows["domain"] == "east", "mask"] = None
    rows.to_csv(table.parent / "blind.csv", index=False)
    with pytest.raises(InputError, match="no image of domain 'east' has a mask; add them, or leave"):
        modicum.compare(
            table.parent / "blind.csv",
            ["segment"],
            protocol="leave-one-domain-out",
            runs=tmp_path,
            name="blind",
        )
