"""Scores to grades: the grading study's rule, and the search for the thresholds of the highest kappa."""

import doctest
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.errors import InputError
from modicum.tasks.classification import thresholds as module
from modicum.tasks.classification.metrics import quadratic_kappa
from modicum.tasks.classification.thresholds import Thresholds, midpoints, tuned_thresholds


def kappa(values, scores, truth, num_grades):
    return quadratic_kappa(truth, Thresholds(tuple(values)).grades(scores), num_grades)


def test_docstring_examples_run():
    assert doctest.testmod(module).failed == 0


def test_midpoints_are_the_studys_rule():
    scores = np.array([-3, -0.51, -0.5, 0.49, 0.5, 1.49, 1.5, 2.49, 2.5, 3.49, 3.5, 9])
    grades = Thresholds.of("midpoints", 5).grades(scores)
    assert grades.tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert grades.tolist() == np.clip(np.floor(scores + 0.5), 0, 4).tolist()


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([0.5, 1.5], r"thresholds has 2 values for 5 grades; give 4, for instance \[0.5, 1.5, 2.5, 3.5\]"),
        ([0.5, 1.5, 1.5, 2], "do not rise"),
        ([0.5, 1.5, 2, float("nan")], "do not rise"),
        ([0.5, 1.5, 2, float("inf")], "do not rise"),
    ],
)
def test_thresholds_that_do_not_fit_are_refused(values, problem):
    with pytest.raises(InputError, match=problem):
        Thresholds.of(values, 5)


def test_tuning_recovers_kappa_1_on_scores_that_are_shifted_and_squeezed():
    truth = np.repeat(np.arange(5), 7)
    scores = 0.6 * truth + 0.5
    assert kappa(midpoints(5), scores, truth, 5) < 0.9
    tuned = tuned_thresholds(scores, truth, 5)
    assert kappa(tuned, scores, truth, 5) == 1
    between = (
        np.stack([0.6 * np.arange(4), 0.6 * np.arange(1, 5)]) + 0.5
    )  # each between the scores of two grades
    assert ((between[0] < tuned) & (tuned <= between[1])).all()


def test_midpoints_stay_where_nothing_is_better():
    truth = np.repeat(np.arange(5), 7)
    assert tuned_thresholds(truth + 0.1, truth, 5) == midpoints(5)
    assert tuned_thresholds(np.zeros(6), np.full(6, 2), 5) == midpoints(5)  # kappa is 0 wherever they are
    assert tuned_thresholds(np.zeros(0), np.zeros(0, dtype=np.int64), 5) == midpoints(5)


def scored(seed, count, grades, ties):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, grades, count)
    scores = 0.5 * truth + generator.normal(0.7, 0.6, count)
    return (scores.round(1) if ties else scores), truth


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(1, 20),
    grades=st.integers(2, 5),
    ties=st.booleans(),
)
def test_tuned_thresholds_rise_and_no_move_of_one_of_them_raises_kappa(seed, count, grades, ties):
    scores, truth = scored(seed, count, grades, ties)
    tuned = tuned_thresholds(scores, truth, grades)
    best = kappa(tuned, scores, truth, grades)
    before = kappa(midpoints(grades), scores, truth, grades)
    assert (np.diff(tuned) > 0).all()
    assert Thresholds.of(tuned, grades).values == tuned
    assert tuned_thresholds(scores, truth, grades) == tuned
    if np.isnan(best):
        assert np.isnan(before)
        return
    assert np.isnan(before) or best >= before - 1e-12
    order = np.unique(scores)
    places = np.concatenate([[order[0] - 0.3], (order[1:] + order[:-1]) / 2, [order[-1] + 0.3]])
    for index in range(grades - 1):
        for place in places:
            moved = [*tuned[:index], place, *tuned[index + 1 :]]
            if (np.diff(moved) > 0).all():
                other = kappa(moved, scores, truth, grades)
                assert np.isnan(other) or other <= best + 1e-9


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_one_threshold_of_two_grades_is_the_best_of_all(seed):
    scores, truth = scored(seed, 20, 2, False)
    order = np.sort(scores)
    everywhere = [kappa([place], scores, truth, 2) for place in (order[1:] + order[:-1]) / 2]
    tuned = tuned_thresholds(scores, truth, 2)
    assert kappa(tuned, scores, truth, 2) >= np.nanmax(everywhere, initial=-1) - 1e-12


def test_three_grades_come_near_the_best_of_all_pairs():
    for seed in range(5):
        scores, truth = scored(seed, 16, 3, False)
        order = np.sort(scores)
        places = (order[1:] + order[:-1]) / 2
        best = max(kappa(pair, scores, truth, 3) for pair in combinations(places, 2))
        assert kappa(tuned_thresholds(scores, truth, 3), scores, truth, 3) >= best - 0.02


def test_tuning_of_fifty_thousand_scores_is_quick_and_the_same_again():
    import time

    scores, truth = scored(0, 50_000, 5, False)
    began = time.perf_counter()
    first = tuned_thresholds(scores, truth, 5)
    assert time.perf_counter() - began < 10
    assert first == tuned_thresholds(scores, truth, 5)
