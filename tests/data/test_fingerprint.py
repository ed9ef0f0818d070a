"""The fingerprint: counts and quantiles in closed form, warnings with remedies, tables that show it all."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from modicum.data.checks.fingerprint import fingerprint, quantiles, write_fingerprint
from modicum.data.checks.scan import ScanResult, scan
from modicum.data.image_facts import ImageFacts
from modicum.data.layouts import load_manifest
from modicum.data.manifest import Manifest
from modicum.errors import BrokenImageError
from modicum.planning.inspect_table import inspect_tables


def facts(ref: str, **changes) -> ImageFacts:
    """Facts of a made image; its thumbnail is noise of its own."""
    noise = np.random.default_rng(list(ref.encode())).integers(0, 256, 1024, np.uint8)
    values = {
        "ref": ref,
        "sha256": ref,
        "bytes": 1000,
        "format": "png",
        "bits": 8,
        "mode": "L",
        "height": 100,
        "width": 200,
        "slices": 1,
        "mislabelled": False,
        "mean": 0.5,
        "std": 0.25,
        "low": 0.0,
        "high": 1.0,
        "spacing": None,
        "thumbnail": noise.tobytes(),
    }
    return ImageFacts(**{**values, **changes})


def described(rows: list[dict], broken: tuple = (), **changes) -> dict:
    """The fingerprint of rows; ``changes`` gives a list of values, one for each image, for fields of its facts."""
    manifest = Manifest(pd.DataFrame(rows), root=Path("nowhere"), source="table.csv", name="made")
    unreadable = {error.image for error in broken}
    known = [
        facts(row["image"], **{name: values[at] for name, values in changes.items()})
        for at, row in enumerate(rows)
        if row["image"] not in unreadable
    ]
    found = fingerprint(manifest, ScanResult(known, list(broken)))
    json.dumps(found, allow_nan=False)
    return found


def shown(found: dict, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    for part in inspect_tables(found):
        console.print(part)
    return console.file.getvalue()


def rows(count: int, **columns) -> list[dict]:
    return [
        {"image": f"{i}.png", **{name: values[i] for name, values in columns.items()}} for i in range(count)
    ]


def texts(found: dict) -> list[str]:
    return [warning["text"] for warning in found["warnings"]]


def test_class_counts_and_imbalance_are_counted_by_split():
    labels = ["0"] * 12 + ["1"] * 6 + ["2"] * 2
    found = described(rows(20, label=labels, split=["train"] * 15 + ["test"] * 5))
    assert found["classes"] == {
        "all": {"0": 12, "1": 6, "2": 2},
        "train": {"0": 12, "1": 3, "2": 0},
        "test": {"0": 0, "1": 3, "2": 2},
    }
    assert found["imbalance"] == 6
    assert found["splits"] == {"train": 15, "test": 5}
    assert found["task"] == "multi-class"
    assert found["unlabelled"] == 0


def test_findings_have_prevalence_among_the_known():
    found = described(
        rows(8, **{"labels:Edema": [1, 1, 1, 0, float("nan"), 0, 0, 0], "split": ["train"] * 4 + ["val"] * 4})
    )
    assert found["task"] == "multi-label"
    assert found["findings"]["Edema"]["all"] == {
        "positive": 3,
        "negative": 4,
        "unknown": 1,
        "prevalence": pytest.approx(3 / 7, abs=1e-6),
    }
    assert found["findings"]["Edema"]["val"]["positive"] == 0
    assert "Edema" in shown(found)


def test_patients_and_eye_pairs_are_counted():
    found = described(
        rows(6, patient=["a", "a", "b", "c", "c", None], eye=["L", "R", "L", "L", "L", "R"]),
    )
    assert found["patients"] == 3
    assert found["images_without_patient"] == 1
    assert found["eyes"] == {"L": 4, "R": 2}
    assert found["eye_pairs"] == 1
    assert (found["images_per_patient"]["min"], found["images_per_patient"]["max"]) == (1, 2)


def test_files_are_counted_by_format_size_and_spacing():
    found = described(
        rows(4),
        format=["png", "png", "png", "dicom"],
        bits=[8, 8, 8, 16],
        height=[10, 20, 30, 40],
        spacing=[None, None, None, (0.5, 0.25)],
    )
    assert found["formats"] == {"png": 3, "dicom": 1}
    assert found["bits"] == {"8": 3, "16": 1}
    assert found["height"]["median"] == 25
    assert found["width"] == dict.fromkeys(("min", "p5", "p25", "median", "p75", "p95", "max"), 200)
    assert found["spacing"]["known"] == 1
    assert found["spacing"]["row"]["median"] == 0.5
    assert found["bytes"] == 4000


def test_quantiles_are_numpys():
    values = np.random.default_rng(0).random(57)
    found = quantiles(values)
    assert found is not None
    expected = np.quantile(values, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])
    assert list(found.values()) == pytest.approx(expected.tolist(), rel=1e-5)
    assert quantiles([]) is None


def test_overall_grey_levels_are_those_of_all_pixels_together():
    pixels = np.random.default_rng(0).random((5, 100)) * np.arange(1, 6)[:, None] / 5
    found = described(rows(5), mean=pixels.mean(1).tolist(), std=pixels.std(1).tolist())
    assert found["intensity"]["overall"]["mean"] == pytest.approx(pixels.mean(), rel=1e-5)
    assert found["intensity"]["overall"]["std"] == pytest.approx(pixels.std(), rel=1e-5)


def test_reports_masks_and_targets_are_counted():
    found = described(
        rows(3, report=["no acute finding", "clear", None], mask=["m", None, None], target=["a", "b", None])
    )
    assert found["reports"]["count"] == 2
    assert (found["reports"]["words"]["min"], found["reports"]["words"]["max"]) == (1, 3)
    assert (found["masks"], found["targets"]) == (1, 2)


def reports_in(folder: Path, cells: list[str | None]) -> dict:
    """The fingerprint of images that cannot be read, with reports."""
    manifest = Manifest(
        pd.DataFrame(rows(len(cells), report=cells)),
        folder,
        source="table.csv",
        origins=[f"row {row + 2}" for row in range(len(cells))],
    )
    found = fingerprint(manifest, ScanResult([], []))
    json.dumps(found, allow_nan=False)
    return found


def test_words_are_those_of_the_reports_that_can_be_used_and_the_others_are_listed(tmp_path):
    (tmp_path / "good.txt").write_text("Clear lungs. No effusion.")
    (tmp_path / "old.txt").write_bytes("Pleuraerguß rechts Smith".encode("cp1252"))
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)))
    cells = ["good.txt", "binary.txt", "gone.txt", "old.txt", None, "lost.txt"]
    found = reports_in(tmp_path, cells)
    reports = found["reports"]
    assert (reports["count"], reports["set_aside"], reports["changed"]) == (2, 3, 1)
    assert (reports["words"]["min"], reports["words"]["max"]) == (3, 4)
    assert reports["unusual"] == [
        {
            "what": "set aside",
            "reason": "its file is not text",
            "count": 1,
            "places": ["table.csv row 3"],
        },
        {
            "what": "set aside",
            "reason": "its file is missing",
            "count": 2,
            "places": ["table.csv row 4", "table.csv row 7"],
        },
        {
            "what": "changed",
            "reason": "it is not UTF-8 and was read as Windows-1252",
            "count": 1,
            "places": ["table.csv row 5"],
        },
    ]
    assert texts(found) == [
        "1 report set aside: its file is not text",
        "2 reports set aside: its file is missing",
        "1 report changed: it is not UTF-8 and was read as Windows-1252",
    ]
    flat = " ".join(shown(found).split())
    assert "2, 3.5 words (median), 4 at most; 3 set aside" in flat
    assert "table.csv row 7" in flat
    assert "Smith" not in json.dumps(found) + flat


def test_reports_none_of_which_can_be_used_are_described(tmp_path):
    found = reports_in(tmp_path, ["gone.txt", " "])
    assert (found["reports"]["count"], found["reports"]["words"]) == (0, None)
    assert "none that can be used; 2 set aside" in " ".join(shown(found).split())


def test_lists_of_reports_are_cut_off_and_their_counts_are_not(tmp_path):
    (unusual,) = reports_in(tmp_path, [f"{row}.txt" for row in range(250)])["reports"]["unusual"]
    assert (unusual["count"], len(unusual["places"])) == (250, 100)


@pytest.mark.parametrize("cells", [None, [None, None]])
def test_without_reports_none_is_described(tmp_path, cells):
    found = described(rows(2)) if cells is None else reports_in(tmp_path, cells)
    assert found["reports"] is None
    assert not any("report" in text for text in texts(found))


def test_duplicates_and_leaks_are_listed():
    found = described(
        rows(4, split=["train", "train", "test", "test"], patient=["a", "b", "b", "c"]),
        sha256=["A", "A", "B", "C"],
    )
    assert found["duplicates"] == 1
    assert found["duplicate_groups"] == [["0.png", "1.png"]]
    assert (found["leaks"], found["leaks_by_kind"]) == (1, {"patient": 1})
    assert found["leak_pairs"][0]["patient"] == "b"
    assert found["near_duplicates"] == 0


def test_near_duplicates_that_leak_are_not_warned_of_twice():
    picture = facts("x").thumbnail
    both = described(rows(2, split=["train", "test"]), thumbnail=[picture, picture])
    assert both["near_duplicates"] == 1
    assert both["leaks_by_kind"] == {"near-duplicate": 1}
    assert not any("nearly identical" in text for text in texts(both))
    one = described(rows(2, split=["train", "train"]), thumbnail=[picture, picture])
    assert any("1 pair of nearly identical images" in text for text in texts(one))


def test_broken_and_mislabelled_files_are_named():
    broken = (BrokenImageError("1.png", "the PNG data are truncated"),)
    found = described(rows(3), broken, mislabelled=[True, False, False], format=["jpeg", "png", "png"])
    assert (found["images"], found["readable"], found["broken"]) == (3, 2, 1)
    assert found["broken_files"] == [{"image": "1.png", "reason": "the PNG data are truncated"}]
    assert found["mislabelled_files"] == [{"image": "0.png", "format": "jpeg"}]
    text = shown(found)
    assert "1.png" in text
    assert "truncated" in text
    assert "--skip-broken" in text


@pytest.mark.parametrize(
    ("labels", "splits", "says"),
    [
        (["a"] * 22 + ["b"] * 2, None, "'a' has 11 times the images of class 'b' (22 to 2)"),
        (["a"] * 6, None, "all labelled images are of one class, 'a'"),
        (["a"] * 10 + ["b"] * 9, ["train"] * 15 + ["val"] * 4, "in val ('a': 0, 'b': 4)"),
        (["a", "b", None], None, "1 image without a label"),
        (
            ["a", "b"] * 8 + ["c"],
            ["train"] * 12 + ["test"] * 5,
            "no training image of class 'c' (1 elsewhere)",
        ),
        (
            ["a", "b"] * 8 + ["c"],
            ["train"] * 12 + ["val"] * 5,
            "no training image of class 'c' (1 elsewhere)",
        ),
    ],
)
def test_labels_that_make_trouble_are_warned_of_with_a_remedy(labels, splits, says):
    columns = {"label": labels} | ({"split": splits} if splits else {})
    found = described(rows(len(labels), **columns))
    (warning,) = [warning for warning in found["warnings"] if says in warning["text"]]
    assert warning["remedy"]
    flat = " ".join(shown(found).split())
    assert says in flat
    assert warning["remedy"] in flat


@pytest.mark.parametrize(
    ("cells", "splits", "says", "stops"),
    [
        ([np.nan] * 4, ["train"] * 3 + ["val"], "no known label of finding 'mass' in training", False),
        (
            [np.nan] * 3 + [1.0],
            ["train"] * 3 + ["val"],
            "no known label of finding 'mass' in training",
            False,
        ),
        ([np.nan] * 4, None, "no known label of finding 'mass'", False),
    ],
)
def test_findings_that_are_not_known_are_warned_of(cells, splits, says, stops):
    columns = {"labels:mass": cells, "labels:other": [1.0, 0.0] * 2} | ({"split": splits} if splits else {})
    found = described(rows(4, **columns))
    (warning,) = [warning for warning in found["warnings"] if warning["text"] == says]
    assert warning["stops"] is stops
    found = described(rows(4, **{"labels:mass": [np.nan] * 4}))
    assert found["warnings"][0]["stops"]


def test_good_data_give_no_warning():
    found = described(rows(40, label=["a", "b"] * 20, split=["train"] * 20 + ["val"] * 20))
    assert found["warnings"] == []
    assert "nothing to complain about" in shown(found)


def test_what_stops_training_comes_first():
    found = described(rows(30, label=["a"] * 30, split=["train"] * 30), mislabelled=[True] * 30)
    assert [warning["stops"] for warning in found["warnings"]] == [True, False]


def test_names_with_brackets_are_shown_as_they_are():
    broken = (BrokenImageError("[bold]x[/bold].png", "the file is empty"),)
    text = shown(described([{"image": "[bold]x[/bold].png", "label": "[red]"}, {"image": "b.png"}], broken))
    assert "[bold]x[/bold].png" in text
    assert "[red]" in text


@pytest.mark.parametrize("width", [40, 80, 160])
def test_tables_fit_the_terminal(width):
    found = described(
        rows(30, label=["a long name of a class"] * 20 + ["b"] * 10, split=["train"] * 15 + ["test"] * 15),
        sha256=["same"] * 30,
    )
    assert max(map(len, shown(found, width).splitlines())) <= width


def test_an_empty_or_unlabelled_set_can_be_described():
    assert described(rows(1))["classes"] is None
    nothing = described(rows(2), (BrokenImageError("0.png", "x"), BrokenImageError("1.png", "x")))
    assert nothing["height"] is None
    assert "broken" in shown(nothing)


def test_the_file_holds_the_fingerprint(tmp_path):
    found = described(rows(3, label=["ä", "b", "b"]))
    write_fingerprint(found, tmp_path / "fingerprint.json")
    assert json.loads((tmp_path / "fingerprint.json").read_text(encoding="utf-8")) == found
    assert list(tmp_path.iterdir()) == [tmp_path / "fingerprint.json"]


def test_the_fundus_photographs_are_as_their_description_says(real_images):
    folder = real_images("fundus_dr_grading")
    manifest = load_manifest(folder / "labels.csv", columns={"label": "dr_grade"})
    found = fingerprint(manifest, scan(manifest.refs(), workers=0))
    assert (found["images"], found["readable"], found["patients"]) == (416, 416, 208)
    assert found["classes"]["train"] == {"0": 138, "1": 51, "2": 83, "3": 15, "4": 11}
    assert found["classes"]["test"] == {"0": 26, "1": 11, "2": 16, "3": 1, "4": 4}
    assert found["height"]["max"] <= found["width"]["max"] == 512
    # One file, named with a hyphen, says of no eye.
    assert (found["eyes"], found["eye_pairs"]) == ({"L": 208, "R": 207}, 207)
    assert (found["leaks"], found["duplicates"], found["near_duplicates"], found["broken"]) == (0, 0, 0, 0)


def test_describing_images_does_not_wait_for_torch():
    code = "import sys, modicum.console.inspection; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_reading_the_table_found_is_shown():
    found = {**described(rows(3, label=["0", "1", "0"])), "notes": ["a.csv: 1 line is not UTF-8 [2]"]}
    assert "a.csv: 1 line is not UTF-8 [2]" in shown(found)
