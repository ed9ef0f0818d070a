"""Writes the page that compares runs on the same images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modicum.atomic_files import write_text
from modicum.report.classified import classified
from modicum.report.evidence import resampling_of
from modicum.report.figures import theme
from modicum.report.files import as_mapping, number
from modicum.report.groups.block import signed
from modicum.report.line_chart import Line, line_chart
from modicum.report.page import style, templates
from modicum.report.questions import Question, questions
from modicum.report.sections import Block
from modicum.report.side_by_side.runs import Member, members_of
from modicum.report.words import (
    METHODS,
    bytes_text,
    duration,
    lower_is_better,
    metric_interval,
    metric_text,
    plural,
    short_count,
)
from modicum.tasks.bootstrap import Estimate, bootstrap, point_values
from modicum.tasks.classification.curves import pr_curve, roc_curve
from modicum.tasks.group_difference import DIFFERENCE, GROUP, group_and_others
from modicum.tasks.metric_tables import metric_named

_METRICS = 6
_NEXT = ("average_precision", "balanced_accuracy", "brier", "ece", "iou", "psnr", "ssim_foreground")
"""Metrics that come after those by which groups are compared, before all others."""
_CHARTS = 12
_COLOURS = 8


def write_comparison(folders: Sequence[Path], out: Path, of: str | None = None) -> Path:
    """Writes the page and returns its path.

    Args:
        folders: of the runs, the one that the others are compared with first.
        out: the page.
        of: name of the evaluation; the test set by default.

    Raises:
        InputError: runs of other tasks, classes or images; the odd one is named.
        ResourceError: the disk is full.
    """
    members = members_of(folders, of)
    write_text(out, templates().get_template("side_by_side.html.j2").render(page_values(members)))
    return out


def page_values(members: Sequence[Member]) -> dict[str, Any]:
    """The values of the page."""
    first = members[0]
    names = metrics_of(members)
    estimates = [_estimates(member, first, names) for member in members]
    images = number(first.evaluation.info.get("images")) or 0
    patients = number(first.evaluation.info.get("patients"))
    by = "patients" if first.measures.patients is not None else "images"
    size = [plural(int(images), "image")] + ([plural(int(patients), "patient")] if patients else [])
    blocks = [
        _scores(members, names, estimates),
        _differences(members, names, estimates, by),
        *_curves(members),
    ]
    return {
        "css": style("report.css") + style("tables.css"),
        "theme": theme(),
        "runs": [member.name for member in members],
        "task": first.run.task_name.replace("_", " ").capitalize(),
        "set": first.evaluation.title,
        "size": ", ".join(size),
        "blocks": [*blocks, _costs(members)],
        "cautions": _cautions(members, names),
    }


def metrics_of(members: Sequence[Member]) -> list[str]:
    """The metrics by which all runs can be compared: the main one first."""
    shared: list[str] = []
    measured = [_measured(member) for member in members]
    lead, task = members[0].measures.names, members[0].run.task_name
    for name in [*lead, *_NEXT, *members[0].evaluation.metrics]:
        judges = name in lead or ("/" not in name and metric_named(name, task).higher_is_better is not None)
        if judges and name not in shared and all(name in one for one in measured):
            shared.append(name)
    return shared[:_METRICS]


def _measured(member: Member) -> set[str]:
    measured = member.measures.of(np.arange(len(member.measures.rows)))
    return set(point_values(measured.statistics, len(measured.rows), measured.means)[0])


def _estimates(member: Member, first: Member, names: list[str]) -> Mapping[str, Estimate]:
    """The metrics of a run, of the first, and the differences, all from the same resamples of patients."""
    everything = np.arange(len(member.measures.rows))
    statistic = group_and_others(
        member.measures.of(everything), first.measures.of(everything), names, len(everything)
    )
    settings = resampling_of(first.evaluation) | {"groups": first.measures.patients}
    return bootstrap([statistic], len(everything), **settings)


def _scores(members: Sequence[Member], names: list[str], estimates: list[Mapping[str, Estimate]]) -> Block:
    titles = [members[0].measures.title(name) for name in names]
    rows = []
    for member, found in zip(members, estimates, strict=True):
        cells = []
        for name, title in zip(names, titles, strict=True):
            entry = found[GROUP + name].as_dict()
            small = metric_interval(name, entry) or "no interval"
            cells.append({"name": title, "text": metric_text(name, entry["value"]), "small": small})
        rows.append({"name": member.name, "small": _what(member), "cells": cells})
    return Block("wide.html.j2", "Scores", {"note": "", "heading": "Run", "titles": titles, "rows": rows})


def _differences(
    members: Sequence[Member], names: list[str], estimates: list[Mapping[str, Estimate]], by: str
) -> Block:
    titles = [members[0].measures.title(name) for name in names]
    rows = []
    for member, found in zip(members[1:], estimates[1:], strict=True):
        cells = []
        for name, title in zip(names, titles, strict=True):
            entry = found[DIFFERENCE + name].as_dict()
            small = metric_interval(name, entry) or "no interval"
            cells.append({"name": title, "text": signed(name, entry) + _mark(name, entry), "small": small})
        rows.append({"name": member.name, "small": f"less {members[0].name}", "cells": cells})
    note = (
        f"Paired: each resample of {by} measures both runs on the same images. ▲ better and ▼ worse where the interval "
        "leaves 0 out. It says how sure the difference is on images like these, not whether another seed would show it."
    )
    title = f"Differences to {members[0].name}"
    return Block("wide.html.j2", title, {"note": note, "heading": "Run", "titles": titles, "rows": rows})


def _mark(name: str, entry: Mapping[str, Any]) -> str:
    low, high = number(entry.get("low")), number(entry.get("high"))
    if low is None or high is None or low <= 0 <= high:
        return ""
    return " ▲" if (low > 0) != lower_is_better(name) else " ▼"


def _what(member: Member) -> str:
    method = str(member.run.metrics.get("method") or "")
    backbone = member.run.metrics.get("backbone")
    return ", ".join([METHODS.get(method, method), *([str(backbone)] if backbone else [])])


def _curves(members: Sequence[Member]) -> list[Block]:
    """ROC and precision-recall curves of all runs over each other, for each condition."""
    if members[0].run.task_name != "classification":
        return []
    asked: list[list[Question]] = []
    for member in members:
        scored = classified(member.run, member.evaluation)
        asked.append([] if scored is None else questions(member.run, scored))
    together = [
        one
        for one in zip(*asked, strict=True)
        if one[0].answerable and all(q.scores is not None for q in one)
    ]
    if not together:
        return []
    legend = [
        {
            "name": member.name,
            "swatch": f"s{number % _COLOURS}",
            "dash": _dash(number),
            "text": "",
            "interval": "",
        }
        for number, member in enumerate(members)
    ]
    left = f"The first {_CHARTS} of {len(together)} conditions are drawn." if len(together) > _CHARTS else ""
    blocks = []
    for title, draw in (("ROC curves", _roc), ("Precision and recall", _pr)):
        charts = [{"name": one[0].name, "svg": draw(one)} for one in together[:_CHARTS]]
        values = {"note": "", "charts": charts, "legend": legend, "left": left}
        blocks.append(Block("charts.html.j2", title, values, "half" if len(together) == 1 else "full"))
    return blocks


def _dash(number: int) -> str:
    return "" if number < _COLOURS else "5 3"


def _roc(asked: Sequence[Question]) -> Any:
    lines = [Line(np.array([0.0, 1.0]), np.array([0.0, 1.0]), "muted", "2 3")]
    for order, question in enumerate(asked):
        assert question.scores is not None
        curve = roc_curve(question.scores, question.positive)
        lines.append(Line(curve.fpr, curve.tpr, f"s{order % _COLOURS}", _dash(order)))
    return _chart(lines, f"ROC curves of {asked[0].name}", "false-alarm rate", "found (sensitivity)")


def _pr(asked: Sequence[Question]) -> Any:
    lines = []
    for order, question in enumerate(asked):
        assert question.scores is not None
        curve = pr_curve(question.scores, question.positive)
        # Steps: precision holds until the next higher recall (Davis and Goadrich 2006: no straight lines between).
        x, y = np.repeat(curve.recall, 2)[1:], np.repeat(curve.precision, 2)[:-1]
        lines.append(Line(x, y, f"s{order % _COLOURS}", _dash(order)))
    return _chart(lines, f"Precision and recall of {asked[0].name}", "found (recall)", "precision")


def _chart(lines: list[Line], label: str, x_label: str, y_label: str) -> Any:
    unit = (0.0, 1.0)
    return line_chart(lines, label, x_label=x_label, y_label=y_label, x_range=unit, y_range=(0.0, 1.02))


def _costs(members: Sequence[Member]) -> Block:
    titles = ["Learned parameters", "Peak memory", "Time to make it"]
    rows = []
    for member in members:
        parts = [as_mapping(member.run.metrics.get(key)) for key in ("parameters", "memory", "time")]
        texts = [
            short_count(parts[0].get("learnable")),
            bytes_text(parts[1].get("peak_bytes")),
            duration(parts[2].get("fit_seconds")),
        ]
        cells = [
            {"name": title, "text": text, "small": ""} for title, text in zip(titles, texts, strict=True)
        ]
        rows.append({"name": member.name, "small": _what(member), "cells": cells})
    return Block(
        "wide.html.j2", "What they took", {"note": "", "heading": "Run", "titles": titles, "rows": rows}
    )


def _cautions(members: Sequence[Member], names: list[str]) -> list[str]:
    sentences = []
    compared = (len(members) - 1) * len(names)
    if compared >= 10:
        sentences.append(
            f"{compared} differences are shown: some of so many intervals leave 0 out by chance."
        )
    if members[0].evaluation.name == "val":
        sentences.append(
            "These are validation images, which selected the weights: the scores are a little optimistic."
        )
    if members[0].measures.patients is None:
        sentences.append("Patients are not known: intervals treat images as independent.")
    seen = [member.name for member in members if member.evaluation.seen]
    if seen:
        sentences.append(f"Some of these images were in the training data of {', '.join(seen)}.")
    return sentences
