"""Translation from the command line: folders of two modalities in; pictures, volumes, fields and weights out."""

import json
import sys
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from modicum.__main__ import main

SMALL = ("--image-size", 32, "--epochs", 1, "--batch-size", 4, "--workers", 0)
SMALL += tuple(
    word
    for setting in ("width=4", "blocks=0", "discriminator_width=4", "registration_width=4", "resamples=20")
    for word in ("--set", setting)
)


def run_command(folder: Path, capsys, *words) -> tuple[int, str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "200")
        patch.setattr(sys, "argv", ["modicum", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
    said = capsys.readouterr()
    return stopped.value.code or 0, said.out, said.err


def write_slices(folder: Path, kind: str, sign: int, patients: int = 6) -> None:
    generator = np.random.default_rng(0)  # the same shapes for both kinds
    for patient in range(patients):
        place = folder / f"p{patient}" / kind
        place.mkdir(parents=True)
        for number in range(3):
            shape = cv2.GaussianBlur(generator.integers(0, 255, (40, 36)).astype(np.uint8), (0, 0), 3)
            shape = cv2.normalize(shape, None, 0, 255, cv2.NORM_MINMAX)
            cv2.imwrite(str(place / f"z{number}.png"), shape if sign > 0 else 255 - shape)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with two modalities of six patients, slices of equal names."""
    folder = tmp_path_factory.mktemp("home")
    write_slices(folder / "brains", "T1", 1), write_slices(folder / "brains", "T2", -1)
    return folder


@pytest.fixture
def modicum(home, capsys):
    return lambda *words: run_command(home, capsys, *words)


@pytest.fixture
def run(home, modicum) -> str:
    """A trained run, made by the first test that wants it."""
    if not (home / "runs/brains/metrics.json").is_file():
        words = ("fit", "brains", "--method", "reggan", "--pairs", "T1,T2", "--name", "brains", *SMALL)
        code, _, said = modicum(*words, "--set", "mode=nc+r")
        assert code == 0, said
    return "runs/brains"


def test_a_folder_of_two_modalities_is_all_it_takes(run, home, modicum):
    metrics = json.loads((home / run / "metrics.json").read_text())
    assert metrics["task"] == "image-to-image"
    assert "nmae" in metrics["evaluations"]["test"]["metrics"]
    assert metrics["evaluations"]["test"]["patients"] == 1
    assert "pairs:\n  - T1\n  - T2" in (home / run / "recipe.yaml").read_text()
    code, _, said = modicum("fit", "--resume", "--name", "brains")
    assert (code, "is finished already" in said) == (0, True)


def test_pictures_are_predicted_beside_a_table(run, home, modicum):
    (home / "new").mkdir(exist_ok=True)
    cv2.imwrite(str(home / "new/a.png"), np.full((50, 60), 90, np.uint8))
    (home / "new/b.png").write_bytes(b"")
    code, out, said = modicum("predict", run, "new")
    assert code == 3
    assert "broken: b.png: the file is empty (0 bytes)" in said
    assert out == "1 image predicted, 1 broken: predictions\n"
    assert cv2.imread(str(home / "predictions/a_predicted.png"), cv2.IMREAD_UNCHANGED).shape == (50, 60)
    assert list(pd.read_csv(home / "predictions/predictions.csv")["image"]) == ["a.png", "b.png"]
    code, _, said = modicum("predict", run, "new/a.png", "--native", "--tile", 32, "--out", "predictions")
    assert (code, "1 file of an earlier prediction" in said) == (0, True)


def test_a_volume_is_predicted_as_a_volume(run, home, modicum):
    voxels = np.random.default_rng(0).integers(0, 900, (30, 34, 4)).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([-1, 1.5, 2, 1])), home / "v.nii.gz")
    code, out, _ = modicum("predict", run, "v.nii.gz", "--out", "volumes")
    assert (code, out) == (0, "4 images predicted, 0 broken: volumes\n")
    made = nib.load(home / "volumes/v_predicted.nii.gz")
    assert (made.shape, made.get_data_dtype()) == ((30, 34, 4), np.int16)
    np.testing.assert_allclose(made.affine, np.diag([-1, 1.5, 2, 1]))
    code, out, _ = modicum("align", run, "v.nii.gz", "v.nii.gz", "--out", "moved.nii.gz")
    assert code == 0
    assert out.startswith(
        "4 slices compared, nothing to move was found: displaced by "
    )  # its pairs were aligned
    assert nib.load(home / "moved_field.nii.gz").shape == (30, 34, 4, 1, 3)


def test_two_pictures_are_aligned(run, home, modicum):
    pair = "brains/p0/T1/z0.png", "brains/p0/T2/z0.png"
    code, out, _ = modicum("align", run, *pair, "--out", "m.png", "--field", "f.npz")
    assert (code, out.splitlines()[-2:]) == (0, ["image: m.png", "field: f.npz"])
    assert "so it has learned to move nothing" in out
    assert np.load(home / "f.npz")["pixels"].shape == (2, 40, 36)


@pytest.mark.parametrize("how", ["pairs", "table"])
def test_other_labelled_data_is_evaluated(how, run, home, modicum):
    if not (home / "other").exists():
        write_slices(home / "other", "T1", 1, patients=2), write_slices(home / "other", "T2", -1, patients=2)
        names = [f"p{p}/T1/z{n}.png" for p in range(2) for n in range(3)]
        rows = {"file": names, "t2": [name.replace("T1", "T2") for name in names]}
        pd.DataFrame(rows).to_csv(home / "other.csv", index=False)
        (home / "other.csv").rename(home / "other/pairs.csv")
    data = ["other/pairs.csv", "--image", "file", "--target", "t2"] if how == "table" else ["other"]
    if how == "pairs":
        data += ["--pairs", "T1,T2"]
    code, out, said = modicum("evaluate", run, *data, "--name", how, "--workers", 0)
    assert code == 0, said
    assert "nmae" in out
    assert "6 images" in out
    stored = json.loads((home / run / f"evaluations/{how}/metrics.json").read_text())
    assert stored["images"] == 6
    assert (home / run / f"evaluations/{how}/examples/examples.json").is_file()


def test_an_evaluation_without_targets_names_what_is_missing(run, home, modicum):
    table = pd.DataFrame({"image": ["p0/T1/z0.png"]})
    table.to_csv(home / "brains/alone.csv", index=False)
    code, _, said = modicum("evaluate", run, "brains/alone.csv", "--workers", 0)
    (home / "brains/alone.csv").unlink()
    assert code == 2
    assert "no column 'target'" in said
    assert "--target COLUMN" in said


def test_weights_are_exported_with_a_card(run, home, modicum):
    code, out, _ = modicum("export", run, "--out", "generator.safetensors")
    assert (code, out) == (0, "generator.safetensors\n")
    assert json.loads((home / "generator.json").read_text())["part"] == "predictor"
    code, _, _ = modicum("export", run, "--part", "registration", "--out", "registration.safetensors")
    assert code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("fit", "brains", "--method", "reggan", "--pairs", "T1"),
            "is not two different words; pass SOURCE,TARGET",
        ),
        (("predict", "RUN", "brains", "--out", "x.csv"), "predictions of task 'image-to-image' are pictures"),
        (("predict", "RUN", "brains", "--overlap", "1"), "--overlap is 1"),
        (("predict", "RUN", "brains", "--native", "--tile", "3"), "--tile is 3"),
        (("predict", "RUN", "brains", "--out", "brains"), "is the folder of the images itself"),
        (("align", "RUN", "brains/p0/T1/z0.png", "nothing.png", "--out", "m.png"), "does not exist"),
    ],
)
def test_mistakes_are_named_in_one_line(words, said, run, modicum):
    code, _, error = modicum(*(run if word == "RUN" else word for word in words))
    assert code == 2
    assert said in error


def test_inspect_reads_pairs(home, modicum):
    code, out, _ = modicum("inspect", "brains", "--pairs", "T1,T2", "--workers", 0)
    assert code == 0
    assert json.loads((home / "fingerprint.json").read_text())["images"]
    assert "18" in out


def test_help_and_lists_know_the_task(modicum):
    for command in ("fit", "inspect", "evaluate"):
        code, out, _ = modicum(command, "--help")
        assert code == 0
        assert all(
            f"--{name}" in out for name in ("target", "mask", "fov", "domain", "pairs", "label", "images")
        )
    _, out, _ = modicum("methods")
    assert "image-to-image" in out
