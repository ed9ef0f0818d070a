"""A data argument means the same images for every command that takes one."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from modicum.data.layouts import load_manifest
from modicum.data.layouts.given_images import given_images
from modicum.engine.inference.evaluate_run import reading
from modicum.engine.inference.retrieval import data_of
from modicum.engine.inputs.degraded_pairs import write_degraded_pairs
from modicum.engine.inputs.preparation import read_manifest
from modicum.engine.recipe.settings import DataSettings

NAMES = ["a.png", "b.png", "c.png"]
OF_RUN = DataSettings(
    source="elsewhere.csv", columns={"label": "grade", "report": "text"}, pairs=("T1", "T2")
)


def write(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture = np.random.default_rng(number).integers(1, 256, (24, 24), dtype=np.uint8)
        cv2.imwrite(str(folder / name), picture)


def rows(place: str = "") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image": [f"{place}{name}" for name in NAMES],
            "label": ["x", "y", "x"],
            "mask": [f"masks/{name}" for name in NAMES],
            "report": ["Clear lungs."] * 3,
        }
    )


@pytest.fixture
def home(tmp_path):
    """Three images that a table, a data list or nothing names, with masks and other pictures around them."""
    write(tmp_path / "table", *NAMES, *(f"masks/{name}" for name in NAMES), "old/overlay.png")
    rows().to_csv(tmp_path / "table/labels.csv", index=False)
    write(
        tmp_path / "parquet",
        *(f"images/{name}" for name in NAMES),
        *(f"masks/{name}" for name in NAMES),
        "logo.png",
    )
    rows("images/").to_parquet(tmp_path / "parquet/train.parquet")
    write(tmp_path / "list", *(f"images/{name}" for name in NAMES), "figures/one.png")
    items = [{"image": f"images/{name}", "label": int(name == "b.png")} for name in NAMES]
    (tmp_path / "list/dataset.json").write_text(json.dumps({"training": items}))
    write(tmp_path / "plain", *NAMES)
    write(tmp_path / "masks", *(f"images/{name}" for name in NAMES), *(f"masks/{name}" for name in NAMES))
    return tmp_path


FORMS = (
    "table",
    "table/labels.csv",
    "parquet",
    "parquet/train.parquet",
    "list",
    "list/dataset.json",
    "plain",
    "masks",
)


def names_in(manifest) -> list[str]:
    return sorted(ref.path.name for ref in manifest.refs())


def looked_at(data: Path) -> list[str]:
    return names_in(load_manifest(data, slices=None, missing="keep", unlabelled="keep"))


def predicted(data: Path) -> list[str]:
    return sorted(ref.path.name for ref in given_images([data]).refs)


def evaluated(data: Path) -> list[str]:
    settings = reading(OF_RUN, data, False, {"columns": {}, "pairs": None})
    return names_in(read_manifest(settings, "segmentation"))


def searched(data: Path) -> list[str]:
    return names_in(read_manifest(data_of(OF_RUN.model_copy(update={"columns": {}}), data, {}), "image-text"))


def trained(data: Path) -> list[str]:
    return names_in(read_manifest(DataSettings(source=str(data)), "encoder"))


def degraded(data: Path) -> list[str]:
    table = pd.read_csv(write_degraded_pairs(data, data.parents[0] / "pairs" / data.name.replace(".", "_")))
    return sorted(Path(name).name for name in table["image"])


@pytest.mark.parametrize("command", [looked_at, predicted, evaluated, searched, trained, degraded])
@pytest.mark.parametrize("form", FORMS)
def test_every_command_takes_the_same_images(command, form, home):
    assert command(home / form) == NAMES
