"""Report sections of anomaly detection: the scores of normal and abnormal images, the threshold, each group."""

from typing import Any

import numpy as np

from modicum.report.by_patient import patient_cautions
from modicum.report.classification_words import counts
from modicum.report.figures import hundred, inline_svg
from modicum.report.files import Evaluation, RunFiles, as_mapping, number
from modicum.report.sections import Block, Headline, TaskSections, metric_row, score_block
from modicum.report.words import (
    metric_title,
    of_hundred,
    plural,
    score,
    sentence_list,
)

_GROUP_METRICS = ("auroc", "sensitivity")
FEW = 20
"""Normal validation images below which the threshold says little."""


def about(run: RunFiles) -> str:
    """``scores how far images are from “normal”``."""
    names = run.task.get("normal")
    normal = [f"“{name}”" for name in names] if isinstance(names, list) and names else ["normal images"]
    return f"scores how far images are from {sentence_list(normal, 4)}"


def headline(run: RunFiles, evaluation: Evaluation) -> Headline:
    """Of a hundred abnormal images those that are called so, and AUROC."""
    found, false, area = (_value(evaluation, name) for name in ("sensitivity", "specificity", "auroc"))
    if area is None:
        return Headline("There are no abnormal images here to tell from normal ones.")
    sentence = f"Of two images, one abnormal, the abnormal one has the higher score in {of_hundred(area)} of 100 cases."
    if found is None or false is None:
        return Headline(sentence)
    right = of_hundred(found)
    alarms = 100 - of_hundred(false)
    sentence += f" Of 100 abnormal images {right} are called so, and of 100 normal ones {alarms}."
    picture = hundred([("hit", right)], f"{right} of 100 abnormal images are found")
    return Headline(sentence, [(picture, [("hit", "found"), ("rest", "missed")])], threshold_text(run))


def threshold_text(run: RunFiles) -> str:
    """From which score on images are called abnormal, and how that was chosen."""
    threshold = as_mapping(run.task.get("threshold"))
    value = number(threshold.get("value"))
    if value is None:
        return "No threshold: there were no normal validation images to choose one by."
    source = "as given"
    if threshold.get("from") == "validation":
        share = number(as_mapping(run.task.get("options")).get("specificity")) or 0.95
        images = plural(int(number(threshold.get("images")) or 0), "normal validation image")
        source = f"{100 * share:g} % of {images} lie below"
    return f"Images are called abnormal from a score of {value:.3g} on ({source})."


def blocks(run: RunFiles, evaluation: Evaluation, prefix: str) -> list[Block]:
    """The distribution of scores, all scores, and those of each group."""
    parts = _distribution(run, evaluation, prefix)
    parts += score_block(evaluation, "half" if parts else "full", task=run.task_name)
    names = [name.partition("/")[2] for name in evaluation.metrics if name.startswith("auroc/")]
    rows = [
        metric_row(
            f"{metric_title(metric)} of “{name}”",
            f"{metric}/{name}",
            evaluation.metrics.get(f"{metric}/{name}", {}),
        )
        for metric in _GROUP_METRICS
        for name in names
    ]
    if rows:
        confidence = f"{100 * (number(evaluation.info.get('confidence')) or 0.95):g}"
        note = "Normal images against those of one group at a time; sensitivity as decided by the threshold."
        values = {"rows": rows, "confidence": confidence}
        parts.append(Block("scores.html.j2", "Each group against normal images", values, "full", note))
    return parts


def _distribution(run: RunFiles, evaluation: Evaluation, prefix: str) -> list[Block]:
    """A picture of the scores by true group."""
    table = evaluation.predictions
    if table is None or "score" not in table or "truth" not in table:
        return []
    from modicum.tasks.anomaly.plots import distribution_figure

    values, truth = table["score"].astype(float).to_numpy(), table["truth"].astype(str).to_numpy()
    known = [str(name) for name in (*_list(run.task.get("normal")), *_list(run.task.get("groups")))]
    present = [name for name in dict.fromkeys([*known, "normal", "abnormal"]) if (truth == name).any()]
    names = [*present, *sorted(set(truth) - set(present))]
    threshold = number(as_mapping(run.task.get("threshold")).get("value"))
    figure = distribution_figure([values[truth == name] for name in names], names, threshold)
    medians = [f"{name} {np.median(values[truth == name]):.3g}" for name in names]
    legend = [
        {
            "name": "an image; thick: median and middle half",
            "swatch": "s0",
            "dash": "",
            "text": "",
            "interval": "",
        },
        {"name": "abnormal from here on", "swatch": "muted", "dash": "3 3", "text": "", "interval": ""},
    ]
    svg = inline_svg(figure, f"{prefix}-scores", f"Median score of each group: {'; '.join(medians)}")
    content = {"svg": svg, "legend": legend, "metric": threshold_text(run)}
    return [Block("figure.html.j2", "Scores of each group", content, "half")]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def cautions(run: RunFiles, evaluation: Evaluation) -> list[str]:
    """Of few patients, of few images that the threshold rests on, and of scores that are the wrong way round."""
    sentences = patient_cautions(evaluation)
    threshold = as_mapping(run.task.get("threshold"))
    images = int(number(threshold.get("images")) or 0)
    if threshold.get("from") == "validation" and images < FEW:
        sentences.append(
            f"The threshold rests on {plural(images, 'normal validation image')}: the specificity on new images may "
            "differ much from the one asked for."
        )
    area = _value(evaluation, "auroc")
    high = number(evaluation.metrics.get("auroc", {}).get("high"))
    if area is not None and area < 0.5 and high is not None and high < 0.5:
        sentences.append(
            f"AUROC is {score(area)}, below one half beyond chance: abnormal images score lower than normal ones here. "
            "The score is the wrong way round for these data; turning it round by test images would be choosing by them."
        )
    return sentences


def _value(evaluation: Evaluation, name: str) -> float | None:
    return number(evaluation.metrics.get(name, {}).get("value"))


SECTIONS = TaskSections(
    about=about,
    headline=headline,
    blocks=blocks,
    cautions=cautions,
    counts=counts,
    lost="there is no picture of the scores here",
)
"""Sections of the task ``anomaly``."""
