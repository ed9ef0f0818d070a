"""Report sections of detection: sensitivity at false positives an image, average precision, boxes over images."""

from collections.abc import Mapping
from typing import Any

from modicum.report.by_patient import patient_cautions
from modicum.report.figures import hundred
from modicum.report.files import Evaluation, RunFiles, number
from modicum.report.panels import galleries as panel_galleries
from modicum.report.sections import Block, Gallery, Headline, TaskSections, metric_row, score_block
from modicum.report.words import (
    metric_title,
    of_hundred,
    plural,
    score,
    sentence_list,
)
from modicum.tasks.detection.metric_table import RATES, sensitivity_name

_AT = 1.0
"""False positives an image at which the headline says the sensitivity."""


def about(run: RunFiles) -> str:
    """``finds “haemorrhage” and “exudate”``."""
    return f"finds {sentence_list([f'“{name}”' for name in run.classes], 4) or 'boxes'}"


def headline(run: RunFiles, evaluation: Evaluation) -> Headline:
    """Of a hundred true boxes those that are found at one false positive an image, and average precision."""
    sensitivity, precision = (_value(evaluation, name) for name in (sensitivity_name(_AT), "map_50"))
    if sensitivity is None:
        return Headline(
            "" if precision is None else f"Average precision at an overlap of 0.5 is {score(precision)}."
        )
    right = of_hundred(sensitivity)
    sentence = f"Of 100 true boxes {right} are found, at {_AT:g} false positive an image."
    if precision is not None:
        sentence += f" Average precision at an overlap of 0.5 is {score(precision)}."
    picture = hundred([("hit", right)], f"{right} of 100 true boxes are found")
    return Headline(sentence, [(picture, [("hit", "found"), ("rest", "missed")])], "FROC over all classes")


def blocks(run: RunFiles, evaluation: Evaluation, prefix: str) -> list[Block]:
    """All scores, the free-response curve as a table, and average precision of each class."""
    rates = [
        _row(f"{rate:g} false positives an image", sensitivity_name(rate), evaluation.metrics)
        for rate in RATES
    ]
    confidence = {"confidence": f"{100 * (number(evaluation.info.get('confidence')) or 0.95):g}"}
    given_rates = [row for row in rates if row is not None]
    parts = [
        Block(
            "scores.html.j2",
            "Sensitivity by false positives",
            {"rows": given_rates, **confidence},
            "half",
            "Share of the true boxes that are found where the threshold is as low as so many false positives allow.",
        )
    ]
    of_classes = [name for name in evaluation.metrics if name.startswith("map_50/")]
    rows = [_row(name.partition("/")[2], name, evaluation.metrics) for name in of_classes]
    if classes := [row for row in rows if row is not None]:
        title = "Average precision of each class, at an overlap of 0.5"
        parts.append(Block("scores.html.j2", title, {"rows": classes, **confidence}, "half"))
    return [*score_block(evaluation, task=run.task_name), *(part for part in parts if part.values["rows"])]


def _row(title: str, name: str, metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    entry = metrics.get(name)
    return None if entry is None else metric_row(title or metric_title(name), name, entry)


def cautions(run: RunFiles, evaluation: Evaluation) -> list[str]:
    """Of few patients, and of few true boxes."""
    table = evaluation.predictions
    sentences = patient_cautions(evaluation)
    if table is not None and "true_boxes" in table and (boxes := int(table["true_boxes"].sum())) < 50:
        sentences.append(
            f"There {'is' if boxes == 1 else 'are'} {plural(boxes, 'true box', 'true boxes')} in the {evaluation.title}: "
            "scores over so few say little."
        )
    return sentences


def galleries(run: RunFiles, evaluation: Evaluation, budget: int) -> list[Gallery]:
    """Images with their boxes, those with most mistakes first, with a legend for the colours."""
    from modicum.tasks.detection.pictures import FALSE, HIT, MISSED, TRUE

    legends = [
        ("Found", [(_css(HIT), "right"), (_css(FALSE), "false")]),
        ("True", [(_css(TRUE), "found"), (_css(MISSED), "missed")]),
    ]
    note = (
        "The image as the network sees it, the boxes that were found from the score show_above on, and the true ones. "
        "Press a row to enlarge it."
    )
    return panel_galleries(evaluation, budget, note, legends=legends)


def _css(colour: tuple[int, int, int]) -> str:
    return f"rgb({colour[0]},{colour[1]},{colour[2]})"


def _value(evaluation: Evaluation, name: str) -> float | None:
    return number(evaluation.metrics.get(name, {}).get("value"))


SECTIONS = TaskSections(
    about=about,
    headline=headline,
    blocks=blocks,
    cautions=cautions,
    counts=lambda run: [],
    counted="Images",
    galleries=galleries,
    lost="there are no counts of boxes image by image here",
)
"""Sections of the task ``detection``."""
