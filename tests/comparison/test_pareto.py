"""The front is what no other point dominates, by brute force over pairs."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modicum.comparison.pareto import pareto_figure, pareto_front

points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12)


def dominates(one, other):
    return one[0] <= other[0] and one[1] >= other[1] and one != other


@given(points)
def test_front_is_exactly_what_nothing_dominates(found):
    front = pareto_front(*np.array(found, float).T)
    for point, on_front in zip(found, front, strict=True):
        assert on_front == (not any(dominates(other, point) for other in found))


@given(points)
def test_whatever_is_off_the_front_is_dominated_by_a_point_on_it(found):
    front = pareto_front(*np.array(found, float).T)
    kept = [point for point, on_front in zip(found, front, strict=True) if on_front]
    assert kept
    assert all(any(dominates(k, p) for k in kept) for p in set(found) - set(kept))


def test_a_point_without_a_number_neither_is_on_the_front_nor_pushes_others_off():
    front = pareto_front(np.array([1.0, np.nan, 2.0]), np.array([0.5, 0.9, np.nan]))
    assert front.tolist() == [True, False, False]


def test_every_method_is_named_beside_its_point_and_the_axis_is_logarithmic():
    names = ["full", "linear", "$lora$"]
    figure = pareto_figure(names, [1000, 1, 500], [0.9, 0.7, 0.8], [0.01, np.nan, 0.02], "AUROC")
    axes = figure.axes[0]
    assert sorted(text.get_text() for text in axes.texts) == sorted(names)
    assert axes.get_xscale() == "log"
    assert len(axes.containers) == 3  # a point with its error bar each


def test_lower_scores_are_better_where_the_metric_says_so():
    figure = pareto_figure(["a", "b"], [1, 2], [0.5, 0.9], [np.nan, np.nan], "Brier score", False)
    bold = [text.get_text() for text in figure.axes[0].texts if text.get_fontweight() == "bold"]
    assert bold == ["a"]


def test_names_of_close_points_do_not_cover_each_other():
    names = ["attention", "lora", "adapter", "bitfit"]
    figure = pareto_figure(names, [100, 103, 101, 5], [0.9, 0.901, 0.898, 0.5], [np.nan] * 4, "AUROC")
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 4
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
