"""Supervised segmentation: from files to masks, and each of its settings."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import modicum
from modicum.engine.model import backbone_in, load_method, make_method
from modicum.errors import InputError
from modicum.methods import Context
from modicum.methods.segment import Segment, SegmentConfig
from modicum.nn import Backbone
from modicum.tasks.classification.task import Classification
from modicum.tasks.segmentation.targets import MaskCodes
from modicum.tasks.segmentation.task import Segmentation, SegmentationOptions

SIDE = 48
SMALL = {
    "backbone": "test_resnet", "weights": "random", "decoder_width": 64, "image_size": SIDE, "patch": 32,
    "batch_size": 4, "resamples": 20, "device": "cpu",
}  # fmt: skip


def discs(folder, count=12, size=(60, 72)):
    """Bright discs on noise, with their masks of 0 and 255; a patient each, and the last quarter to validate on."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[: size[0], : size[1]]
    lines = ["image,mask,patient,split"]
    for number in range(count):
        row, column = (generator.uniform(0.3, 0.7) * side for side in size)
        disc = (rows - row) ** 2 + (columns - column) ** 2 < generator.uniform(10, 16) ** 2
        image = generator.integers(0, 90, (*size, 3)) + 120 * disc[..., None]
        Image.fromarray(image.astype(np.uint8)).save(folder / f"i{number}.png")
        Image.fromarray(disc.astype(np.uint8) * 255).save(folder / f"m{number}.png")
        split = "train" if number < count * 3 // 4 else "val"
        lines.append(f"i{number}.png,m{number}.png,p{number},{split}")
    (folder / "discs.csv").write_text("\n".join(lines) + "\n")
    return folder / "discs.csv"


def method(task=None, side=64, encoder="test_resnet", **settings) -> Segment:
    codes = {"foreground": ((1, 255),), "background": ((0, 0),)}
    task = task or Segmentation(
        "binary", {"mask": MaskCodes("binary", ("foreground",), codes)}, SegmentationOptions()
    )
    context = Context(
        task, lambda: Backbone(encoder, (side, side)), {}, {"loss": "auto"}, image_size=(side, side)
    )
    torch.manual_seed(0)
    return Segment(SegmentConfig(**{"decoder_width": 16, **settings}), context)


def made_batch(side=64, count=2):
    torch.manual_seed(1)
    mask = torch.zeros(count, 1, side, side)
    mask[:, :, side // 4 : side // 2] = 1
    return {
        "image": torch.rand(count, 3, side, side), "mask": mask,
        "fov": torch.ones(count, 1, side, side, dtype=torch.bool), "row": torch.arange(count),
    }  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segment")
    return modicum.fit(
        discs(folder / "data"), "segment", name="discs", runs=folder / "runs", epochs=6, repeats_per_epoch=6, lr=5e-3,
        augment="none", loss="dice+bce", flips=True, write_report=False, **SMALL,
    )  # fmt: skip


def test_it_learns_bright_discs_from_nine_images(run):
    found = run.metrics["evaluations"]["val"]
    assert found["metrics"]["dice"]["value"] > 0.9
    assert found["metrics"]["auroc"]["value"] > 0.98
    assert found["images"] == found["patients"] == 3


def test_predicted_masks_have_the_size_and_the_codes_of_the_true_ones(run):
    data = run.folder.path.parents[1] / "data"
    out = run.folder.path.parent / "masks"
    images = [data / "i9.png", data / "i10.png"]
    summary = run.predict([str(image) for image in images], out=out)
    assert (summary.predicted, summary.broken) == (2, 0)
    for number in (9, 10):
        predicted = np.asarray(Image.open(out / f"i{number}_predicted.png"))
        true = np.asarray(Image.open(data / f"m{number}.png"))
        assert predicted.shape == true.shape
        assert set(np.unique(predicted)) == {0, 255}
        overlap = 2 * ((predicted > 0) & (true > 0)).sum() / ((predicted > 0).sum() + (true > 0).sum())
        assert overlap > 0.85


def test_examples_show_image_prediction_truth_and_differences(run):
    place = run.folder.evaluation("val") / "examples"
    examples = json.loads((place / "examples.json").read_text())
    assert len(examples) == 3
    for example in examples:
        assert [panel["name"] for panel in example["panels"]] == [
            "image", "prediction", "truth", "differences"
        ]  # fmt: skip
        assert len({Image.open(place / panel["picture"]).size for panel in example["panels"]}) == 1


def test_metrics_name_the_backbone_that_the_encoder_is_made_of(run):
    assert run.metrics["backbone"] == "test_resnet"


def test_the_table_of_predictions_has_a_row_an_image_with_its_dice(run):
    import pandas as pd

    table = pd.read_csv(run.folder.evaluation("val") / "predictions.csv")
    assert len(table) == 3
    assert table["dice"].mean() == pytest.approx(
        run.metrics["evaluations"]["val"]["metrics"]["dice"]["value"]
    )


def test_an_opened_run_evaluates_to_the_same_scores(run):
    again = modicum.Run.open(run.folder.path).evaluate(
        run.folder.path.parents[1] / "data" / "discs.csv", split="val"
    )
    first = run.metrics["evaluations"]["val"]["metrics"]
    assert again["metrics"]["dice"]["value"] == pytest.approx(first["dice"]["value"])


def test_random_weights_are_never_used_without_being_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings = {name: value for name, value in SMALL.items() if name not in ("weights", "backbone")}
    with pytest.raises(InputError, match="no weights for backbone 'resnet18'"):
        modicum.fit(discs(tmp_path / "data"), "segment", runs=tmp_path / "runs", epochs=1, **settings)


def test_the_encoder_has_the_weights_of_the_backbone():
    backbone = Backbone("test_resnet", (64, 64))
    with torch.no_grad():
        for number, parameter in enumerate(backbone.body.parameters()):
            parameter.fill_(number + 1)
    context = Context(method().context.task, lambda: backbone, {}, {"loss": "auto"}, image_size=(64, 64))
    made = Segment(SegmentConfig(decoder_width=16), context)
    values = [float(p.detach().flatten()[0]) for p in made.stages()[0].network.encoder.parameters()]
    assert values == [number + 1 for number in range(len(values))]


@pytest.mark.parametrize(
    ("architecture", "encoder"),
    [("unet", "test_resnet"), ("fpn", "test_resnet"), ("segformer", "test_resnet"), ("upernet", "test_resnet"),
     ("deeplabv3plus", "test_resnet"), ("upernet", "test_vit")],
)  # fmt: skip
def test_every_architecture_lowers_its_loss_and_changes_every_part(architecture, encoder):
    side = 160 if encoder == "test_vit" else 64
    width = 64 if architecture == "fpn" else 16
    stage = method(side=side, encoder=encoder, architecture=architecture, decoder_width=width).stages()[0]
    batch, (update,) = made_batch(side), stage.updates()
    before = {name: p.detach().clone() for name, p in stage.network.named_parameters()}
    groups = [{**group, "lr": 3e-3} for group in update.parameters]
    for group in groups:
        group.pop("lr_scale", None)
    assert sum(len(group["params"]) for group in groups) == len(before)
    optimizer = torch.optim.Adam(groups)
    losses = []
    for _ in range(6):
        (loss,) = update.losses(batch).values()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    moved = [name for name, p in stage.network.named_parameters() if not torch.equal(p, before[name])]
    assert {name.split(".")[0] for name in moved} == {"encoder", "decoder", "head"}


@pytest.mark.parametrize("architecture", ["deeplabv3plus", "upernet"])
def test_one_image_alone_is_an_error_where_the_network_cannot_learn_from_it(architecture, tmp_path):
    with pytest.raises(InputError, match=f"{architecture} cannot be trained on one image at a time"):
        modicum.fit(
            discs(tmp_path / "data", 4), "segment", runs=tmp_path / "runs", architecture=architecture, epochs=1,
            **{**SMALL, "batch_size": 1},
        )  # fmt: skip


def test_one_image_alone_is_enough_for_a_u_net():
    stage = method().stages()[0]
    assert torch.isfinite(stage.losses(made_batch(count=1))["segmentation"])


def test_windows_are_no_larger_than_the_images():
    assert method(side=64, patch=256).stages()[0].patch == (64, 64)
    assert method(side=64, patch=32).stages()[0].patch == (32, 32)
    assert method(side=64, patch=None).stages()[0].patch is None


def test_tiles_are_asked_for_and_never_larger_than_the_images():
    assert method().tile() is None
    assert method(side=256, tile=128).tile() == (128, 128)
    assert method(side=64, tile=128).tile() == (64, 64)


def test_in_tiles_a_network_of_single_pixels_says_what_it_says_of_whole_images():
    stage = method(side=160, tile=64).stages()[0]
    stage.network = torch.nn.Conv2d(3, 1, 1)
    batch = made_batch(160)
    stage.eval()
    with torch.no_grad():
        torch.testing.assert_close(stage(batch), stage.network(batch["image"]), atol=1e-5, rtol=0)


def test_in_training_images_are_never_cut_into_tiles():
    stage = method(side=160, tile=64).stages()[0]
    sizes = []
    stage.network.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape[2:])))
    stage.losses(made_batch(160))
    stage.eval().validate(made_batch(160))
    assert sizes[0] == (160, 160)
    assert set(sizes[1:]) == {(64, 64)}


def test_the_loss_in_words_is_the_sum_of_its_parts():
    batch = made_batch()
    with torch.no_grad():
        found = {
            words: float(method(loss=words).stages()[0].losses(batch)["segmentation"])
            for words in ("dice", "bce", "dice+bce", "auto", "2*bce+0.5*dice")
        }
    assert found["dice+bce"] == found["auto"] == pytest.approx(found["dice"] + found["bce"], rel=1e-5)
    assert found["2*bce+0.5*dice"] == pytest.approx(2 * found["bce"] + 0.5 * found["dice"], rel=1e-5)


def test_mixed_images_and_styles_change_what_is_learned_and_not_what_is_validated():
    batch = made_batch(count=4)
    plain, mixed = (method(**settings).stages()[0] for settings in ({}, {"mixup": 0.4, "mixstyle": 1.0}))
    mixed.load_state_dict(plain.state_dict())
    found = []
    for stage in (plain, mixed):
        torch.manual_seed(1)
        found.append(float(stage.losses(batch)["segmentation"].detach()))
        stage.load_state_dict(plain.state_dict())  # running statistics have moved
        stage.eval()
        with torch.no_grad():
            found.append(float(stage.validate(batch)[1]["segmentation"]))
    assert found[0] != pytest.approx(found[2], rel=1e-3)
    assert found[1] == pytest.approx(found[3], rel=1e-6)


def test_the_predictor_averages_flips_where_asked():
    plain, averaged = method().predictor().eval(), method(flips=True).predictor().eval()
    images = made_batch()["image"]
    with torch.no_grad():
        assert torch.allclose(averaged(images.flip(3)).flip(3), averaged(images), atol=1e-5)
        assert not torch.allclose(plain(images.flip(3)).flip(3), plain(images), atol=1e-3)


def test_the_card_of_an_exported_network_names_what_it_takes_to_make_it_again():
    _, card = method().export_network()
    assert (card["encoder"], card["config"]["architecture"], card["channels"]) == (
        "test_resnet",
        "unet",
        [3, 1],
    )


# What it is good for afterwards


def started_from(run, method, **backbone):
    """Another method as it begins with a run's encoder."""
    recipe, task = run.recipe, load_method(run.folder)[1]
    source = recipe.backbone.model_copy(update={"weights": f"run:{run.path}", **backbone})
    config = {"architecture": "unet", "decoder_width": 64} if method != "linear" else {}
    training = recipe.training.model_copy(update={"sampling": "round_robin"})
    if method == "linear":
        task = Classification("multi-class", ["a", "b"])
    recipe = recipe.model_copy(
        update={"method": method, "config": config, "backbone": source, "training": training}
    )
    return make_method(recipe, task, {})


@pytest.mark.parametrize("method", ["segment", "aadg", "linear"])
def test_other_runs_start_from_the_encoder_that_it_learned(run, method):
    made = started_from(run, method)
    lead, own = "tune.network.encoder.model.", None
    learned = {
        name.removeprefix(lead): tensor
        for name, tensor in load_file(run.folder.weights).items()
        if name.startswith(lead)
    }
    if method == "linear":
        own = backbone_in(made.predictor()).body.state_dict()
    else:
        own = made.predictor().encoder.model.state_dict()
    assert len(own) == len(learned) > 20
    for name, tensor in own.items():
        assert torch.equal(tensor, learned[name]), name


def test_a_run_on_another_encoder_is_named_with_the_remedy(run):
    with pytest.raises(InputError, match=r"has backbone 'test_resnet', not 'test_convnext'; pass --backbone"):
        started_from(run, "segment", name="test_convnext")
