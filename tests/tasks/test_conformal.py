"""Prediction sets hold the true class as often as they promise, whatever the probabilities are worth."""

import math

import numpy as np
import pytest

from modicum.errors import InputError
from modicum.tasks.classification.conformal import (
    PredictionSets,
    calibrated_sets,
    fewest,
    limit_of,
    scores_of,
)

CLASSES = ("a", "b", "c", "d")


def made(generator, count, classes=4, sure=2.0):
    """Probabilities that rank classes badly, and true classes: exchangeable."""
    logits = generator.normal(size=(count, classes))
    truth = generator.integers(classes, size=count)
    logits[np.arange(count), truth] += generator.uniform(0, sure, count)
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), truth


@pytest.mark.parametrize("count", [9, 10, 19, 20, 57, 99, 100])
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2, 0.5])
def test_the_limit_is_the_finite_sample_quantile(count, alpha):
    scores = np.random.default_rng(count).permutation(count) + 1.0  # the k-th smallest is k
    rank = math.ceil((count + 1) * (1 - alpha) - 1e-9)
    wanted = float(rank) if rank <= count else math.inf
    assert limit_of(scores, alpha) == wanted
    assert limit_of(scores, alpha, [str(number) for number in range(count)]) == wanted
    assert (count >= fewest(alpha)) == math.isfinite(wanted)


def test_patients_count_alike_however_many_images_they_have():
    # Nine patients; the ninth has a hundred images, all of them stranger than anybody's. At 0.2 its weight is 1 / 10.
    scores = np.array([*range(8), *([50.0] * 100)])
    patients = [*range(8), *([8] * 100)]
    assert limit_of(scores, 0.2, patients) == 7.0
    assert limit_of(scores, 0.1, patients) == 50.0
    assert limit_of(scores, 0.05, patients) == math.inf
    assert limit_of(scores, 0.2) == 50.0


@pytest.mark.parametrize("by", ["aps", "lac"])
def test_coverage_of_exchangeable_images_lies_in_the_binomial_band(by):
    generator, alpha, count, fresh, trials = np.random.default_rng(1), 0.1, 49, 40, 400
    hits = []
    for _ in range(trials):
        answers, truth = made(generator, count + fresh)
        sets = calibrated_sets(
            answers[:count], truth[:count], None, alpha=alpha, kind="classes", classes=CLASSES, by=by
        )
        hits.append(sets.covered(answers[count:], truth[count:]).mean())
    # Over calibrations, coverage is Beta(45, 5) by its mean, 0.9 with 49 images: between 1 - alpha and + 1 / (n + 1).
    spread = 4 * np.std(hits, ddof=1) / math.sqrt(trials)
    assert 1 - alpha - spread <= np.mean(hits) <= 1 - alpha + 1 / (count + 1) + spread


def test_one_image_of_a_new_patient_is_covered_where_images_of_a_patient_are_alike():
    generator, alpha, trials = np.random.default_rng(2), 0.2, 600
    hits = []
    for _ in range(trials):
        sizes = generator.integers(1, 12, 20)
        own = generator.normal(size=20)
        scores = np.concatenate([own[i] + 0.1 * generator.normal(size=n) for i, n in enumerate(sizes[:-1])])
        limit = limit_of(scores, alpha, np.repeat(np.arange(19), sizes[:-1]))
        hits.append(own[-1] + 0.1 * generator.normal() <= limit)
    assert np.mean(hits) >= 1 - alpha - 4 * math.sqrt(alpha * (1 - alpha) / trials)


def test_scores_by_hand():
    answers = np.array([[0.5, 0.3, 0.15, 0.05]])
    np.testing.assert_allclose(scores_of(answers, "classes", "aps"), [[0.0, 0.5, 0.8, 0.95]])
    np.testing.assert_allclose(scores_of(answers, "classes", "lac"), [[0.5, 0.7, 0.85, 0.95]])
    # From the third grade on: the second is likelier than the fourth, then the first, then the fourth.
    grades = np.array([[0.2, 0.25, 0.4, 0.15]])
    np.testing.assert_allclose(scores_of(grades, "grades"), [[0.65, 0.4, 0.0, 0.85]])


def test_sets_of_grades_are_intervals_that_grow():
    generator = np.random.default_rng(3)
    answers = generator.dirichlet(np.full(6, 0.4), 300)
    before = np.zeros((300, 6), dtype=bool)
    for limit in (0.0, 0.3, 0.6, 0.9, 1.0):
        inside = PredictionSets(0.1, "grades", "grades", tuple("012345"), (limit,)).members(answers)
        assert (np.abs(np.diff(np.pad(inside, ((0, 0), (1, 1))).astype(int), axis=1)).sum(1) == 2).all()
        assert (inside | ~before).all()
        assert inside[np.arange(300), answers.argmax(1)].all()
        before = inside
    assert before.all()


def test_severity_scores_have_the_grades_around_them():
    sets = PredictionSets(0.1, "severity", "severity", tuple("0123"), (1.2,), (0.5, 1.5, 2.9))
    assert sets.texts(np.array([[0.1], [1.5], [2.8], [9.0]])) == ["0|1", "1|2", "2|3", "3"]


def test_findings_are_covered_with_and_without():
    generator, alpha = np.random.default_rng(4), 0.2
    present, absent = [], []
    for _ in range(150):
        truth = (generator.uniform(size=(240, 2)) < [0.5, 0.15]).astype(float)
        answers = 1 / (1 + np.exp(-(generator.normal(size=(240, 2)) + 1.5 * truth - 2)))
        truth[generator.uniform(size=truth.shape) < 0.1] = np.nan
        sets = calibrated_sets(
            answers[:120], truth[:120], None, alpha=alpha, kind="findings", classes=("x", "y")
        )
        covered = sets.covered(answers[120:], truth[120:])
        present.append(covered[truth[120:] == 1].mean())
        absent.append(covered[truth[120:] == 0].mean())
    for hits in (present, absent):
        assert np.mean(hits) >= 1 - alpha - 4 * np.std(hits) / math.sqrt(len(hits))


def test_a_finding_with_too_few_images_is_never_excluded():
    truth = np.zeros((40, 1))
    truth[:3] = 1
    answers = np.linspace(0.9, 0.1, 40)[:, None]
    sets = calibrated_sets(answers, truth, None, alpha=0.1, kind="findings", classes=("x",))
    assert sets.limits[1] == math.inf
    assert sets.facts["undecided"] == ["x"]
    assert set(sets.texts(answers)) <= {"x", "x?"}


def test_too_few_images_are_one_line():
    answers, truth = made(np.random.default_rng(5), 18)
    with pytest.raises(InputError, match=r"--conformal 0.05 needs 19 validation images or more.* has 18"):
        calibrated_sets(answers, truth, None, alpha=0.05, kind="classes", classes=CLASSES)
    with pytest.raises(InputError, match=r"needs 9 validation patients or more, and this run has 2"):
        calibrated_sets(answers, truth, ["p", "q"] * 9, alpha=0.1, kind="classes", classes=CLASSES)
    for alpha in (0.0, 1.0, -0.1, 90.0):
        with pytest.raises(InputError, match="--conformal is"):
            calibrated_sets(answers, truth, None, alpha=alpha, kind="classes", classes=CLASSES)
    with pytest.raises(InputError, match="unknown --conformal-score 'apz'"):
        calibrated_sets(answers, truth, None, alpha=0.2, kind="classes", classes=CLASSES, by="apz")


def test_no_set_is_empty():
    answers, truth = made(np.random.default_rng(6), 400, sure=9.0)
    for by in ("aps", "lac"):
        sets = calibrated_sets(answers, truth, None, alpha=0.4, kind="classes", classes=CLASSES, by=by)
        assert sets.members(answers).any(1).all()
        assert all(sets.texts(answers))
