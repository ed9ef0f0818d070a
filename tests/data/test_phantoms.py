"""Made images: their labels, masks and texts must agree, at every size, and be the same on every run."""

import csv
import re
import time

import cv2
import numpy as np
import pytest
from scipy import ndimage

from modicum.data.phantoms import (
    CAMERAS,
    FINDINGS,
    LESIONS,
    SEVERE_PER_QUADRANT,
    chest,
    fundus,
    write_chest_dataset,
    write_fundus_dataset,
)
from modicum.errors import InputError

SEEDS = range(3)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1])


# --- fundus -------------------------------------------------------------------------------------------------


def test_a_fundus_seed_gives_the_same_pixels_again():
    first, again, other = fundus(5, 128, 3), fundus(5, 128, 3), fundus(6, 128, 3)
    assert np.array_equal(first.image, again.image)
    assert all(np.array_equal(first.lesions[name], again.lesions[name]) for name in LESIONS)
    assert not np.array_equal(first.image, other.image)


def test_a_generator_gives_another_patient_at_each_call():
    rng = np.random.default_rng(0)
    assert fundus(rng, 64).seed != fundus(rng, 64).seed


@pytest.mark.parametrize("seed", SEEDS)
def test_grade_0_has_no_lesions(seed):
    phantom = fundus(seed, 256, 0)
    assert not any(mask.any() for mask in phantom.lesions.values())
    assert sum(phantom.counts.values()) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_grade_1_has_microaneurysms_only(seed):
    present = {name for name, mask in fundus(seed, 256, 1).lesions.items() if mask.any()}
    assert present == {"microaneurysm"}


@pytest.mark.parametrize("seed", range(12))
def test_grade_2_has_more_than_microaneurysms_but_is_not_severe(seed):
    phantom = fundus(seed, 96, 2)
    assert phantom.counts["microaneurysm"] > 0
    assert any(phantom.counts[name] for name in ("haemorrhage", "hard_exudate", "soft_exudate"))
    assert phantom.counts["neovascularisation"] == 0
    assert min(phantom.haemorrhages_per_quadrant) < SEVERE_PER_QUADRANT
    assert not phantom.beading


@pytest.mark.parametrize("seed", range(8))
def test_grade_3_bleeds_in_all_four_quadrants_of_the_mask(seed):
    phantom = fundus(seed, 512, 3, eye="R")
    mask = phantom.lesions["haemorrhage"]
    half = 256
    for part in (mask[:half, :half], mask[:half, half:], mask[half:, :half], mask[half:, half:]):
        # Haemorrhages that touch count as one here, so the mask may show a few less than were drawn.
        assert ndimage.label(part)[1] >= SEVERE_PER_QUADRANT - 1
    assert min(phantom.haemorrhages_per_quadrant) >= SEVERE_PER_QUADRANT
    assert not phantom.lesions["neovascularisation"].any()


@pytest.mark.parametrize("seed", SEEDS)
def test_grade_4_has_new_vessels(seed):
    assert fundus(seed, 256, 4).lesions["neovascularisation"].any()


@pytest.mark.parametrize("domain", sorted(CAMERAS))
def test_lesions_lie_in_the_field_and_nothing_is_lit_outside_it(domain):
    phantom = fundus(3, 256, 4, domain=domain)
    assert not any((mask & ~phantom.field).any() for mask in phantom.lesions.values())
    outside = ~ndimage.binary_dilation(phantom.field, iterations=4)
    assert phantom.image[outside].max() <= 2


@pytest.mark.parametrize("seed", SEEDS)
def test_disc_is_bright_and_vessels_are_dark_in_green(seed):
    phantom = fundus(seed, 512, 0)
    green = phantom.image[..., 1].astype(float)
    retina = phantom.field & ~phantom.vessels & ~phantom.disc
    ring = ndimage.binary_dilation(phantom.disc, iterations=25) & retina
    assert green[phantom.disc & ~phantom.vessels].mean() > 1.15 * green[ring].mean()
    assert green[phantom.cup & ~phantom.vessels].mean() > green[phantom.disc & ~phantom.vessels].mean()
    beside = ndimage.binary_dilation(phantom.vessels, iterations=5) & retina
    assert green[phantom.vessels & ~phantom.disc].mean() < 0.9 * green[beside].mean()
    # Absorption by haemoglobin is strongest in green, so green shows vessels better than red.
    red = phantom.image[..., 0].astype(float)
    loss = [1 - c[phantom.vessels & ~phantom.disc].mean() / c[beside].mean() for c in (red, green)]
    assert loss[1] > loss[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_fovea_is_dark_and_temporal_of_the_disc(seed):
    for eye, temporal in (("L", 1), ("R", -1)):
        phantom = fundus(seed, 256, 0, eye=eye)
        assert temporal * (phantom.fovea[1] - phantom.disc_centre[1]) > 2 * phantom.disc_diameter
        row, column = (round(c) for c in phantom.fovea)
        around = phantom.image[row - 40 : row + 41, column - 40 : column + 41, 1]
        assert phantom.image[row - 3 : row + 4, column - 3 : column + 4, 1].mean() < 0.85 * around.mean()


def test_masks_of_disc_and_fovea_agree_with_their_coordinates():
    phantom = fundus(2, 256, 0, eye="R")
    assert np.allclose(ndimage.center_of_mass(phantom.disc), phantom.disc_centre, atol=0.6)
    area = phantom.disc.sum()
    assert 2 * np.sqrt(area / np.pi) == pytest.approx(phantom.disc_diameter, rel=0.03)
    assert not (phantom.cup & ~phantom.disc).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_microaneurysms_are_dark_red_and_off_the_vessels(seed):
    healthy, ill = fundus(seed, 512, 0), fundus(seed, 512, 1)
    spots = ill.lesions["microaneurysm"]
    assert not (spots & ill.vessels).any()
    before, after = healthy.image[spots].astype(float).mean(0), ill.image[spots].astype(float).mean(0)
    assert after[1] < 0.9 * before[1]
    assert after[0] / before[0] > after[1] / before[1]
    sizes = np.bincount(ndimage.label(spots, np.ones((3, 3)))[0].ravel())[1:]
    assert sizes.max() <= 20  # at most 4 pixels across, or two that touch


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_eye_at_another_grade_differs_by_its_lesions_only(seed):
    healthy, ill = fundus(seed, 256, 0), fundus(seed, 256, 1)
    changed = (healthy.image != ill.image).any(2)
    near = ndimage.binary_dilation(ill.lesions["microaneurysm"], iterations=6)
    assert not (changed & ~near).any()


def test_fine_lesions_vanish_at_low_resolution():
    """Marks that microaneurysms leave in green, over the retina's own texture, at 512 and at 64 pixels."""

    def visibility(seed: int, size: int) -> tuple[float, float]:
        healthy, ill = fundus(seed, size, 0), fundus(seed, size, 1)
        green = healthy.image[..., 1].astype(float)
        marks = green - ill.image[..., 1]
        spots, count = ndimage.label(ill.lesions["microaneurysm"], np.ones((3, 3)))
        peaks = ndimage.maximum(ndimage.maximum_filter(marks, 3), spots, range(1, count + 1))
        retina = ndimage.binary_erosion(healthy.field, iterations=size // 32) & ~healthy.disc
        texture = (green - ndimage.gaussian_filter(green, 3 * size / 256 + 0.5))[retina].std()
        return float(np.median(peaks) / texture), float(peaks.max())

    fine, coarse = (np.mean([visibility(s, size) for s in range(6)], axis=0) for size in (512, 64))
    assert fine[0] > 4  # plain to see
    assert coarse[0] < 1.7  # lost in the texture
    assert coarse[1] < 0.3 * fine[1]


@pytest.mark.parametrize("seed", SEEDS)
def test_fundus_shows_the_same_anatomy_at_256_and_512(seed):
    small, large = fundus(seed, 256, 3), fundus(seed, 512, 3)
    reduced = cv2.resize(large.image, (256, 256), interpolation=cv2.INTER_AREA)
    inside = ndimage.binary_erosion(small.field, iterations=4)
    for channel in range(3):
        assert correlation(small.image[inside][:, channel], reduced[inside][:, channel]) > 0.95
    ratio = large.vessels.mean() / small.vessels.mean()
    assert 0.8 < ratio < 1.6  # thin vessels, under half a pixel, drop out of the smaller mask
    assert large.counts == small.counts


def test_the_two_eyes_of_a_patient_look_alike_and_those_of_others_do_not():
    def tint(seed: int, eye: str) -> np.ndarray:
        phantom = fundus(seed, 96, 0, eye)
        light = phantom.image[phantom.field].astype(float).mean(0)
        return light / light.sum()

    left, right = (np.stack([tint(s, eye) for s in range(12)]) for eye in "LR")
    own = np.linalg.norm(left - right, axis=1).mean()
    others = np.linalg.norm(left[:, None] - right[None], axis=2).mean()
    assert own < 0.85 * others


def test_fundus_statistics_are_those_of_a_photograph():
    for seed in range(6):
        phantom = fundus(seed, 128)
        red, green, blue = phantom.image[phantom.field].astype(float).mean(0)
        assert 70 < red < 245
        assert red > green > blue
        assert phantom.image[phantom.field].std() > 10
        assert 0.6 < phantom.field.mean() < 0.8
        assert 0.03 < phantom.vessels.sum() / phantom.field.sum() < 0.2


def test_jpeg_coding_changes_pixels_a_little():
    plain, coded = fundus(1, 128, 0).image, fundus(1, 128, 0, jpeg=85).image
    difference = np.abs(plain.astype(int) - coded)
    assert 0 < difference.mean() < 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grade": 5}, "grade 5 is not in 0..4"),
        ({"domain": "clinik"}, "did you mean 'clinic'"),
        ({"size": 4}, "size 4 is not in"),
        ({"seed": -1}, "seed -1 is negative"),
    ],
)
def test_fundus_says_what_is_wrong(arguments, message):
    with pytest.raises(InputError, match=re.escape(message)):
        fundus(**{"seed": 0, **arguments})


def test_phantoms_are_quick_enough_to_make_while_training():
    """Bounds far above what one core of a small machine needs (35 ms and 70 ms), which other work may share."""
    for size, limit in ((256, 0.12), (512, 0.3)):
        fundus(0, size), chest(0, size)  # first calls load and cache
        start = time.process_time()
        for seed in range(5):
            fundus(seed, size, seed)
        assert (time.process_time() - start) / 5 < limit
        start = time.process_time()
        for seed in range(5):
            chest(seed, size)
        assert (time.process_time() - start) / 5 < limit


# --- chest --------------------------------------------------------------------------------------------------

TERMS = {
    "consolidation": "consolidation",
    "pneumothorax": "pneumothorax",
    "nodule": "nodule",
    "cardiomegaly": "cardiomegaly|enlarged|heart size is normal|silhouette is within normal",
}
DENIAL = re.compile(r"^(no |there is no )|not enlarged|is normal|within normal", re.IGNORECASE)


def read_report(text: str) -> dict[str, set[bool]]:
    """What the sentences of the FINDINGS say of each finding: affirmed (True), denied (False)."""
    body = re.match(r"FINDINGS: (.*)\nIMPRESSION: (.*)$", text)
    assert body
    said: dict[str, set[bool]] = {name: set() for name in FINDINGS}
    for sentence in re.split(r"(?<=[a-z)]|\d)\.\s*", body[1]):
        affirmed = not DENIAL.search(sentence)
        for name, pattern in TERMS.items():
            if re.search(pattern, sentence, re.IGNORECASE):
                said[name].add(affirmed)
        for match in re.finditer(r"(\w+ )?pleural effusion( on the (\w+))?", sentence, re.IGNORECASE):
            sides = {word.strip().lower() for word in (match[1], match[3]) if word} & {"left", "right"}
            for side in sides or {"left", "right"}:
                said[f"effusion_{side}"].add(affirmed)
    return said


@pytest.mark.parametrize("seed", range(30))
def test_the_report_states_what_is_there_and_denies_the_rest(seed):
    phantom = chest(seed, 16)
    said = read_report(phantom.report)
    assert said == {name: {name in phantom.findings} for name in FINDINGS}
    impression = phantom.report.split("IMPRESSION: ")[1].lower()
    for name in ("cardiomegaly", "consolidation", "pneumothorax", "nodule"):
        assert (name in impression) == (name in phantom.findings)
    assert ("effusion" in impression) == any("effusion" in name for name in phantom.findings)
    if not phantom.findings:
        assert impression.startswith(("no acute", "normal"))


def test_reports_vary_in_wording():
    assert len({chest(seed, 16, set()).report for seed in range(12)}) > 9


def test_sides_in_the_report_are_the_patients_own():
    for seed in range(6):
        for side in ("left", "right"):
            phantom = chest(seed, 128, {f"effusion_{side}"})
            column = ndimage.center_of_mass(phantom.masks[f"effusion_{side}"])[1]
            assert (column > 64) == (side == "left")  # the patient's left is on the right of the picture
            assert re.search(
                rf"{side} pleural effusion", phantom.report.split("IMPRESSION")[1], re.IGNORECASE
            )


def test_each_finding_changes_the_picture_where_its_mask_is():
    for seed in SEEDS:
        plain = chest(seed, 256, set())
        for name in ("effusion_left", "effusion_right", "consolidation", "pneumothorax", "nodule"):
            phantom = chest(seed, 256, {name})
            mask = phantom.masks[name]
            change = phantom.image[mask].mean() - plain.image[mask].mean()
            assert change < -3 if name == "pneumothorax" else change > 8, (seed, name, change)


@pytest.mark.parametrize("seed", range(8))
def test_masks_are_of_the_findings_present_and_lie_in_the_lungs(seed):
    phantom = chest(seed, 256)
    assert set(phantom.masks) == phantom.findings
    assert phantom.labels == {name: int(name in phantom.findings) for name in FINDINGS}
    lungs = phantom.lungs["left"] | phantom.lungs["right"]
    for name, mask in phantom.masks.items():
        assert mask.any()
        if name != "cardiomegaly":
            assert (mask & lungs).sum() > 0.95 * mask.sum()


@pytest.mark.parametrize("seed", range(8))
def test_an_enlarged_heart_is_wider_than_half_the_chest(seed):
    for size in (64, 256):
        normal, enlarged = chest(seed, size, set()), chest(seed, size, {"cardiomegaly"})
        assert normal.cardiothoracic_ratio < 0.5 < enlarged.cardiothoracic_ratio
    lungs = enlarged.lungs["left"] | enlarged.lungs["right"]
    inside, heart = np.flatnonzero(lungs.any(0)), np.flatnonzero(enlarged.heart.any(0))
    measured = np.ptp(heart) / np.ptp(inside)
    assert measured == pytest.approx(enlarged.cardiothoracic_ratio, abs=0.03)


@pytest.mark.parametrize("seed", SEEDS)
def test_lungs_are_dark_and_the_heart_is_not(seed):
    phantom = chest(seed, 256, set())
    free = (phantom.lungs["left"] | phantom.lungs["right"]) & ~phantom.heart
    assert phantom.image[free].mean() + 30 < phantom.image[phantom.heart].mean()
    assert phantom.image.min() < 20
    assert phantom.image.max() > 200


@pytest.mark.parametrize("seed", SEEDS)
def test_chest_shows_the_same_anatomy_at_256_and_512(seed):
    small, large = chest(seed, 256), chest(seed, 512)
    reduced = cv2.resize(large.image, (256, 256), interpolation=cv2.INTER_AREA)
    assert correlation(small.image, reduced) > 0.98
    assert small.findings == large.findings
    assert small.report.split("IMPRESSION")[1] == large.report.split("IMPRESSION")[1]


def test_an_unknown_finding_is_named_with_a_suggestion():
    with pytest.raises(InputError, match="did you mean 'nodule'"):
        chest(0, 64, {"nodul"})


# --- data sets ----------------------------------------------------------------------------------------------


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_larger_fundus_data_set_begins_with_the_smaller_one(tmp_path):
    fractions = {"train": 0.6, "val": 0.2, "test": 0.2}
    few = write_fundus_dataset(tmp_path / "few", 2, 64, seed=3, fractions=fractions, domains=tuple(CAMERAS))
    more = write_fundus_dataset(tmp_path / "more", 4, 64, seed=3, fractions=fractions, domains=tuple(CAMERAS))
    assert rows_of(few) == rows_of(more)[:4]
    for row in rows_of(few):
        for column in ("image", "mask", "lesions", "disc"):
            assert (few.parent / row[column]).read_bytes() == (more.parent / row[column]).read_bytes()


def test_fundus_files_hold_what_the_phantom_holds(tmp_path):
    from PIL import Image

    manifest = write_fundus_dataset(tmp_path, 2, 64, seed=1)
    for row in rows_of(manifest):
        picture = np.asarray(Image.open(tmp_path / row["image"]))
        assert picture.shape == (64, 64, 3)
        assert picture[..., 0].mean() > picture[..., 2].mean()  # red first, not blue
        lesions = np.asarray(Image.open(tmp_path / row["lesions"]))
        assert lesions.any() == (row["label"] != "0")


def test_both_eyes_of_a_patient_are_in_one_split_and_all_splits_are_filled(tmp_path):
    fractions = {"train": 0.7, "val": 0.15, "test": 0.15}
    rows = rows_of(write_fundus_dataset(tmp_path, 20, 16, fractions=fractions, masks=False))
    of_patient = {row["patient"]: row["split"] for row in rows}
    assert all(of_patient[row["patient"]] == row["split"] for row in rows)
    counts = {name: list(of_patient.values()).count(name) for name in fractions}
    assert all(abs(counts[name] - 20 * share) <= 1.5 for name, share in fractions.items())


def test_grades_follow_their_probabilities(tmp_path):
    rows = rows_of(
        write_fundus_dataset(tmp_path, 12, 16, grade_probabilities=(0.5, 0, 0, 0, 0.5), masks=False)
    )
    assert {row["label"] for row in rows} == {"0", "4"}


def test_a_chest_data_set_has_labels_masks_and_reports(tmp_path):
    from PIL import Image

    rows = rows_of(write_chest_dataset(tmp_path, 6, 64, seed=2))
    assert len(rows) == 6
    for row in rows:
        assert np.asarray(Image.open(tmp_path / row["image"])).shape == (64, 64)
        assert set(np.unique(np.asarray(Image.open(tmp_path / row["mask"])))) == {0, 1, 2}
        said = read_report(row["report"])
        for name in FINDINGS:
            assert said[name] == {row[f"labels:{name}"] == "1"}
            assert bool(row[f"mask:{name}"]) == (row[f"labels:{name}"] == "1")
    again = write_chest_dataset(tmp_path / "again", 6, 64, seed=2)
    assert all(
        (tmp_path / row["image"]).read_bytes() == (again.parent / row["image"]).read_bytes() for row in rows
    )


def test_a_data_set_of_nobody_is_refused(tmp_path):
    with pytest.raises(InputError, match="number of patients 0"):
        write_fundus_dataset(tmp_path, 0, 64)
    with pytest.raises(InputError, match="did you mean 'train'"):
        write_chest_dataset(tmp_path, 1, 64, fractions={"trian": 1.0})
