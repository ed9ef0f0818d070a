"""What readers ask of a report: groups as another library measures them, sums that add up, checklists that are whole."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from made_run import FINDINGS, MadeRun, make_run, write_json
from made_segmentation import make_segmentation
from pages import Page, page_of
from sklearn.metrics import confusion_matrix, roc_auc_score
from typer.testing import CliRunner

from modicum.cli import app
from modicum.errors import InputError
from modicum.report.files import read_run
from modicum.report.flow import flow_of
from modicum.report.flow_picture import flow_text
from modicum.report.for_readers import ReportOptions
from modicum.report.groups.bands import NOT_KNOWN, asked_column, grouped
from modicum.report.groups.measures import measures_of
from modicum.report.request import ReportRequest, write_reports
from modicum.report.review import claim, model_card, tripod_ai
from modicum.report.review.facts import facts_of, known_facts
from modicum.tasks.bootstrap import point_values


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    made = MadeRun("binary", ("healthy", "glaucoma"), (("val", 40), ("test", 120)), pictures=2, resamples=40)
    return make_run(tmp_path_factory.mktemp("runs") / "eyes", made)


@pytest.fixture(scope="module")
def table(run, tmp_path_factory):
    """The user's table: sex and age of each image, and columns that name someone."""
    manifest = pd.read_csv(run / "manifest.csv", dtype=str)
    rng = np.random.default_rng(0)
    n = len(manifest)
    manifest["sex"] = np.where(np.arange(n) % 3 == 0, "F", "M")
    manifest["age"] = rng.integers(20, 90, n).astype(str)
    manifest["site"] = np.where(np.arange(n) % 12 == 0, "small clinic", "big clinic")
    manifest["name"] = [f"Jane Doe {i}" for i in range(n)]
    manifest["number"] = [str(1000 + i) for i in range(n)]
    path = tmp_path_factory.mktemp("tables") / "people.csv"
    manifest.drop(columns=["label", "split"]).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def grouped_run(run, table):
    request = ReportRequest(ReportOptions(0.05), ("sex", "age:40,60", "site"), table, review=True)
    write_reports(run, None, request)
    return json.loads((run / "evaluations" / "test" / "groups.json").read_text())


def predictions(run):
    return pd.read_csv(
        run / "evaluations" / "test" / "predictions.csv", dtype={"truth": str, "prediction": str}
    )


def column(content, name):
    return {
        group["name"]: group for group in next(c for c in content["columns"] if c["column"] == name)["groups"]
    }


def test_metrics_of_groups_are_those_of_their_rows(run, table, grouped_run):
    rows = predictions(run).merge(pd.read_csv(table)[["image", "sex", "age"]], on="image")
    rows["truth"] = rows["truth"] == "glaucoma"
    for sex, group in column(grouped_run, "sex").items():
        inside = rows["sex"] == sex
        ours, others = (
            roc_auc_score(part["truth"], part["p_glaucoma"]) for part in (rows[inside], rows[~inside])
        )
        assert group["images"] == inside.sum()
        assert group["patients"] == rows[inside]["patient"].nunique()
        assert group["events"] == f"{rows[inside]['truth'].sum()} events"
        assert group["metrics"]["auroc"]["value"] == pytest.approx(ours, abs=1e-6)
        assert group["differences"]["auroc"]["value"] == pytest.approx(ours - others, abs=1e-6)
        assert group["metrics"]["auroc"]["low"] < ours < group["metrics"]["auroc"]["high"]
        (left, alarms), (missed, hits) = confusion_matrix(
            rows[inside]["truth"], rows[inside]["prediction"] == "glaucoma"
        )
        assert group["metrics"]["sensitivity"]["value"] == pytest.approx(hits / (hits + missed))
        assert group["metrics"]["specificity"]["value"] == pytest.approx(left / (left + alarms))
    ages = column(grouped_run, "age")
    assert {name: g["images"] for name, g in ages.items()} == {
        "below 40": (rows["age"] < 40).sum(),
        "40 to below 60": ((rows["age"] >= 40) & (rows["age"] < 60)).sum(),
        "60 and more": (rows["age"] >= 60).sum(),
    }


def test_a_small_group_is_named_without_numbers(run, grouped_run):
    assert column(grouped_run, "site")["small clinic"] == {"name": "small clinic", "too_small": True}
    text = Page((run / "report.html").read_text()).text
    assert "Too small for numbers (fewer than 20 images): small clinic" in text


def test_pages_hold_nothing_of_a_patient_or_the_machine(run, table, grouped_run):
    for page in ("report.html", "review.html", "review.md"):
        text = (run / page).read_text()
        assert "Jane" not in text
        assert str(run.parent) not in text
        assert str(table.parent) not in text
        assert not re.search(r"https?://", text)
    assert "Jane" not in json.dumps(grouped_run)
    policy = "default-src 'none'"
    assert policy in (run / "review.html").read_text()
    Page((run / "review.html").read_text())  # whole


def test_columns_that_name_someone_are_refused_in_one_line(run, table):
    for by, words in (
        ("patient", "names images or patients"),
        ("name", "it names images or patients"),
        ("number", "as numbers of"),
        ("nowhere", "no column 'nowhere'"),
        ("age:60,40", "no rising cut points"),
        ("sex:3", "no numbers"),
    ):
        with pytest.raises(InputError) as error:
            write_reports(run, None, ReportRequest(by=(by,), table=table))
        assert re.search(words, str(error.value).replace("\n", " ")), by
        assert "\n" not in str(error.value)


def test_a_table_of_other_images_is_refused(run, tmp_path):
    (tmp_path / "other.csv").write_text("image,sex\na.png,F\nb.png,M\n")
    with pytest.raises(InputError, match="none of the 120 images"):
        write_reports(run, None, ReportRequest(by=("sex",), table=tmp_path / "other.csv"))


def test_numbers_become_quartiles_and_blanks_a_group():
    values = [str(v) for v in np.linspace(0, 10, 41)] + ["", " "]
    bands = dict(grouped("size", (), values).groups)
    assert [int(inside.sum()) for inside in bands.values()] == [10, 10, 10, 11, 2]
    assert list(bands)[-1] == NOT_KNOWN
    assert sum(int(inside.sum()) for inside in bands.values()) == len(values)
    assert asked_column("labels:x", ["labels:x"]) == ("labels:x", ())


def test_metrics_of_all_images_are_those_of_the_evaluation(tmp_path):
    run = read_run(make_segmentation(tmp_path / "run"))
    measures = measures_of(run, run.main)
    measured = measures.of(np.arange(len(measures.rows)))
    values, _ = point_values(measured.statistics, len(measures.rows), measured.means)
    assert measures.names
    for name in measures.names:
        assert values[name] == pytest.approx(run.main.metrics[name]["value"], rel=1e-4), name


def test_operating_points_are_those_of_the_confusion_matrix(run, grouped_run):
    rows = predictions(run)
    (left, alarms), (missed, hits) = confusion_matrix(
        rows["truth"] == "glaucoma", rows["prediction"] == "glaucoma"
    )
    sensitivity, specificity = hits / (hits + missed), left / (left + alarms)
    bayes = sensitivity * 0.05 / (sensitivity * 0.05 + (1 - specificity) * 0.95)
    page = Page((run / "report.html").read_text())
    row = page.text[page.text.index("Operating point ") :]
    for value in (sensitivity, specificity, hits / (hits + alarms), left / (left + missed), bayes):
        assert f"{value:.3f}" in row[:700], value
    assert "PPV at 5 %" in page.text


@pytest.mark.parametrize(
    ("kind", "classes", "conditions"),
    [
        ("multi-label", FINDINGS[:3], list(FINDINGS[:3])),
        ("multi-class", ("0", "1", "2"), ["“1” or more", "“2”"]),
    ],
)
def test_each_condition_has_its_row_and_curve(tmp_path, kind, classes, conditions):
    made = MadeRun(kind, classes, (("test", 60),), ordered=kind == "multi-class", pictures=0, resamples=20)
    page = page_of(make_run(tmp_path / "run", made))
    curves = [a["aria-label"] for tag, a in page.tags if a.get("class") == "chart"]
    assert len(curves) == len(conditions)
    for condition, curve in zip(conditions, curves, strict=True):
        assert condition.strip("“”") in curve
    assert "Calibration in numbers" in page.text


def test_flow_adds_up_to_the_files(run):
    flow = flow_of(read_run(run))
    manifest = pd.read_csv(run / "manifest.csv")
    assert flow.adds_up
    assert flow.kept == len(manifest)
    assert flow.found == len(manifest) + 1  # broken.csv has one row
    assert {part.name: part.images for part in flow.parts} == {
        "Training": (manifest["split"] == "train").sum(),
        "Validation": 40,
        "Test": 120,
    }
    assert flow.parts[2].evaluated == len(predictions(run))


def test_flow_tells_why_images_were_set_aside(run, tmp_path):
    import shutil

    copy = tmp_path / "eyes"
    shutil.copytree(run, copy)
    manifest = pd.read_csv(copy / "manifest.csv", dtype=str)
    manifest.loc[:9, "split"] = ""
    manifest.to_csv(copy / "manifest.csv", index=False)
    facts = json.loads((copy / "fingerprint.json").read_text())
    write_json(
        copy / "fingerprint.json",
        {**facts, "flow": {"listed": len(manifest) + 10, "broken": 1, "quality": 4, "leaks": 3}},
    )
    flow = flow_of(read_run(copy))
    assert flow.adds_up
    assert [amount for _, amount in flow.set_aside] == [1, 4, 3, 2]
    assert flow.parts[-1].images == 10
    text = flow_text(flow)
    for words in ("4 images of low quality", "3 images leaked between splits", "Left out of all splits"):
        assert words.lower() in text.lower(), words


def test_checklists_have_the_items_of_their_papers():
    assert [item.number for item in claim.ITEMS] == [str(number) for number in range(1, 45)]
    numbers = [item.number for item in tripod_ai.ITEMS]
    assert len(numbers) == len(set(numbers)) == 52
    assert list(dict.fromkeys(int(re.sub("[a-z]", "", number)) for number in numbers)) == list(range(1, 28))
    known = set(known_facts())
    for item in (*claim.ITEMS, *tripod_ai.ITEMS, *model_card.ITEMS):
        assert set(item.facts) <= known
        assert item.facts or item.write, item.number
    assert len(model_card.ITEMS) == 9  # the sections of Mitchell et al.


def test_review_says_where_each_answer_comes_from(run, grouped_run):
    text = (run / "review.md").read_text()
    rows = [line for line in text.splitlines() if re.match(r"\| \d+[a-g]? \|", line)]
    assert len(rows) == 44 + 52
    assert all("**Missing:**" in row or "(`" in row or "not applicable" in row for row in rows)
    metrics = json.loads((run / "metrics.json").read_text())["evaluations"]["test"]["metrics"]
    assert f"AUROC {metrics['auroc']['value']:.3f}" in text
    assert "none of the" in facts_of(read_run(run))["disjoint"].text
    assert "Auroc" not in text
    assert "groups.json" in text


def test_review_of_an_unfinished_run_is_written_too(tmp_path):
    folder = make_run(tmp_path / "half", MadeRun(finished=False))
    pages = write_reports(folder, None, ReportRequest(review=True))
    assert [page.name for page in pages] == ["report.html", "review.html", "review.md"]


def test_command_line_asks_for_all_of_it(run, table, tmp_path):
    page = tmp_path / "page.html"
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    arguments = [
        "report",
        str(run),
        "--by",
        "sex",
        "--table",
        str(table),
        "--for",
        "review",
        "--out",
        str(page),
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "By sex" in Page(page.read_text()).text
    assert (tmp_path / "page-review.md").is_file()
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
