"""That Faster R-CNN learns: soft exudates of made eyes, by boxes around their masks."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest

import modicum
from modicum.data.phantoms import write_fundus_dataset
from modicum.data.phantoms.lesions import LESIONS

SMALL = {
    "backbone": "test_resnet", "weights": "random", "image_size": 128, "anchor_scale": 2, "channels": 32,
    "head_width": 64, "proposals": 100, "samples": 64, "batch_size": 4, "epochs": 12, "lr": 0.02, "milestones": [9],
    "warmup_epochs": 0.5, "resamples": 0, "workers": 0, "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    """80 photographs with a mask of soft exudates each, which 30 have."""
    folder = tmp_path_factory.mktemp("eyes")
    shares = {"train": 0.7, "val": 0.15, "test": 0.15}
    path = write_fundus_dataset(
        folder, 40, 128, seed=3, grade_probabilities=(1, 0, 0, 5, 0), fractions=shares
    )
    table = pd.read_csv(path, dtype=str)
    code = 1 + list(LESIONS).index("soft_exudate")
    cells = []
    for number, name in enumerate(table["lesions"]):
        codes = cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED)
        cells.append(f"{number}_se.png")
        cv2.imwrite(str(folder / cells[-1]), np.where(codes == code, 255, 0).astype(np.uint8))
    kept = table.drop(columns=["label", "mask", "disc", "lesions"]).assign(**{"masks:soft_exudate": cells})
    kept.to_csv(folder / "lesions.csv", index=False)
    return folder / "lesions.csv"


@pytest.mark.slow
def test_it_finds_lesions_that_it_has_not_seen(eyes, tmp_path):
    """In a minute, of lesions of 7 pixels (measured once: 0.13 and 0.33)."""
    run = modicum.fit(eyes, "detect", boxes="masks", runs=tmp_path, write_report=False, **SMALL)
    found = json.loads((run.path / "evaluations/test/metrics.json").read_text())["metrics"]
    assert found["map_50"]["value"] > 0.05
    assert found["sensitivity_at_8_fp"]["value"] > 0.2
