"""Data that change under a run: resuming is refused with what changed; replaced and re-saved files are noticed."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from made_grades import fit, write_grades

import modicum
from modicum.data.checks.copies import near_hashes, resembling
from modicum.data.checks.scan import scan
from modicum.data.image import ImageRef
from modicum.data.manifest import Manifest
from modicum.data.stores.image_store import ImageStore, StoreSettings
from modicum.engine.inference.verification import verify_stores
from modicum.engine.inputs.data_changes import manifest_changes
from modicum.engine.run_folder import read_json
from modicum.engine.training.stage_trainer import StageTrainer
from modicum.errors import InputError

SETTINGS = {"epochs": 2, "resamples": 0, "checkpoint_steps": 1, "write_report": False}


class Killed(BaseException):
    pass


def disguised(path: Path, content: bytes) -> None:
    """Replaces a file by another of the same size and time of change."""
    state = path.stat()
    assert len(content) <= state.st_size
    path.write_bytes(content.ljust(state.st_size, b"\0"))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()


# --- resume --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """A folder with data and a run that was killed in its second epoch."""
    folder = tmp_path_factory.mktemp("killed")
    table = write_grades(folder / "data", images=32)
    original, calls = StageTrainer._step_ended, []

    def doomed(self, *arguments):
        calls.append(1)
        if len(calls) == 4:
            raise Killed
        original(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageTrainer, "_step_ended", doomed)
        with pytest.raises(Killed):
            fit(table, folder / "runs", "run", **SETTINGS)
    return folder


@pytest.fixture
def copy(killed, tmp_path) -> Path:
    return Path(shutil.copytree(killed, tmp_path / "copy"))


def resume(folder: Path):
    """Resumes the copied run with the copied data, which its recipe then names."""
    recipe = folder / "runs" / "run" / "recipe.yaml"
    table = folder / "data" / "labels.csv"
    lines = recipe.read_text().splitlines()
    recipe.write_text(
        "\n".join(f"  source: {table}" if line.startswith("  source:") else line for line in lines)
    )
    return fit(table, folder / "runs", "run", resume=True, **SETTINGS)


def change(folder: Path, do) -> None:
    path = folder / "data" / "labels.csv"
    table = pd.read_csv(path)
    do(table).to_csv(path, index=False)


def with_cell(column, row, value):
    def do(table):
        table[column] = table[column].astype(object)
        table.loc[row, column] = value
        return table

    return do


@pytest.mark.parametrize(
    ("do", "expected"),
    [
        (with_cell("grade", 0, 3), r"label of 1 image \(images/000.png: was '0', now '3'\)"),
        (with_cell("split", 0, "val"), r"split of 1 image \(images/000.png: was 'train', now 'val'\)"),
        (with_cell("patient", 5, "somebody"), r"patient of 1 image \(images/005.png\)"),
        (lambda table: table.drop(index=4), r"1 image gone \(images/004.png\)"),
        (lambda table: table[table["grade"] < 3], r"gone \(.*the classes were 0, 1, 2, 3, now 0, 1, 2"),
        (lambda table: table.assign(grade=table["grade"] + 1), r"label of 32 images .*were 0, 1, 2, 3, now 1"),
        (lambda table: table.drop(columns="patient"), r"column 'patient' is gone"),
    ],
)  # fmt: skip
def test_resuming_with_other_data_is_refused_with_what_changed(copy, do, expected):
    change(copy, do)
    with pytest.raises(
        InputError, match=rf"the data of run 'run' have changed since it was started: .*{expected}"
    ) as error:
        resume(copy)
    assert "somebody" not in str(error.value)


def test_resuming_with_another_picture_in_a_file_is_refused_and_with_the_old_one_it_goes_on(copy):
    picture = copy / "data" / "images" / "008.png"
    before = picture.read_bytes()
    cv2.imwrite(str(picture), np.random.default_rng(9).integers(0, 255, (32, 32, 3), dtype=np.uint8))
    with pytest.raises(InputError, match=r"1 file of another content \(images/008.png\)"):
        resume(copy)
    picture.write_bytes(before)
    resume(copy)


def test_tables_are_compared_image_by_image():
    def table(rows):
        return Manifest(pd.DataFrame(rows), Path(), source="t")

    rows = [{"image": f"{n % 3}.png", "label": str(n), "labels:x": float(n % 2)} for n in range(5)]
    assert manifest_changes(table(rows), table([rows[i] for i in (1, 0, 2, 3, 4)])) == [
        "the order of the rows"
    ]
    assert manifest_changes(table(rows), table(rows)) == []
    changed = [*rows[:4], {**rows[4], "labels:x": np.nan}]
    assert manifest_changes(table(rows), table(changed)) == ["x of 1 image (1.png: was '0.0', now '')"]
    assert manifest_changes(table(rows), table([*rows, {"image": "9.png"}])) == ["1 image new (9.png)"]
    more = table(rows).with_columns(sha256=["a"] * 5, near_hash=["b"] * 5)
    assert manifest_changes(more, table(rows)) == []  # of another version


def test_a_run_that_failed_before_its_first_step_takes_other_data(tmp_path):
    table = write_grades(tmp_path / "data", images=32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "modicum.engine.fit.run_stages", lambda *_: (_ for _ in ()).throw(InputError("no", "no"))
        )
        with pytest.raises(InputError):
            fit(table, tmp_path / "runs", "run", **SETTINGS)
    change(tmp_path, with_cell("grade", 0, 3))
    fit(table, tmp_path / "runs", "run", **{**SETTINGS, "epochs": 1})


# --- replaced files ------------------------------------------------------------------------------------------------


def test_a_store_that_checks_content_reads_a_replaced_file_again(tmp_path, capsys):
    pictures = [np.full((16, 16), 40 * n, np.uint8) for n in range(4)]
    refs = []
    for number, picture in enumerate(pictures):
        (tmp_path / f"{number}.png").write_bytes(png(picture) + bytes(200))
        refs.append(ImageRef(tmp_path / f"{number}.png"))
    settings = StoreSettings(16, 16, channels=1)
    ImageStore.build_or_open(refs, tmp_path / "stores", settings)
    disguised(refs[2].path, png(np.full((16, 16), 250, np.uint8)))
    trusting = ImageStore.build_or_open(refs, tmp_path / "stores", settings)
    assert trusting.get([2]).max() == 80
    checking = ImageStore.build_or_open(refs, tmp_path / "stores", settings, check_content=True)
    assert checking.get([2]).min() == 250
    assert checking.get([1]).max() == 40
    assert "1 file replaced by another of the same size and time (2.png)" in "".join(capsys.readouterr())
    again = ImageStore.build_or_open(refs, tmp_path / "stores", settings)
    assert again.get([2]).min() == 250


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    table = write_grades(folder / "data", images=32)
    for path in (folder / "data" / "images").iterdir():
        path.write_bytes(path.read_bytes() + bytes(3000))  # room for another picture of the same size
    return fit(table, folder / "runs", "run", **{**SETTINGS, "epochs": 1}), folder


def test_verify_finds_a_file_that_was_replaced_by_one_of_the_same_size_and_time(finished, tmp_path):
    run, folder = finished
    path = folder / "data" / "images" / "004.png"
    before = path.read_bytes()
    assert verify_stores(run.folder, recompute=1).damaged == 0
    disguised(path, png(np.random.default_rng(1).integers(0, 255, (32, 32, 3), dtype=np.uint8)))
    try:
        assert verify_stores(run.folder).damaged == 0  # reads no file
        found = verify_stores(run.folder, recompute=1)
        assert found.damaged == 1
        assert "1 file replaced by another of the same size and time (004.png)" in found.lines[0]
        after = verify_stores(
            run.folder, recompute=1
        )  # it was read again, and is not what the run learned from
        assert after.damaged == 0
        assert any(
            "not those that the run was trained on: 1 file of another content" in line for line in after.lines
        )
    finally:
        disguised(path, before)
        verify_stores(run.folder, recompute=1)


def test_evaluate_scores_the_picture_that_is_there(finished, capsys):
    run, folder = finished
    path = folder / "data" / "images" / "003.png"  # of the test split, grade 0: dark
    before = path.read_bytes()
    settings = {"split": "test", "workers": 0, "write_report": False}
    run.evaluate(folder / "data" / "labels.csv", name="before", **settings)
    disguised(path, png(np.random.default_rng(1).normal(220, 12, (32, 32, 3)).clip(0, 255).astype(np.uint8)))
    try:
        run.evaluate(folder / "data" / "labels.csv", name="after", **settings)
    finally:
        disguised(path, before)
    first, second = (
        pd.read_csv(run.path / "evaluations" / name / "predictions.csv").set_index("image")
        for name in ("before", "after")
    )
    probabilities = [column for column in first if column.startswith("p_")]
    moved = (first[probabilities] - second[probabilities]).abs().max(axis=1)
    assert moved["images/003.png"] > 1e-3
    assert (moved.drop("images/003.png") == 0).all()
    assert "replaced by another of the same size and time (003.png)" in "".join(capsys.readouterr())


# --- images that were seen -----------------------------------------------------------------------------------------


def texture(seed: int, side: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).uniform(0, 255, (side // 8, side // 8))
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


SAVED = {
    "JPEG 50": lambda picture: cv2.imdecode(
        cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], 0
    ),
    "JPEG 95": lambda picture: cv2.imdecode(
        cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1], 0
    ),
    "half": lambda picture: cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "double": lambda picture: cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC),
    "brighter": lambda picture: cv2.convertScaleAbs(picture, alpha=0.8, beta=20),
}


@pytest.mark.parametrize("how", SAVED)
def test_pictures_that_were_saved_anew_are_known_again_and_strangers_are_not(tmp_path, how):
    def hashes(name, pictures):
        refs = []
        for number, picture in enumerate(pictures):
            path = tmp_path / f"{name}{number}.png"
            cv2.imwrite(str(path), picture)
            refs.append(ImageRef(path))
        return near_hashes(scan(refs, workers=0).facts)

    known = hashes("known", [texture(n, 128) for n in range(12)])
    again = hashes("again", [SAVED[how](texture(n, 128)) for n in range(12)])
    strangers = hashes("strangers", [texture(100 + n, 128) for n in range(12)])
    assert resembling(again, known).tolist() == list(range(12))
    assert resembling(strangers, known).tolist() == [-1] * 12


def test_blank_pictures_and_damaged_hashes_are_like_nothing():
    blank, some = "0" * 64, "0123456789abcdef" * 4
    assert resembling([blank, some, "nan", ""], [blank, "zz", some]).tolist() == [-1, 2, -1, -1]
    assert resembling([some], [blank]).tolist() == [-1]
    assert resembling([], [some]).tolist() == []


def test_too_many_pairs_are_not_compared(monkeypatch):
    monkeypatch.setattr("modicum.data.checks.copies.MOST_COMPARED", 3)
    assert resembling(["0" * 64] * 2, ["0" * 64] * 2) is None


def test_evaluate_says_how_many_images_look_like_training_images(tmp_path, capsys):
    rows = []
    for number in range(24):
        cv2.imwrite(str(tmp_path / f"{number}.png"), texture(number, 64))
        split = ("train", "train", "val")[number % 3]
        rows.append({"image": f"{number}.png", "grade": number % 2, "patient": f"p{number}", "split": split})
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    run = fit(tmp_path / "labels.csv", tmp_path / "runs", "run", **{**SETTINGS, "epochs": 1})
    new = tmp_path / "new"
    new.mkdir()
    rows = []
    for number in range(8):  # 0-2 as they are, 3-5 saved anew, 6-7 never seen
        name = f"n{number}.{'jpg' if 2 < number < 6 else 'png'}"
        cv2.imwrite(
            str(new / name),
            texture(number if number < 6 else 100 + number, 64),
            [cv2.IMWRITE_JPEG_QUALITY, 80],
        )
        rows.append({"image": name, "grade": number % 2})
    pd.DataFrame(rows).to_csv(new / "new.csv", index=False)
    content = run.evaluate(new / "new.csv", workers=0, write_report=False)
    assert content["seen"] == {"train": 2, "val": 1}
    assert content["resembling"] == {"train": 2, "val": 1}
    said = "".join(capsys.readouterr())
    assert "3 of 8 images were in the training data" in said
    assert "3 images of 8 look nearly the same as training images" in said
    kept = read_json(run.path / "evaluations" / "new" / "metrics.json")
    assert kept["resembling"] == {"train": 2, "val": 1}
    assert modicum.Run.open(run.path).metrics["evaluations"]["new"]["resembling"] == {"train": 2, "val": 1}
    page = run.report().read_text(encoding="utf-8")
    assert (
        "3 of these 8 images were in the training data, and 3 more look nearly the same as training images"
        in page
    )
