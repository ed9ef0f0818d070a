"""What scoring whole photographs takes is part of a plan's time."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modicum.data.layouts import load_manifest
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.planning import step_time
from modicum.planning.data_facts import assumed_facts
from modicum.planning.scoring_time import scoring_seconds
from modicum.planning.step_time import Stopwatch
from modicum.tasks import task_class

SLEEP = 0.03


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Four pictures, their targets and masks, of 40 x 30 pixels."""
    rows = ["image,target,mask"]
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 255, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
        Image.fromarray(255 * (noise[..., 0] > 128).astype(np.uint8)).save(tmp_path / f"mask{number}.png")
        rows.append(f"{number}.png,{number}.png,mask{number}.png")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    return tmp_path / "table.csv"


def slowed(monkeypatch: pytest.MonkeyPatch, task) -> None:
    """Lets each image's score take longer than all else."""
    kind = type(task.scores())
    real = kind.add

    def slow(*values) -> None:
        time.sleep(SLEEP)
        real(*values)

    monkeypatch.setattr(kind, "add", slow)


@pytest.mark.parametrize("name", ["image-to-image", "segmentation"])
def test_pictures_and_masks_are_scored_to_time_them(name, pairs, monkeypatch) -> None:
    manifest = load_manifest(pairs)
    task = task_class(name).from_options({}, None)
    slowed(monkeypatch, task)
    assert scoring_seconds(task, manifest) >= SLEEP


def test_classes_cost_nothing_and_unreadable_targets_are_left_to_the_checks_of_data(pairs) -> None:
    manifest = load_manifest(pairs)
    assert scoring_seconds(task_class("classification").from_options({}, 2), manifest) == 0
    for file in pairs.parent.glob("*.png"):
        file.write_bytes(b"no picture")
    assert scoring_seconds(task_class("image-to-image").from_options({}, None), manifest) == 0


def test_the_time_of_a_plan_holds_a_score_of_each_validation_and_test_image(pairs, monkeypatch) -> None:
    recipe = make_recipe(
        str(pairs), "restoration_unet", {"degrade": "classical", "image_size": 16, "weights": "random"}
    )
    facts = assumed_facts(recipe)
    monkeypatch.setattr(step_time, "_timed", lambda *_: {"tune": ("train", 0.0, 0.0, 8)})
    rows = {"train": 8, "val": 30, "test": 70}
    slowed(monkeypatch, facts.task)
    cpu = torch.device("cpu")
    without = Stopwatch(cpu, rows).predicted(recipe, facts).evaluate_seconds
    with_scores = (
        Stopwatch(cpu, rows, manifest=load_manifest(pairs)).predicted(recipe, facts).evaluate_seconds
    )
    assert without == 0
    assert with_scores >= 100 * SLEEP
