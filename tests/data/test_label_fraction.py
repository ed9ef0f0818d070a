"""A share of the labels: whole patients, in proportion, the smaller inside the larger, the rest of the data as it was."""

import csv

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modicum
from modicum.data.label_fraction import keep_label_fraction
from modicum.data.manifest import Manifest
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.errors import InputError

# Patients of one to four images; each image has a class, and any of three findings that differ in how common they are.
patients = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from("aaaaaabbbc"), *(st.sampled_from([0] * zeros + [1]) for zeros in (2, 8, 30))
        ),
        min_size=1,
        max_size=4,
    ),
    min_size=3,
    max_size=60,
)


def cohort(root, drawn, findings: bool) -> Manifest:
    """Two of three patients are for training."""
    rows = [(number, image) for number, images in enumerate(drawn) for image in images]
    table = {
        "image": [f"{row}.png" for row in range(len(rows))],
        "patient": [str(number) for number, _ in rows],
        "split": [("train", "train", "val", "train", "train", "test")[number % 6] for number, _ in rows],
    }
    if findings:
        names = ("labels:Effusion", "labels:Edema", "labels:Hernia")
        table |= {name: [float(image[1 + i]) for _, image in rows] for i, name in enumerate(names)}
    else:
        table["label"] = [image[0] for _, image in rows]
    return Manifest(pd.DataFrame(table), root, source="labels.csv")


def learned(manifest: Manifest) -> set[str]:
    return set(manifest.part("train").table["image"])


def labels_of(manifest: Manifest) -> set[str]:
    table = manifest.table
    return {f for f in manifest.findings if (table[f"labels:{f}"] == 1).any()} or set(manifest.classes())


@settings(max_examples=40, deadline=None)
@given(
    drawn=patients,
    findings=st.booleans(),
    shares=st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)).map(sorted),
    seed=st.integers(0, 3),
    shuffle=st.randoms(use_true_random=False),
)
def test_properties_of_a_share(tmp_path_factory, drawn, findings, shares, seed, shuffle):
    whole = cohort(tmp_path_factory.getbasetemp(), drawn, findings)
    small, large = (keep_label_fraction(whole, share, seed) for share in shares)
    # The smaller lies inside the larger, and this inside the training part.
    assert learned(small) <= learned(large) <= learned(whole)
    for part, share in ((small, shares[0]), (large, shares[1])):
        # A patient is in it with all images, or with none.
        people = whole.part("train").table
        inside = people["image"].isin(learned(part))
        assert (inside.groupby(people["patient"]).nunique() == 1).all()
        # Every class or finding of the training part is there.
        assert labels_of(part.part("train")) == labels_of(whole.part("train"))
        # As many images as asked, but for one patient of four, and for one patient of each label.
        least = 4 * len(labels_of(whole.part("train")))
        assert share * len(people) - 4 <= len(learned(part)) <= max(share * len(people) + 4, least)
        # Nothing else changed.
        others = whole.table["split"] != "train"
        pd.testing.assert_frame_equal(part.table[others], whole.table[others])
        pd.testing.assert_frame_equal(part.table.drop(columns="split"), whole.table.drop(columns="split"))
    # The same whatever the order of the rows.
    order = list(range(len(whole)))
    shuffle.shuffle(order)
    assert learned(keep_label_fraction(whole.subset(order), shares[0], seed)) == learned(small)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_classes_keep_their_proportion(tmp_path, share):
    labels = ["0"] * 7000 + ["1"] * 2000 + ["2"] * 800 + ["3"] * 200
    table = pd.DataFrame(
        {"image": [f"{row}.png" for row in range(10_000)], "label": labels, "split": "train"}
    )
    kept = keep_label_fraction(Manifest(table, tmp_path), share, seed=2).part("train").table
    counts = kept["label"].value_counts()
    np.testing.assert_allclose(
        [counts[name] for name in "0123"], share * np.array([7000, 2000, 800, 200]), atol=1
    )


@pytest.mark.parametrize(("share", "closer"), [(0.02, 3), (0.1, 4)])
def test_findings_keep_their_proportion_better_than_patients_drawn_at_random(tmp_path, share, closer):
    # As common as effusion, nodule, oedema and hernia are in NIH's training list, each in few patients who have it often.
    draws = np.random.default_rng(1)
    patient = np.repeat(np.arange(5_000), np.minimum(draws.geometric(0.27, 5_000), 60))
    common = {
        "labels:Effusion": 0.118,
        "labels:Nodule": 0.056,
        "labels:Edema": 0.0148,
        "labels:Hernia": 0.0018,
    }
    odds = {name: p / 0.3 * draws.gamma(0.3, 1, 5_000)[patient] for name, p in common.items()}
    findings = {name: (draws.random(len(patient)) < odd).astype(float) for name, odd in odds.items()}
    table = pd.DataFrame(
        {"image": [f"{row}.png" for row in range(len(patient))], "patient": patient.astype(str)}
    )
    table = table.assign(split="train", **findings)
    expected = share * table[list(common)].sum()

    def distance(rows) -> float:
        """Mean over findings of the difference from the expected number, in standard deviations of a random draw."""
        return float(((rows[list(common)].sum() - expected).abs() / expected.pow(0.5)).mean())

    kept = keep_label_fraction(Manifest(table, tmp_path), share).part("train").table
    people = [draws.permutation(5_000)[: round(share * 5_000)] for _ in range(20)]
    at_random = np.mean([distance(table[np.isin(patient, chosen)]) for chosen in people])
    assert closer * distance(kept) < at_random
    assert abs(len(kept) - share * len(table)) <= 5
    # Neither those of many images nor those of few are preferred.
    assert kept["patient"].nunique() == pytest.approx(share * 5_000, rel=0.05)


def test_another_seed_keeps_other_patients(tmp_path):
    table = pd.DataFrame(
        {"image": [f"{row}.png" for row in range(200)], "label": ["a", "b"] * 100, "split": "train"}
    )
    whole = Manifest(table, tmp_path)
    assert learned(keep_label_fraction(whole, 0.1, 0)) != learned(keep_label_fraction(whole, 0.1, 1))


def test_the_whole_share_changes_nothing_and_no_share_is_refused(tmp_path):
    whole = cohort(tmp_path, [[("a", 0, 0, 0)]] * 6, findings=False)
    assert keep_label_fraction(whole, 1.0) is whole
    for fraction in (0.0, -0.5, 1.5):
        with pytest.raises(
            InputError, match=r"is not above 0 and at most 1; use for instance label_fraction=0.01"
        ):
            keep_label_fraction(whole, fraction)
    with pytest.raises(InputError, match=r"setting 'data.label_fraction' is 10"):
        make_recipe("images.csv", "linear", {"label_fraction": 10})


def test_a_run_says_and_keeps_what_was_left_out(tmp_path, capsys):
    draws = np.random.default_rng(0)
    rows = []
    for number in range(60):
        cv2.imwrite(str(tmp_path / f"{number}.png"), draws.integers(0, 255, (32, 32), np.uint8))
        rows.append([f"{number}.png", number // 2, number // 2 % 2, ("train", "train", "val")[number // 20]])
    with (tmp_path / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "patient", "label", "split"], *rows])
    run = modicum.fit(
        tmp_path / "table.csv",
        "linear",
        runs=tmp_path / "runs",
        backbone="test_vit",
        weights="random",
        image_size=32,
        epochs=1,
        label_fraction=0.2,
        resamples=0,
        workers=0,
    )
    assert "8 of 40 training images (4 of 20 patients, seed 0) are in training" in capsys.readouterr().err
    table = Manifest.read_saved(run.folder.manifest, tmp_path).table
    assert table["split"].value_counts(dropna=False).to_dict() == {np.nan: 32, "val": 20, "train": 8}
    assert run.metrics["evaluations"]["val"]["images"] == 20
    assert run.recipe.data.label_fraction == 0.2
    assert ">32<" in (run.path / "report.html").read_text(encoding="utf-8").replace("\n", "").replace(" ", "")
