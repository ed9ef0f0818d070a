"""Comparisons of translations: settings of one method as rows, lower errors as better ones, no classifier's words."""

import cv2
import numpy as np
import pandas as pd
import pytest
from small_comparison import Tables, markdown_rows

import modicum
from modicum.comparison.compare import _check_once
from modicum.comparison.request import Request

TINY = {
    "image_size": 32,
    "epochs": 1,
    "batch_size": 4,
    "width": 4,
    "blocks": 0,
    "discriminator_width": 4,
    "registration_width": 4,
    "resamples": 20,
    "workers": 0,
    "device": "cpu",
}
ROWS = ["reggan-mode=p", "reggan-mode=nc+r"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """16 pairs of blurred noise and its negative, of 8 patients."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(16):
        noise = cv2.GaussianBlur(rng.normal(size=(32, 32)), (0, 0), 3)
        picture = np.clip(128 + 400 * noise, 1, 254).astype(np.uint8)
        cv2.imwrite(str(folder / f"a{number}.png"), picture)
        cv2.imwrite(str(folder / f"b{number}.png"), 255 - picture)
        split = "train" if number < 8 else "val" if number < 12 else "test"
        row = {"image": f"a{number}.png", "target": f"b{number}.png", "split": split}
        rows.append(row | {"patient": f"p{number // 2}"})
    pd.DataFrame(rows).to_csv(folder / "pairs.csv", index=False)
    return folder / "pairs.csv"


def compare(pairs, runs, name, **given):
    settings = {**TINY, "sweep": {"mode": ["p", "nc+r"]}, "seeds": 1, **given}
    return modicum.compare(pairs, "reggan", runs=runs, name=name, stores=pairs.parent / "stores", **settings)


@pytest.fixture(scope="module")
def done(pairs, tmp_path_factory):
    return compare(pairs, tmp_path_factory.mktemp("runs"), "modes")


def test_every_value_of_a_setting_is_a_row_with_runs_of_its_own(done):
    assert list(done.table["method"]) == ROWS
    assert list(done.table["mode"]) == ["p", "nc+r"]
    assert sorted(path.name for path in (done.path / "cells").iterdir()) == sorted(
        f"{row}-seed0" for row in ROWS
    )
    assert done.failed == []
    learnable = done.table.set_index("mode")["learnable"]
    assert learnable["nc+r"] > learnable["p"]  # the registration network


def test_the_row_of_the_lowest_error_is_named_best(done):
    table = done.table.set_index("method")
    assert set(table["metric"]) == {"nmae"}
    best = table["score"].idxmin().removeprefix("reggan-")
    page = (done.path / "compare.html").read_text()
    shown = [f"{score:.3f}" for score in sorted(table["score"])]
    alike = f"All score alike (NMAE {shown[0]})"
    assert (alike if shown[0] == shown[-1] else f"{best} scores best (NMAE {shown[0]})") in page
    assert "Down and to the left is better" in page
    front = set(table.index[table["pareto"]].str.removeprefix("reggan-"))
    assert best in front


def test_nothing_is_said_that_only_a_classifier_has(done):
    for name in ("compare.html", "table.md"):
        text = (done.path / name).read_text().rpartition("</style>")[2].partition("Made again from this")[0]
        for words in ("AUROC", "PPE", "PME", "% of full", "resnet50", " class "):
            assert words not in text, (name, words)
    assert done.table[["ppe", "pme", "memory_percent_of_full"]].isna().all(axis=None)
    assert sum("full fine-tuning" in caution for caution in done.cautions) == 1


def test_csv_markdown_and_page_agree(done):
    table = pd.read_csv(done.path / "table.csv")
    markdown = markdown_rows((done.path / "table.md").read_text())
    assert Tables((done.path / "compare.html").read_text()).tables[0] == markdown
    place = markdown[0].index("NMAE (test)")
    assert [float(row[place]) for row in markdown[1:]] == pytest.approx(table["score"].tolist(), abs=5e-4)


def test_the_validation_value_of_a_method_that_keeps_its_last_weights_is_known_too(done):
    assert done.cells["selection_value"].between(0, 1).all()


def test_of_learning_rates_the_one_of_the_lowest_validation_error_is_taken(pairs, tmp_path):
    found = compare(pairs, tmp_path, "rates", sweep=None, lr=[1e-9, 1e-2], mode="p", epochs=2)
    cells = found.cells.set_index("lr")
    assert found.table.loc[0, "lr"] == cells["selection_value"].idxmin()
    assert cells.loc[found.table.loc[0, "lr"], "use"] == "seed"


def test_a_value_more_trains_only_its_own_runs(done, pairs, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in done.path.glob("cells/*/metrics.json")}
    more = compare(pairs, done.path.parent, "modes", sweep={"mode": ["p", "nc+r", "nc"]})
    assert list(more.table["mode"]) == ["p", "nc+r", "nc"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_decibels_are_compared_in_decibels(pairs, tmp_path):
    found = compare(pairs, tmp_path, "decibels", sweep=None, mode="p", monitor="psnr", select="best")
    row = markdown_rows((found.path / "table.md").read_text())
    text = row[1][row[0].index("PSNR of the whole image (test)")]
    assert text == f"{found.table.loc[0, 'score']:.2f} dB"
    assert found.measure.higher_is_better
    assert found.table[["ppe", "pme"]].isna().all(axis=None)  # no percentage that could be discounted


def test_what_all_cells_have_to_say_of_the_data_is_said_once(pairs, tmp_path, capsys):
    table = pairs.parent / "unsplit.csv"
    pd.read_csv(pairs).drop(columns="split").to_csv(table, index=False)
    found = compare(table, tmp_path, "unsplit", seeds=2)
    said = [line for line in capsys.readouterr().err.splitlines() if line and "cells, now" not in line]
    assert found.failed == []
    assert len(said) == len(set(said))


def test_a_name_of_an_image_does_not_reach_the_tables(pairs, tmp_path, capsys):
    folder = tmp_path / "data"
    folder.mkdir()
    rows = pd.read_csv(pairs)
    for column in ("image", "target"):
        for name in rows[column]:
            (folder / name).write_bytes((pairs.parent / name).read_bytes())
    (folder / "Jane_Doe.png").write_bytes(b"\x89PNG broken")
    rows.loc[0, "image"] = "Jane_Doe.png"
    rows.to_csv(folder / "pairs.csv", index=False)
    found = compare(folder / "pairs.csv", tmp_path, "broken", sweep=None, mode="p")
    assert len(found.failed) == 1
    assert "1 of 16 images cannot be read" in found.errors[0]
    for name in ("cells.csv", "table.csv", "table.md", "compare.html"):
        text = (found.path / name).read_text()
        assert "Jane" not in text
        assert "cannot be read" in text
    assert "Jane_Doe" in capsys.readouterr().err  # the person at the keyboard is told which


def test_no_backbone_is_made_where_none_is_used(pairs, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a backbone was made")

    monkeypatch.setattr("modicum.comparison.compare.Backbone", refuse)
    _check_once(Request.of(pairs, ["reggan"], 1, (), TINY | {"workers": None}), new=True)
