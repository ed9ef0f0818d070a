"""Figures show the numbers they were given, and those are other libraries' numbers."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from sklearn import metrics
from sklearn.calibration import calibration_curve

from modicum.tasks.classification.curves import pr_curve, reliability, roc_band, roc_curve
from modicum.tasks.classification.plots import (
    COLOURS,
    NamedCurve,
    calibration_figure,
    confusion_figure,
    pr_figure,
    roc_figure,
)


@pytest.fixture
def scored():
    rng = np.random.default_rng(3)
    positive = rng.random(120) < 0.4
    scores = np.clip(0.5 + 0.2 * (positive - 0.5) + rng.normal(0, 0.15, 120), 0, 1).round(2)
    return scores, positive


def line(figure: Figure, name: str):
    return next(found for axes in figure.axes for found in axes.get_lines() if found.get_gid() == name)


def test_roc_line_is_scikit_learns(scored):
    scores, positive = scored
    figure = roc_figure([NamedCurve("a", roc_curve(scores, positive))])
    fpr, tpr, _ = metrics.roc_curve(positive, scores)
    drawn = line(figure, "curve-0")
    assert metrics.auc(*drawn.get_data()) == pytest.approx(metrics.roc_auc_score(positive, scores))
    np.testing.assert_allclose(drawn.get_xdata(), fpr)
    np.testing.assert_allclose(drawn.get_ydata(), tpr)
    np.testing.assert_array_equal(line(figure, "chance").get_xydata(), [[0, 0], [1, 1]])


def test_precision_recall_line_is_scikit_learns_and_steps(scored):
    scores, positive = scored
    figure = pr_figure([NamedCurve("a", pr_curve(scores, positive))], prevalence=float(positive.mean()))
    precision, recall, _ = metrics.precision_recall_curve(positive, scores)
    drawn = line(figure, "curve-0")
    np.testing.assert_allclose(drawn.get_xdata(), recall)
    np.testing.assert_allclose(drawn.get_ydata(), precision)
    assert drawn.get_drawstyle() == "steps-post"
    # The area under the steps is the average precision.
    vertices = drawn.get_path().vertices
    assert -np.trapezoid(vertices[:, 1], vertices[:, 0]) == pytest.approx(
        metrics.average_precision_score(positive, scores)
    )
    assert line(figure, "chance").get_ydata()[0] == pytest.approx(positive.mean())


def test_band_is_drawn_between_its_ends(scored):
    scores, positive = scored
    band = roc_band(scores, positive, resamples=50)
    figure = roc_figure([NamedCurve("a", roc_curve(scores, positive), band)])
    outline = figure.axes[0].collections[0].get_paths()[0].vertices
    for x, low, high in zip(band.x[::20], band.low[::20], band.high[::20], strict=True):
        at = outline[np.isclose(outline[:, 0], x), 1]
        assert at.min() == pytest.approx(low)
        assert at.max() == pytest.approx(high)


def test_reliability_line_is_scikit_learns(scored):
    scores, positive = scored
    figure = calibration_figure(reliability(scores + 0.001, positive, bins=10))
    observed, stated = calibration_curve(positive, scores + 0.001, n_bins=10)
    drawn = line(figure, "reliability")
    np.testing.assert_allclose(drawn.get_xdata(), stated)
    np.testing.assert_allclose(drawn.get_ydata(), observed)
    heights = [bar.get_height() for bar in figure.axes[1].patches]
    assert heights == np.histogram(scores + 0.001, bins=10, range=(0, 1))[0].tolist()


def test_confusion_cells_say_counts_and_row_shares():
    figure = confusion_figure(np.array([[3, 1], [0, 0]]), ("cat", "dog"))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["3\n75%", "1\n25%", "0\n0%", "0\n0%"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["cat", "dog"]


def test_legend_names_every_curve_also_odd_ones(scored):
    names = ["_hidden", "$x^2$", "<b>"]
    figure = roc_figure([NamedCurve(name, roc_curve(*scored)) for name in names])
    legend = figure.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == names
    file = io.BytesIO()
    with __import__("matplotlib").rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, format="svg")
    assert "$x^2$" in file.getvalue().decode()


def test_curves_can_be_told_apart(scored):
    curves = [NamedCurve(str(i), roc_curve(*scored)) for i in range(20)]
    lines = [line(roc_figure(curves), f"curve-{i}") for i in range(20)]
    looks = {
        (to_hex(found.get_color()), str(found.get_linestyle()), str(found._dash_pattern)) for found in lines
    }
    assert len(looks) == 20
    assert to_hex(lines[0].get_color()) == COLOURS[0]


def test_quiet_curves_stand_back(scored):
    figure = roc_figure(
        [NamedCurve("a", roc_curve(*scored)), NamedCurve("b", roc_curve(*scored), quiet=True)]
    )
    loud, quiet = line(figure, "curve-0"), line(figure, "curve-1")
    assert loud.get_linewidth() > quiet.get_linewidth()
    assert loud.get_zorder() > quiet.get_zorder()


def test_figures_leave_no_settings_behind(scored):
    import matplotlib

    before = dict(matplotlib.rcParams)
    roc_figure([NamedCurve("a", roc_curve(*scored))])
    assert dict(matplotlib.rcParams) == before
