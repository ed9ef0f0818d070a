"""How probabilities became decisions, in words: the run's operating points and temperature."""

from collections.abc import Mapping
from typing import Any

from modicum.report.files import RunFiles, as_mapping, number
from modicum.report.words import count, sentence_list

_AT = {
    "balanced": "where balanced accuracy was highest",
    "specificity": "where sensitivity was highest at the specificity asked for",
}
HALF = 0.5


def points_of(run: RunFiles) -> Mapping[str, Any]:
    """The run's operating points as ``model.json`` has them; empty for a run that decides at one half."""
    return as_mapping(run.task.get("operating_points"))


def thresholds_of_findings(run: RunFiles) -> list[float]:
    """From which probability on each finding is said."""
    values = points_of(run).get("thresholds")
    given = [number(value) for value in values] if isinstance(values, list) else []
    return [HALF if value is None else value for value in given] or [HALF] * len(run.classes)


def chosen_on_validation(run: RunFiles) -> bool:
    """Whether thresholds or the temperature are those that served the validation images best."""
    points = points_of(run)
    moved = [value for value in points.get("thresholds") or [] if value != HALF]
    return points.get("from") == "validation" and bool(moved or points.get("temperature") != 1)


def points_text(run: RunFiles) -> str:
    """How decisions are made, in a sentence or two."""
    points = points_of(run)
    sentences = []
    if run.kind == "binary" and len(run.classes) == 2:
        threshold = thresholds_of_findings(run)[0] if points else HALF
        sentences.append(f"“{run.classes[1]}” is said from a probability of {threshold:.3g} on")
    elif run.kind == "multi-label":
        moved = [
            name
            for name, value in zip(run.classes, thresholds_of_findings(run), strict=False)
            if value != HALF
        ]
        own_points = f"its own probability on for {sentence_list(moved)}, " if moved else ""
        sentences.append(
            f"A finding is said from {own_points}{'else from ' if own_points else ''}one half on"
        )
    else:
        sentences.append("The most probable class is said")
    if chosen_on_validation(run):
        at = _AT.get(str(points.get("at")), "")
        images = count(points.get("images"))
        sentences[-1] += f" (chosen on {images} validation images{', ' + at if at else ''})" if at else ""
        temperature = number(points.get("temperature"))
        if temperature is not None and temperature != 1:
            errors = as_mapping(points.get("ece"))
            before, after = number(errors.get("before")), number(errors.get("after"))
            change = ""
            if before is not None and after is not None:
                change = f" (their calibration error: {before:.3f} before, {after:.3f} after)"
            sentences.append(
                f"Logits are divided by {temperature:.3g}, which was chosen on {images} validation images{change}"
            )
    return ". ".join(sentences) + "."
