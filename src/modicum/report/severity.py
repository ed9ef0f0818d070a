"""What a severity score adds to the page: scores by true grade, and how they become grades."""

import numpy as np

from modicum.report.classified import Classified
from modicum.report.figures import inline_svg
from modicum.report.files import RunFiles, number
from modicum.report.sections import Block

_SOURCES = {
    "midpoints": "halfway between grades",
    "given": "as given",
    "validation": "chosen on the validation set for the highest quadratic kappa",
}


def thresholds_of(run: RunFiles) -> list[float]:
    """Where a score goes over to the next grade; empty where the run does not say."""
    values = run.task.get("thresholds")
    numbers = [number(value) for value in values] if isinstance(values, list) else []
    return [value for value in numbers if value is not None]


def thresholds_text(run: RunFiles) -> str:
    """``The next grade begins at a score of 0.5, 1.5 (halfway between grades).``"""
    values = thresholds_of(run)
    if not values:
        return ""
    source = _SOURCES.get(str(run.task.get("thresholds_from")), "")
    listed = ", ".join(f"{value:.3g}".replace("-", "−") for value in values)
    return f"The next grade begins at a score of {listed}{f' ({source})' if source else ''}."


def chosen_on_validation(run: RunFiles) -> bool:
    """Whether the thresholds are those that served the validation images best."""
    return run.task.get("thresholds_from") == "validation"


def severity_block(run: RunFiles, scored: Classified, prefix: str) -> Block:
    """The scores of each true grade, between the thresholds."""
    from modicum.tasks.classification.plots import severity_figure

    assert scored.severity is not None
    figure = severity_figure(scored.severity, scored.truth, scored.classes, thresholds_of(run))
    medians = [
        f"{name} {np.median(scored.severity[scored.truth == index]):.2f}"
        for index, name in enumerate(scored.classes)
        if (scored.truth == index).any()
    ]
    legend = [
        {
            "name": "median, middle half and middle 90 %",
            "swatch": "s0",
            "dash": "",
            "text": "",
            "interval": "",
        },
        {"name": "where the next grade begins", "swatch": "muted", "dash": "3 3", "text": "", "interval": ""},
    ]
    svg = inline_svg(figure, f"{prefix}-severity", f"Median score of each true grade: {'; '.join(medians)}")
    values = {"svg": svg, "legend": legend, "metric": thresholds_text(run)}
    return Block("figure.html.j2", "Scores of each grade", values, "third")
