"""What is written never goes over what was read, and what cannot be written is said before anything is done."""

import numpy as np
import pandas as pd
import pytest
from made_runs import CLASSES, made_run
from PIL import Image

from modicum.errors import InputError, ModicumError
from modicum.output_paths import check_output
from modicum.run import Run


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return made_run(tmp_path_factory.mktemp("runs") / "linear", "linear", CLASSES).path


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    return made_run(tmp_path_factory.mktemp("runs") / "segment", "segment").path


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Two images with masks, ``labels.csv`` in the folder of the images, and a table elsewhere."""
    monkeypatch.chdir(tmp_path)
    for name in ("data/a.png", "data/b.png", "data/masks/a.png", "data/masks/b.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8)).save(path)
    (tmp_path / "data/labels.csv").write_text("image,label,mask\na.png,a,masks/a.png\nb.png,b,masks/b.png\n")
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("given", "out", "said"),
    [
        ("data/labels.csv", "data/labels.csv", "is a file that is read"),
        ("data", "data/labels.csv", "is a file that is read"),  # the folder's table
        ("data", "link.csv", "is a file that is read"),  # the same by another name
        ("data", "data/../data/labels.csv", "is a file that is read"),
        ("data/a.png", "RUN/manifest.csv", "is a file that is read"),  # the run's own
        ("data/a.png", "data", "has an unknown suffix"),
        ("data/a.png", "nowhere/p.csv", "folder 'nowhere' does not exist"),
        ("data/a.png", "folder.csv", "is a folder; name a file"),
        ("data/a.png", "x" * 300 + ".csv", "is too long for this disk"),
        ("data/a.png", "a\0b.csv", "has a NUL byte in it"),
        ("data/a.png", "data/a.png/p.csv", "does not exist; make it first"),
    ],
)
def test_tables_of_predictions(given, out, said, classifier, home):
    (home / "folder.csv").mkdir()
    (home / "link.csv").hardlink_to(home / "data/labels.csv")
    (classifier / "manifest.csv").write_text("image\n")
    before = contents(home), contents(classifier)
    with pytest.raises(ModicumError, match=said):
        Run.open(classifier).predict(given, out.replace("RUN", str(classifier)), device="cpu")
    assert before == (contents(home), contents(classifier))


def test_what_is_no_input_may_be_replaced(classifier, home):
    (home / "old.csv").write_text("image\nother\n")
    assert Run.open(classifier).predict("data", "old.csv", device="cpu").predicted == 2
    assert list(pd.read_csv("old.csv")["image"]) == ["a.png", "b.png"]
    # Also in the folder of the images, and once more: a table of predictions is none of images.
    for _ in range(2):
        assert Run.open(classifier).predict("data", "data/predictions.csv", device="cpu").predicted == 2


def test_masks_are_never_replaced_by_predictions_of_them(segmenter, home):
    (home / "out").mkdir()
    (home / "data/masks/a.png").rename(home / "data/a_predicted.png")
    table = (home / "data/labels.csv").read_text().replace("masks/a.png", "a_predicted.png")
    (home / "data/labels.csv").write_text(table)
    before = contents(home / "data")
    with pytest.raises(InputError, match=r"a_predicted\.png' is a file that is read"):
        Run.open(segmenter).predict("data/labels.csv", "data", device="cpu")
    assert before == contents(home / "data")


def test_a_table_of_pictures_is_not_replaced_while_it_is_read(segmenter, home):
    Run.open(segmenter).predict("data", "out", device="cpu")
    moved = pd.read_csv("out/predictions.csv").assign(image=["../data/a.png", "../data/b.png"])
    moved.to_csv("out/predictions.csv", index=False)
    before = contents(home)
    with pytest.raises(InputError, match=r"predictions\.csv' is a file that is read"):
        Run.open(segmenter).predict("out/predictions.csv", "out", device="cpu", allow_outside=True)
    assert before == contents(home)


def test_the_images_of_the_table_are_predicted_with_their_probabilities(segmenter, home):
    done = Run.open(segmenter).predict("data", "out", device="cpu", probabilities=True)
    assert done.predicted == 2
    assert sorted(path.name for path in (home / "out").glob("*.png")) == [
        "a_predicted.png", "a_probability_vessel.png", "b_predicted.png", "b_probability_vessel.png",
    ]  # fmt: skip


def test_probabilities_of_a_table_are_in_its_columns(classifier, home):
    with pytest.raises(InputError, match="--probabilities is for masks"):
        Run.open(classifier).predict("data", "p.csv", probabilities=True)


def test_checking_asks_the_system_for_permission(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # as for a folder of an archive
    with pytest.raises(InputError, match=r"cannot be written \(no permission for"):
        check_output("--out", tmp_path / "new/a.csv")
