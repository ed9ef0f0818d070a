"""The report of a segmentation: Dice in words, classes, domains and images, overlays, and what a search found."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_run import write_json
from made_segmentation import OPERATIONS, MadeSegmentation, make_segmentation
from pages import page_of

from modicum.tasks.segmentation.pictures import FALSE_ALARM, HIT, MISS
from modicum.transforms import Policy

SITES = ("Ayr", "Bern", "Cork")
SEARCHED = MadeSegmentation(
    images=(("test", 12),), domains=SITES, learned=SITES[:2], policies=True, spacing=(0.5, 0.5)
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_segmentation(tmp_path_factory.mktemp("runs") / "made")


@pytest.fixture(scope="module")
def page(made):
    return page_of(made)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = make_segmentation(tmp_path_factory.mktemp("runs") / "searched", SEARCHED)
    return folder, page_of(folder)


@pytest.fixture
def copy(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "copy"))


def predictions(folder, name="test"):
    return pd.read_csv(folder / "evaluations" / name / "predictions.csv")


def text_of(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def rows_of(text, title):
    """The rows of a table below a heading: its first cell, its small print, and the others."""
    table = text.partition(f"<h3>{title}</h3>")[2].partition("</table>")[0]
    return re.findall(r'<tr><th scope="row">(.*?)<small>(.*?)</small></th>(.*?)</tr>', table, re.DOTALL)


def before_the_recipe(page):
    return page.text.partition("Made again from this")[0]


def test_the_headline_counts_pixels_and_names_the_worst_image(page, made):
    table = predictions(made)
    true, marked = table["true_area"], table["predicted_area"]
    hits = (table["dice"] * (true + marked) / 2).round()  # Dice = 2 TP / (truth + prediction)
    assert (
        f"Of 100 pixels of “vessel” it marks about {100 * hits.sum() / true.sum():.0f}, and of 100 that it marks "
        f"about {100 * hits.sum() / marked.sum():.0f} are right" in page.text
    )
    assert f"overlap to {table['dice'].mean():.3f} (Dice) on average" in page.text
    assert f"The worst of 12 images reaches {table['dice'].min():.3f}" in page.text
    means = table.groupby("patient")["dice"].mean()
    assert f"from patient to patient it is {means.min():.3f} to {means.max():.3f}" in page.text
    assert "of 6 patients" in page.text


def test_the_page_knows_the_scores_of_the_task_and_their_directions():
    from modicum.report.words import lower_is_better, metric_meaning, metric_title
    from modicum.tasks.segmentation.metrics import metric_names

    for name in metric_names(("cup", "disc")):
        assert metric_meaning(name, "segmentation"), name
        assert lower_is_better(name) == (name.partition("/")[0] in {"hausdorff95", "surface_distance"}), name
    assert metric_title("dice/optic cup") == "Dice of “optic cup”"
    assert metric_title("hausdorff95/cup") == "Hausdorff distance, 95 % of “cup”"


def test_nothing_is_said_that_only_a_classifier_has(page, searched):
    for text in (before_the_recipe(page), before_the_recipe(searched[1])):
        for words in ("right decisions", "positives found", "confusion", "surest", "where the model looked"):
            assert words not in text, words
        assert "pixels that are right, of all images together" in text


def test_scores_of_a_selected_metric_are_explained_for_pixels(copy):
    metrics = json.loads((copy / "metrics.json").read_text())
    write_json(copy / "metrics.json", metrics | {"selection": {"metric": "accuracy"}})
    text = page_of(copy).text
    assert "Accuracy on the test set" in text
    assert "marking nothing has a high one, too" in text
    assert "that it named rightly" not in text


def test_distances_have_two_digits_and_their_unit(searched, page):
    assert "how far outlines are apart on average; lower is better; in mm" in searched[1].text
    assert "how far outlines are apart on average; lower is better; in pixels" in page.text
    row = text_of(searched[0]).partition('<th scope="row">Surface distance')[2].partition("</tr>")[0]
    assert re.search(r"<b>\d+\.\d\d</b>", row)
    assert 'class="whisker' not in row


def test_several_classes_have_a_row_each_the_worst_first(tmp_path):
    folder = make_segmentation(
        tmp_path / "several", MadeSegmentation(images=(("test", 8),), classes=("disc", "cup", "rim"))
    )
    page = page_of(folder)
    means = predictions(folder)[["dice/disc", "dice/cup", "dice/rim"]].mean().sort_values()
    rows = rows_of(text_of(folder), "Class by class")
    assert [name for name, _, _ in rows] == [name.partition("/")[2] for name in means.index]
    for (_, small, cells), value in zip(rows, means, strict=True):
        assert small == "in 8 of 8 images"
        assert f">{value:.3f}<" in cells
    assert f"“{rows[0][0]}” worst ({means.iloc[0]:.3f})" in page.text
    assert f"overlap to {means.mean():.3f} (Dice), the mean over 3 classes" in page.text
    assert "Classes disc cup rim" in page.text
    assert "marks “disc”, “cup” and “rim”" in page.text


def test_one_class_has_no_table_of_classes(page):
    assert "Class by class" not in page.text


def test_domains_have_means_spreads_and_what_was_learned_of_them(searched):
    folder, page = searched
    table = predictions(folder)
    manifest = pd.read_csv(folder / "manifest.csv").set_index("image")
    of_domain = table.groupby(manifest.loc[table["image"], "domain"].to_numpy())["dice"]
    rows = rows_of(text_of(folder), "Domain by domain")
    assert [name for name, _, _ in rows[:-1]] == list(of_domain.mean().sort_values().index)
    for name, small, cells in rows[:-1]:
        assert f">{of_domain.mean()[name]:.3f}<small>± {of_domain.std()[name]:.3f}<" in cells
        assert small == ("4 images; none in training" if name == "Cork" else "4 images; 10 in training")
    name, _, cells = rows[-1]
    assert name == "mean over domains"
    assert f"{of_domain.mean().mean():.3f}</b><small>± {of_domain.mean().std():.3f}<" in cells
    assert "a line the mean of a domain; 3 domains" in page.text


def test_without_domains_images_stand_by_patient(page, made):
    assert "Domain by domain" not in page.text
    assert "a line the mean of a patient; 6 patients" in page.text
    means = predictions(made).groupby("patient")["dice"].mean().sort_values()
    names = [name for name, _, _ in rows_of(text_of(made), "Patient by patient")]
    assert names == [*means.index, "all patients"]


def test_overlays_have_a_legend_in_the_colours_they_are_drawn_in(page, made):
    entries = [
        entry
        for path in made.glob("evaluations/*/examples/examples.json")
        for entry in json.loads(path.read_text())
    ]
    assert page.count("img") == sum(len(entry["panels"]) for entry in entries)
    for colour, words in ((HIT, "marked and right"), (MISS, "missed"), (FALSE_ALARM, "false alarm")):
        css = f"rgb({colour[0]},{colour[1]},{colour[2]})"
        assert f'style="background:{css}"></i><span class="name">{words}<' in text_of(made)
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    worst = predictions(made).sort_values("dice").iloc[0]
    card = text_of(made).partition(f"<code>{worst['image']}</code>")[0].rpartition("<figcaption>")[2]
    assert f"Dice {worst['dice']:.3f}" in card
    assert len(text_of(made)) < 3_000_000


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        (MadeSegmentation(images=(("test", 2),)), "The test set is one patient"),
        (MadeSegmentation(images=(("test", 6),)), "The test set is 3 patients"),
        (
            MadeSegmentation(images=(("test", 4),), fov=False),
            "No field of view is given, so all pixels count",
        ),
        (
            MadeSegmentation(images=(("test", 8),), empty=True),
            "2 images of 8 in the test set show no “vessel”: Dice is 1 where nothing is marked",
        ),
        (MadeSegmentation(images=(("test", 4),), domains=SITES[:1]), "All images are of one domain, “Ayr”"),
        (
            MadeSegmentation(images=(("test", 4),), domains=SITES),
            "Every domain of the test set was learned from",
        ),
        (
            MadeSegmentation(images=(("test", 4),), domains=SITES[2:], learned=SITES[:2]),
            "The test set is one domain that was not learned from, “Cork”",
        ),
        (
            MadeSegmentation(images=(("test", 4),), known_patients=False),
            "Intervals treat images as independent",
        ),
    ],
)
def test_what_the_scores_cannot_carry_is_said(tmp_path, page, run, sentence):
    assert sentence in page_of(make_segmentation(tmp_path / "run", run)).text
    assert sentence not in page.text


def test_images_without_the_class_count_where_there_are_any(page, tmp_path):
    for words in ("Images without the class", "Dice where present"):
        assert words not in page.text  # every image has it, and the second is Dice again
    folder = make_segmentation(tmp_path / "e", MadeSegmentation(images=(("test", 8),), empty=True))
    assert "says nothing of the model" in page_of(folder).text
    assert rows_of(text_of(folder), "All scores")
    row = text_of(folder).partition('<th scope="row">Images without the class')[2].partition("</tr>")[0]
    assert "0.250" in row


# --- what a search found ----------------------------------------------------------------------------------------------


def test_operations_have_their_probabilities_of_the_last_epoch(searched):
    folder, page = searched
    history = json.loads((folder / "metrics.json").read_text())["findings"]["search"]["history"]
    last = history[-1]["operations"]
    table = text_of(folder).partition("<h3>Every operation</h3>")[2].partition("</table>")[0]
    names = re.findall(r'<th scope="row">(\w+)</th>', table)
    assert names == sorted(OPERATIONS, key=lambda name: -last[name])
    assert f"<b>{100 * last[names[0]]:.1f} %</b>" in table
    assert "each of 8 operations" in page.text
    assert "All alike would be 12.5 %" in page.text


def test_policies_are_told_in_what_their_magnitudes_come_to(searched):
    folder, _ = searched
    findings = json.loads((folder / "metrics.json").read_text())["findings"]["search"]
    rewards = findings["history"][-1]["rewards"]
    table = text_of(folder).partition("<h3>Policies of the last epoch</h3>")[2].partition("</table>")[0]
    rows = re.findall(r'<tr><th scope="row">(\d+)</th>', table)
    assert [int(row) - 1 for row in rows] == list(np.argsort(rewards)[::-1])
    assert table.count("<li>") == sum(len(policy) for policy in findings["policy"]["policies"])
    Policy(policies=findings["policy"]["policies"])  # the page is about what an augmentation can be made of


@pytest.mark.parametrize(
    ("step", "words"),
    [
        # Pillow's enhancers take 0.1 to 1.9 in ten steps, posterize 4 to 8 bits, of which whole ones are kept.
        (["brightness", 0], ("brightness", "× 0.10")),
        (["contrast", 9], ("contrast", "× 1.90")),
        (["posterize", 8], ("posterize", "to 7 bits")),
        (["solarize", 9], ("solarize", "from level 256 on")),
        (["cutout", 9], ("cutout", "20 % of the width")),
        (["invert", 5], ("invert", "")),
        (["twirl", 5], ("twirl", "5")),
        (7, ("7", "")),
    ],
)
def test_magnitudes_in_words(step, words):
    from modicum.report.policies import step_words

    assert step_words(step, 10) == words


def test_a_discriminator_of_domains_is_no_adversary(copy):
    losses = {"segmentation": 0.4, "discriminator": 0.7}
    record = {
        "kind": "epoch",
        "stage": "search",
        "epoch": 0,
        "step": 6,
        "train": {"loss": 1.1, **losses},
        "val": {},
    }
    (copy / "history.jsonl").write_text(json.dumps(record) + "\n")
    text = page_of(copy).text
    assert "can images of different domains be told apart?" in text
    assert "real and made" not in text
    assert "Adversaries" not in text


def test_without_a_search_nothing_is_said_of_policies(page):
    assert "olicies" not in page.text
    assert "peration" not in page.text


@pytest.mark.parametrize(
    "findings",
    [
        3,
        {"search": 3},
        {"search": {"policy": None, "history": []}},
        {"search": {"policy": {"policies": [3, [["invert"], [["invert"]]]]}, "history": [{"epoch": "x"}, 4]}},
        {"search": {"policy": {"policies": 3}, "history": [{"epoch": 0, "operations": {"invert": None}}]}},
        {"search": {"policy": {"policies": [[]]}, "history": [{"epoch": 0, "operations": {"invert": 1.0}}]}},
    ],
)
def test_damaged_findings_are_left_out(copy, findings):
    metrics = json.loads((copy / "metrics.json").read_text())
    write_json(copy / "metrics.json", metrics | {"findings": findings})
    assert "Results" in page_of(copy).text


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: (place / "predictions.csv").unlink(),
        lambda place: (place / "predictions.csv").write_text("image,dice\n"),
        lambda place: (place / "predictions.csv").write_text("image,dice\na.png,x\n"),
        lambda place: (place / "predictions.csv").write_text("dice/a,dice/b\n0.5,\n,\n"),
        lambda place: write_json(place / "examples" / "examples.json", [{"kind": "mistake", "panels": 3}]),
        lambda place: write_json(
            place / "metrics.json", {"metrics": {"dice": {"value": None}, "dice/a": {}}, "patients": "two"}
        ),
        lambda place: (place.parents[1] / "manifest.csv").unlink(),
        lambda place: (place.parents[1] / "manifest.csv").write_text("split,domain\ntest,x\n"),
    ],
)
def test_damaged_parts_are_left_out(copy, damage):
    damage(copy / "evaluations" / "test")
    assert "Results" in page_of(copy).text


def test_a_segmentation_that_is_not_finished_has_a_page_with_its_network(copy):
    shutil.rmtree(copy / "evaluations")
    (copy / "metrics.json").unlink()
    write_json(copy / "status.json", {"state": "interrupted"})
    recipe = json.loads((copy / "recipe.yaml").read_text())
    write_json(copy / "recipe.yaml", recipe | {"config": {"architecture": "fpn"}})
    page = page_of(copy)
    assert "marks “vessel” with fpn" in page.text
    assert before_the_recipe(page).count("resnet18") == 1


def test_an_encoder_that_a_finished_run_calls_no_backbone_is_named(copy):
    recipe = json.loads((copy / "recipe.yaml").read_text())
    write_json(copy / "recipe.yaml", recipe | {"config": {"architecture": "unet"}})
    metrics = json.loads((copy / "metrics.json").read_text())
    write_json(copy / "metrics.json", metrics | {"backbone": None})
    assert "marks “vessel” with unet on resnet18" in page_of(copy).text


def test_ids_of_the_page_are_unique(searched):
    ids = [attributes["id"] for _, attributes in searched[1].tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_background_is_no_class_that_is_marked(tmp_path):
    run = MadeSegmentation(images=(("test", 4),), classes=("disc", "cup"))
    folder = make_segmentation(tmp_path / "exclusive", run)
    for name in ("metrics.json", "model.json"):
        content = json.loads((folder / name).read_text())
        facts = {"kind": "multi-class", "classes": ["background", "disc", "cup"]}
        write_json(
            folder / name, {"task": content["task"] | facts} if name == "model.json" else content | facts
        )
    page = page_of(folder)
    assert "marks “disc” and “cup”" in page.text
    assert "background" not in before_the_recipe(page)
