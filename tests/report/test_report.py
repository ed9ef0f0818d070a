"""The report is one file that needs nothing else, says what the run folder says, and survives any folder."""

import base64
import io
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from made_run import FINDINGS, MadeRun, make_run, write_json
from pages import page_of
from PIL import Image

from modicum.report import build

SMALL = (("val", 40), ("test", 60))


@pytest.fixture(scope="module")
def grades(tmp_path_factory):
    return make_run(
        tmp_path_factory.mktemp("runs") / "grades", MadeRun(ordered=True, images=SMALL, pictures=6)
    )


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    run = MadeRun(images=(("test", 40),), classes=("a", "b", "c"), pictures=3, resamples=20)
    return make_run(tmp_path_factory.mktemp("runs") / "light", run)


@pytest.fixture
def copy(light, tmp_path):
    """A copy of a small run to damage."""
    return Path(shutil.copytree(light, tmp_path / "light"))


@pytest.fixture(scope="module")
def page(grades):
    return page_of(grades)


def metric(folder: Path, name: str) -> dict[str, float]:
    return json.loads((folder / "metrics.json").read_text())["evaluations"]["test"]["metrics"][name]


def test_page_asks_the_network_for_nothing(page, grades):
    text = (grades / "report.html").read_text()
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "base")
        for key in ("src", "href", "data", "srcset", "poster"):
            value = attributes.get(key, "")
            assert value.startswith(("data:image/", "#")) or not value
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert len(text) < 3_000_000


def test_ids_are_unique_and_references_resolve(page, grades):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert [name for name, times in Counter(ids).items() if times > 1] == []
    text = (grades / "report.html").read_text()
    wanted = set(re.findall(r'(?:url\(#|href="#|for="|aria-labelledby=")([^)"]+)', text))
    assert wanted - set(ids) == set()


def test_headline_is_the_selected_metric_of_the_test_set(page, grades):
    found = metric(grades, "auroc")
    assert "AUROC on the test set" in page.text
    assert f"{found['value']:.3f}" in page.text
    assert f"95 % interval {found['low']:.3f}–{found['high']:.3f}" in page.text


def test_every_summary_score_is_there_with_three_decimals(page, grades):
    metrics = json.loads((grades / "metrics.json").read_text())["evaluations"]["test"]["metrics"]
    for name, entry in metrics.items():
        if "/" not in name or name.startswith(("auroc/", "average_precision/")):
            assert f"{entry['value']:.3f}".replace("-", "−") in page.text, name


def test_facts_of_the_run_are_told_in_human_units(page):
    for words in ("4.93 M", "384 MiB", "2 min 11 s", "full fine-tuning", "resnet10t", "of 30 patients"):
        assert words in page.text, words
    assert "85.3 images/s" in page.text
    assert "learnable parameters" in page.text
    assert "100 % of 4.93 M" in page.text


def test_confusion_counts_are_those_of_the_predictions(page, grades):
    import pandas as pd
    from sklearn.metrics import confusion_matrix

    table = pd.read_csv(
        grades / "evaluations" / "test" / "predictions.csv", dtype={"truth": str, "prediction": str}
    )
    expected = confusion_matrix(table["truth"], table["prediction"], labels=list("01234"))
    html = (grades / "report.html").read_text()
    first = html[html.index('class="confusion') :]
    cells = re.findall(r'<td class="(?:hit|miss|zero)"[^>]*>(\d+)', first)[:25]
    assert [int(cell) for cell in cells] == expected.ravel().tolist()


def test_recipe_is_shown_to_the_letter(page, grades):
    html = (grades / "report.html").read_text()
    shown = re.search(r"<pre>(.*?)</pre>", html, re.DOTALL)
    assert shown is not None
    assert shown.group(1) == (grades / "recipe.yaml").read_text()


def test_same_folder_gives_the_same_bytes(page, grades, tmp_path):
    first = (grades / "report.html").read_bytes()
    elsewhere = shutil.copytree(grades, tmp_path / "grades")
    assert build(Path(elsewhere)).read_bytes() == first


def test_pictures_are_small_jpegs_of_the_examples(page, grades):
    sources = [a["src"] for t, a in page.tags if t == "img"]
    entries = json.loads((grades / "evaluations" / "test" / "examples" / "examples.json").read_text())
    assert len(sources) == 2 * sum(
        len(json.loads(path.read_text())) for path in grades.glob("evaluations/*/examples/examples.json")
    )
    for source in sources[:2]:
        image = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
        assert max(image.size) <= 320
    assert all(entry["image"] in page.text for entry in entries)
    assert all(a.get("alt") for t, a in page.tags if t == "img")


def test_transparent_overlay_is_laid_over_its_picture(copy):
    folder = copy / "evaluations" / "test" / "examples"
    entry = json.loads((folder / "examples.json").read_text())[0]
    Image.new("RGB", (50, 50), (200, 200, 200)).save(folder / entry["picture"])
    Image.new("RGBA", (50, 50), (255, 0, 0, 128)).save(folder / entry["overlay"])
    write_json(folder / "examples.json", [entry])
    sources = [a["src"] for t, a in page_of(copy).tags if t == "img"]
    seen = (
        Image.open(io.BytesIO(base64.b64decode(sources[1].partition(",")[2])))
        .convert("RGB")
        .getpixel((25, 25))
    )
    assert seen == pytest.approx((228, 100, 100), abs=4)


def test_binary_sentence_counts_what_it_finds_of_a_hundred(tmp_path):
    folder = make_run(
        tmp_path / "b", MadeRun("binary", ("virus", "covid"), images=(("test", 80),), pictures=0)
    )
    found, left_alone = metric(folder, "sensitivity"), metric(folder, "specificity")
    page = page_of(folder)
    assert f"Of 100 images with “covid” it found about {round(100 * found['value'])} (" in page.text
    alarms = round(100 * (1 - left_alone["value"]))
    assert f"of 100 without, it took about {alarms} (" in page.text
    html = (folder / "report.html").read_text()
    dots = re.search(r'<svg class="hundred".*?</svg>', html, re.DOTALL)
    assert dots is not None
    assert dots.group().count('class="good"') == round(100 * found["value"])
    assert dots.group().count("<circle") == 100


def test_findings_have_a_row_each(tmp_path):
    run = MadeRun("multi-label", FINDINGS, images=(("test", 150),), pictures=3, method="linear", resamples=40)
    folder = make_run(tmp_path / "f", run)
    page = page_of(folder)
    assert page.count("svg", class_="stamp") == 14
    for name in FINDINGS:
        assert f"{metric(folder, f'auroc/{name}')['value']:.3f}" in page.text
    assert "linear probe on a frozen backbone" in page.text
    assert "0.052 % of 4.93 M" in page.text
    assert "What was taken for what" not in page.text


def test_few_images_are_called_few(tmp_path):
    folder = make_run(tmp_path / "t", MadeRun("binary", ("0", "1"), images=(("val", 9),), pictures=0))
    page = page_of(folder)
    assert "fewer than 50 in the validation set of" in page.text
    assert "There is no test set" in page.text
    assert "too few to say how many of a hundred" in page.text


def test_intervals_by_image_are_called_so(tmp_path):
    folder = make_run(tmp_path / "i", MadeRun(images=(("test", 60),), patients=False, pictures=0))
    page = page_of(folder)
    assert "Intervals treat images as independent" in page.text
    assert "bootstrap resamples of images" in page.text


def test_agreement_below_chance_stands_where_it_is(light, tmp_path):
    """Moved to the end of an axis from 0 to 1, the dot would tell a better value."""
    folder = Path(shutil.copytree(light, tmp_path / "run"))
    for path in (folder / "metrics.json", folder / "evaluations" / "test" / "metrics.json"):
        content = json.loads(path.read_text())
        info = content["evaluations"]["test"] if "evaluations" in content else content
        info["metrics"] = {"quadratic_kappa": {"value": -0.1, "low": -0.35, "high": 0.1}}
        path.write_text(json.dumps(content))
    build(folder)
    text = (folder / "report.html").read_text()
    assert "<span>−1</span><span>1</span>" in text
    assert "left:45.00%" in text  # (-0.1 + 1) / 2
    assert "left:0.00%" not in text.replace("left:0.00%;width", "")


def test_patients_are_counted_as_the_intervals_count_them(light, tmp_path):
    """Three images of unknown patients are three patients, on the first screen and in the table of the data."""
    folder = Path(shutil.copytree(light, tmp_path / "run"))
    table = (folder / "manifest.csv").read_text().splitlines()
    start = next(number for number, line in enumerate(table) if ",test" in line)
    table[start : start + 3] = [re.sub(r"test-p\d+", "", line) for line in table[start : start + 3]]
    (folder / "manifest.csv").write_text("\n".join(table) + "\n")
    build(folder)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (folder / "report.html").read_text()))
    # 40 images, two a patient: the first patient became two, the second lost one of its two images to a third.
    assert re.search(r"patients \d+ 22 ", text)
