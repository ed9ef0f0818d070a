"""What is exported of a dense method: the weights that translate or register, and what it takes to use them alone."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from modicum.engine.checkpoint import save_tensors
from modicum.engine.inference.export import export_part
from modicum.engine.model import learned_of, load_method, make_method
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.run_folder import RunFolder, write_json
from modicum.errors import InputError
from modicum.methods.reggan import exported_network
from modicum.tasks.image_to_image.task import ImageToImage, ImageToImageOptions
from modicum.tasks.segmentation.targets import MaskCodes
from modicum.tasks.segmentation.task import Segmentation, SegmentationOptions
from modicum.tasks.value_range import ValueRange

TASK = ImageToImage((1, 1), ImageToImageOptions(), ValueRange(0.0, 900.0, "percentile", background=0.0))
SMALL = {"width": 4, "blocks": 1, "discriminator_width": 4, "registration_width": 4, "image_size": 32}


def run_of(path, task=TASK, method="reggan", settings=SMALL, **config) -> RunFolder:
    """A run folder as training leaves it."""
    recipe = make_recipe("made", method, {**settings, **config})
    made = make_method(recipe, task, {})
    folder = RunFolder(path)
    path.mkdir()
    folder.recipe.write_text(recipe.to_yaml())
    digest = save_tensors(folder.weights, learned_of(made))
    facts = {"schema": 1, "task": task.to_dict(), "weights_sha256": digest, "frozen_backbone_sha256": None}
    write_json(folder.model, facts)
    return folder


def alone(path) -> torch.nn.Module:
    """The documented three lines."""
    card = json.loads(path.with_suffix(".json").read_text())
    network = exported_network(card)
    network.load_state_dict(load_file(path))
    return network


@pytest.mark.parametrize("base", ["resnet", "unit", "munit", "nice_gan"])
@pytest.mark.parametrize("field", ["displacement", "velocity"])
def test_three_lines_without_the_engine_give_the_runs_answers(base, field, tmp_path):
    folder = run_of(tmp_path / "run", base=base, field=field)
    _, _, method = load_method(folder)
    image, target = torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32)
    method.predictor().eval()
    with torch.no_grad():
        translated = method.predictor()(image)
        made = alone(export_part(folder, tmp_path / "g.safetensors"))(image)
        torch.testing.assert_close(made, translated)
        found = alone(export_part(folder, tmp_path / "r.safetensors", "registration"))(translated, target)
    torch.testing.assert_close(found, method.predictor().displacement(image, target))


@pytest.mark.parametrize("mode", ["nc+r", "c+r", "p"])
def test_nothing_that_served_learning_is_exported(mode, tmp_path):
    folder = run_of(tmp_path / "run", mode=mode)
    _, _, method = load_method(folder)
    stage = method.stages()[0]
    for part in ["predictor", *(["registration"] if mode.endswith("r") else [])]:
        with safe_open(export_part(folder, tmp_path / f"{part}.safetensors", part), "pt") as file:
            names = list(file.keys())
            sizes = sum(file.get_tensor(name).numel() for name in names)
        network = stage.registration if part == "registration" else stage.base.generator
        assert sizes == sum(parameter.numel() for parameter in network.parameters())
        assert not any(word in name for name in names for word in ("discriminator", "pool", "fakes", "back"))


def test_the_card_is_in_the_metadata_and_says_what_values_mean(tmp_path):
    path = export_part(run_of(tmp_path / "run"), tmp_path / "deep/g.safetensors")
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["output"]["values"]["high"] == 900.0
    assert (card["image_size"], card["channels"], card["part"]) == ([32, 32], [1, 1], "predictor")
    assert card["image"]["size"] == [32, 32]
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["config"]) == card["config"]


def test_a_part_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="mode 'nc' learns no registration"):
        export_part(run_of(tmp_path / "a", mode="nc"), tmp_path / "r.safetensors", "registration")
    with pytest.raises(InputError, match="no part 'discriminator'; use predictor or registration"):
        export_part(run_of(tmp_path / "b"), tmp_path / "d.safetensors", "discriminator")
    with pytest.raises(InputError, match=r"end its name with \.safetensors"):
        export_part(RunFolder(tmp_path / "b"), tmp_path / "d.pt")


@pytest.mark.parametrize(
    ("mode", "there"), [("nc+r", True), ("c+r", True), ("nc", False), ("c", False), ("p", False)]
)
def test_the_predictor_tells_displacements_in_modes_with_registration_alone(mode, there):
    method = make_method(make_recipe("made", "reggan", {**SMALL, "mode": mode}), TASK, {})
    assert hasattr(method.predictor(), "displacement") is there


def test_the_card_of_a_segmentation_says_that_its_outputs_are_logits(tmp_path):
    codes = MaskCodes("binary", ("vessel",), {"vessel": ((1, 255),), "background": ((0, 0),)})
    task = Segmentation("binary", {"mask": codes}, SegmentationOptions())
    small = {"backbone": "test_resnet", "weights": "random", "architecture": "unet", "image_size": 32}
    path = export_part(run_of(tmp_path / "run", task, "segment", small), tmp_path / "s.safetensors")
    assert json.loads(path.with_suffix(".json").read_text())["output"] == {
        "channels": 1, "values": "logits", "shape": [1, 32, 32]
    }  # fmt: skip
