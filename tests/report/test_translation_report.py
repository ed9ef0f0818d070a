"""The report of a translation: errors in the right direction, rows of pictures, patients, and what is not known."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_run import write_json
from made_translation import LOSSES, MadeTranslation, make_translation
from pages import page_of

SMALL = MadeTranslation(patients=(("test", 3),), slices=4)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_translation(tmp_path_factory.mktemp("runs") / "made")


@pytest.fixture(scope="module")
def page(made):
    return page_of(made)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return make_translation(tmp_path_factory.mktemp("runs") / "small", SMALL)


@pytest.fixture
def copy(small, tmp_path):
    return Path(shutil.copytree(small, tmp_path / "small"))


def predictions(folder, name="test"):
    return pd.read_csv(folder / "evaluations" / name / "predictions.csv")


def text_of(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_headline_is_the_error_with_its_direction(page, made):
    error = predictions(made)["nmae"].mean()
    assert "NMAE on the test set" in page.text
    assert f"{error:.3f}" in page.text
    assert "Lower is better" in page.text
    share = f"{100 * error:.1f}" if error < 0.0995 else f"{100 * error:.0f}"
    assert f"a translated pixel is off by {share} % of the grey scale on average" in page.text


def test_decibels_are_numbers_with_their_unit_and_stand_on_no_axis_of_shares(page, made):
    for name in ("psnr_foreground", "psnr_release", "psnr"):
        assert f"{predictions(made)[name].mean():.2f} dB" in page.text
    rows = re.findall(r'<tr><th scope="row">(PSNR|NMAE|SSIM)[^<]*<small>.*?</tr>', text_of(made), re.DOTALL)
    assert {"PSNR", "NMAE", "SSIM"} <= set(rows)
    for name, row in re.findall(r'<tr><th scope="row">(\w+)(.*?)</tr>', text_of(made), re.DOTALL):
        if name in ("PSNR", "NMAE", "SSIM"):
            assert ('class="whisker' in row) == (name != "PSNR"), name


def test_the_page_knows_the_scores_of_the_task():
    from modicum.report.words import metric_meaning, metric_title, metric_unit
    from modicum.tasks.image_to_image.metric_table import METRICS

    for metric in METRICS:
        assert metric_title(metric.name) == metric.title
        assert metric_meaning(metric.name, "image-to-image") == metric.meaning
    assert metric_unit("psnr") == "dB"


def test_published_and_recommended_scores_are_told_apart(page):
    assert page.text.count("only to compare with the paper's values") == 2 * 2  # PSNR, SSIM; two evaluations
    assert "PSNR as published" in page.text
    assert "recommended" in page.text


def test_every_patient_has_a_row_with_the_mean_of_its_images_the_worst_first(page, made):
    table = predictions(made)
    means = table.groupby("patient")[["nmae", "psnr"]].mean().sort_values("nmae", ascending=False)
    rows = re.findall(
        r'<tr><th scope="row">(test-\d\d)<small>8 images</small></th>(.*?)</tr>', text_of(made), re.DOTALL
    )
    assert [name for name, _ in rows] == list(means.index)
    for name, cells in rows:
        assert f">{means.loc[name, 'nmae']:.3f}<" in cells
        assert f">{means.loc[name, 'psnr']:.2f} dB<" in cells
        own = table[table["patient"] == name]["nmae"]
        assert f"{own.min():.3f}–{own.max():.3f}" in cells


def test_examples_are_rows_of_pictures_with_a_legend_of_the_differences(page, made):
    entries = [
        entry
        for path in made.glob("evaluations/*/examples/examples.json")
        for entry in json.loads(path.read_text())
    ]
    assert page.count("img") == sum(len(entry["panels"]) for entry in entries)
    assert page.count("div", class_="ramp") == 2  # one an evaluation, above its first gallery
    assert "50 % of the scale and more" in page.text
    for words in ("The worst", "Typical ones", "source", "output", "target", "difference", "displacement"):
        assert words in page.text
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    for sentence in ("surest mistakes", "got right", "where the model looked", "confusion", "classes apart"):
        assert sentence not in page.text
    assert len(text_of(made)) < 3_000_000


def test_displacements_are_summed_up_over_examples(page, made):
    entries = json.loads((made / "evaluations" / "test" / "examples" / "examples.json").read_text())
    fields = pd.DataFrame([entry["displacement"] for entry in entries])
    assert f"{fields['mean'].mean():.2f} px" in page.text
    assert f"{fields['max'].max():.1f} px" in page.text
    assert f"in {len(entries)} examples, in pixels of 64 × 64" in page.text


def test_without_registration_nothing_is_said_of_displacements(tmp_path):
    page = page_of(
        make_translation(tmp_path / "p", MadeTranslation(patients=(("test", 2),), displaced=False))
    )
    assert "isplacement" not in page.text.replace("changes of the displacement field", "")


def test_every_loss_has_a_picture_of_its_own_and_their_sum_none(page, made):
    drawn = [
        a["aria-label"]
        for t, a in page.tags
        if t == "svg" and a.get("aria-label", "").endswith("over epochs")
    ]
    named = ("Adversarial", "Correction", "Smoothness", "Discriminator", "NMAE on the validation set")
    assert drawn == [f"{name} over epochs" for name in named]
    assert {"real", "fake"} < set(LOSSES)
    assert "Training and validation loss" not in text_of(made)


def test_a_network_without_a_backbone_is_not_named_by_one(page, copy):
    assert "resnet50" not in page.text.partition("Recipe")[0]
    for name in ("metrics.json", "model.json"):  # of a run that is not finished only the recipe is there
        (copy / name).unlink()
    assert "resnet50" not in page_of(copy).text.partition("Recipe")[0]


def test_one_patient_gives_no_interval_and_the_page_says_so_once(tmp_path):
    folder = make_translation(tmp_path / "one", MadeTranslation(patients=(("test", 1),)))
    page = page_of(folder)
    assert "The test set is one patient: there is no interval" in page.text
    assert page.text.count("fewer than two patients") == 1
    assert "bootstrap" not in page.text


def test_pairs_and_no_pairs_are_told_apart(page, tmp_path):
    assert "learned from pairs" in page.text
    unpaired = page_of(
        make_translation(tmp_path / "u", MadeTranslation(patients=(("test", 2),), kind="unpaired"))
    )
    assert "learned without pairs" in unpaired.text
    assert (
        "Learned without pairs. Scores still compare each translation with the target of its row"
        in unpaired.text
    )


def test_targets_of_background_alone_are_counted(tmp_path):
    page = page_of(make_translation(tmp_path / "e", MadeTranslation(patients=(("test", 2),), empty=True)))
    assert "2 targets of the test set show background alone" in page.text


def test_values_that_were_cut_are_told_with_where(tmp_path):
    run = MadeTranslation(
        patients=(("test", 2),), options=(("target_window", [40.0, 400.0]), ("intensity", "percentile"))
    )
    page = page_of(make_translation(tmp_path / "w", run))
    assert "Targets were cut at -160 and 240" in page.text
    assert "errors are shares of that range" in page.text


def test_without_patients_there_is_a_distribution_and_no_table(tmp_path):
    folder = make_translation(tmp_path / "n", MadeTranslation(patients=(("test", 2),), known_patients=False))
    page = page_of(folder)
    assert "How many images have which" in page.text
    assert "Patient by patient" not in page.text


def test_many_patients_are_listed_to_a_bound_and_the_rest_are_counted(copy):
    place = copy / "evaluations" / "test" / "predictions.csv"
    rng = np.random.default_rng(0)
    rows = {"image": [f"{i}.png" for i in range(900)], "patient": [f"p{i // 2:03d}" for i in range(900)]}
    pd.DataFrame(rows | {"nmae": rng.uniform(0.05, 0.2, 900)}).to_csv(place, index=False)
    page = page_of(copy)
    assert len(re.findall(r'<th scope="row">p\d{3}<', text_of(copy))) == 40
    assert "410 more patients are better than these" in page.text
    assert len(text_of(copy)) < 1_500_000


def test_ids_of_a_page_with_small_pictures_are_unique(page, made):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = set(re.findall(r'(?:url\(#|href="#|for="|aria-labelledby=")([^)"]+)', text_of(made)))
    assert wanted <= set(ids)


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: (place / "predictions.csv").unlink(),
        lambda place: (place / "predictions.csv").write_text("image,nmae\na.png,x\n"),
        lambda place: (place / "examples" / "000_source.png").unlink(),
        lambda place: write_json(
            place / "examples" / "examples.json", [{"kind": "worst", "panels": 3}, {"panels": [1]}]
        ),
        lambda place: write_json(
            place / "examples" / "examples.json", [{"panels": [{"name": "x", "picture": "../../a"}]}]
        ),
        lambda place: write_json(
            place / "metrics.json", {"metrics": {"psnr": {"value": None}}, "patients": "two"}
        ),
    ],
)
def test_damaged_parts_are_left_out(copy, damage):
    damage(copy / "evaluations" / "test")
    assert "Results" in page_of(copy).text


def test_an_unfinished_translation_has_a_page(copy):
    shutil.rmtree(copy / "evaluations")
    for name in ("metrics.json", "model.json"):
        (copy / name).unlink()
    write_json(copy / "status.json", {"state": "interrupted"})
    page = page_of(copy)
    assert "learned from pairs" in page.text
    assert "Images with their targets" in page.text


def test_another_task_whose_predictions_are_pictures_shows_its_panels(copy):
    write_json(copy / "metrics.json", {"task": "outline-drawing", "run": "s"})
    place = copy / "evaluations" / "test"
    write_json(place / "metrics.json", {"metrics": {"dice": {"value": 0.8}, "hausdorff95": {"value": 7.5}}})
    panels = [
        {"name": name, "picture": f"000_{old}.png"}
        for name, old in (
            ("image", "source"),
            ("truth", "target"),
            ("prediction", "output"),
            ("overlay", "error"),
        )
    ]
    write_json(place / "examples" / "examples.json", [{"kind": "worst", "image": "a.png", "panels": panels}])
    page = page_of(copy)
    for words in ("Outline drawing report", "Dice", "0.800", "Hausdorff distance, 95 %", "truth", "overlay"):
        assert words in page.text
    assert page.count("img") == 4
