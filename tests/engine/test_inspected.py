"""Inspecting finds what fitting would refuse, in its words: both run the same code."""

import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from modicum.api import fit
from modicum.console.inspection import inspect_data
from modicum.errors import InputError

RNG = np.random.default_rng(0)


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def data_set(folder, column, make):
    """Eight noise images of 16x16 pixels, each with something beside it that ``make(number)`` gives."""
    rows = [f"image,patient,{column}"]
    for number in range(8):
        write(folder / f"{number}.png", RNG.integers(0, 255, (16, 16, 3), dtype=np.uint8))
        beside = make(number)
        if isinstance(beside, np.ndarray):
            write(folder / f"{column}/{number}.png", beside)
            beside = f"{column}/{number}.png"
        rows.append(f"{number}.png,p{number},{beside}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def mask(number, size=16, value=255):
    made = np.zeros((size, size), np.uint8)
    made[4:9, 4:9] = value
    return made


CASES = {
    "a mask of another size": ("segment", "mask", lambda n: mask(n, 16 if n else 24)),
    "a mask that is not there": ("segment", "mask", lambda n: mask(n) if n else "gone.png"),
    "a cell without a mask": ("segment", "mask", lambda n: mask(n) if n else ""),
    "nothing in any mask": ("segment", "mask", lambda n: mask(n, value=0)),
    "a target of another size": ("reggan", "target", lambda n: mask(n, 16 if n else 24)),
    "a cell without a target": ("reggan", "target", lambda n: mask(n) if n else ""),
    "one class": ("full", "label", lambda n: "a"),
    "reports that say nothing": ("mrm", "report", lambda n: "" if n else " "),
}


@pytest.mark.parametrize("case", CASES)
def test_inspect_says_what_fit_refuses(case, tmp_path):
    method, column, make = CASES[case]
    folder = data_set(tmp_path / "data", column, make)
    found = tmp_path / "facts.json"
    inspect_data(str(folder / "labels.csv"), {}, found, 0)
    stopping = [warning for warning in json.loads(found.read_text())["warnings"] if warning["stops"]]
    more = {} if method == "reggan" else {"backbone": "test_vit" if method == "mrm" else "test_resnet"}
    with pytest.raises(InputError) as refused:
        fit(
            folder / "labels.csv", method, runs=tmp_path / "runs", weights="random", image_size=32, epochs=1,
            workers=0, device="cpu", **more,
        )  # fmt: skip
    texts = [warning["text"] for warning in stopping]
    # A file that is not there is refused on reading the table, and counted among the broken ones by inspect.
    if case == "one class":  # fit stops at the task, inspect also looks at the split
        assert any("'a'" in text for text in texts)
    else:
        assert refused.value.problem in texts or (case == "a mask that is not there" and texts)


def test_geometry_that_differs_is_found(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    rows = ["image,mask,patient"]
    for number in range(4):
        voxels = RNG.integers(0, 900, (16, 16, 1)).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.diag([-1, -1, 2, 1.0])), folder / f"i{number}.nii.gz")
        nib.save(nib.Nifti1Image((voxels > 400).astype(np.uint8), np.eye(4)), folder / f"m{number}.nii.gz")
        rows.append(f"i{number}.nii.gz,m{number}.nii.gz,p{number}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    inspect_data(str(folder), {}, tmp_path / "facts.json", 0)
    warnings = json.loads((tmp_path / "facts.json").read_text())["warnings"]
    assert any(warning["stops"] and "mask" in warning["text"] for warning in warnings)


def test_sound_data_are_not_complained_about(tmp_path):
    folder = data_set(tmp_path / "data", "mask", mask)
    inspect_data(str(folder), {}, tmp_path / "facts.json", 0)
    assert not [w for w in json.loads((tmp_path / "facts.json").read_text())["warnings"] if w["stops"]]
