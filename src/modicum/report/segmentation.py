"""Report sections of segmentation: overlap by class, domain and patient, and overlays."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from modicum.report.by_patient import patient_blocks, spread_figure
from modicum.report.figures import inline_svg
from modicum.report.files import Evaluation, RunFiles, number
from modicum.report.panels import galleries as panel_galleries
from modicum.report.sections import Block, Gallery, TaskSections, score_block, whisker
from modicum.report.segmentation_images import Segmented, foreground, segmented
from modicum.report.segmentation_words import about, cautions, headline
from modicum.report.words import (
    count,
    metric_interval,
    metric_spread,
    metric_text,
    metric_title,
    percent,
    plural,
    score,
)
from modicum.tasks.segmentation.metric_table import METRICS
from modicum.tasks.segmentation.pictures import COLOURS, FALSE_ALARM, HIT, MISS

_NOT_OF_CLASS = ("accuracy", "dice_positives", "empty")
"""Of single classes these say little, or what stands beside them already."""


def blocks(run: RunFiles, evaluation: Evaluation, prefix: str) -> list[Block]:
    """The blocks of one evaluation."""
    images = segmented(run, evaluation)
    of_patients = patient_blocks(images.scores, prefix) if images else []
    # The table of patients has their means and ranges too; the figure of domains is shown nowhere else.
    picture = _domain_picture(images, prefix) if images else []
    beside = picture or of_patients[:1]
    scores = score_block(_without_repeats(evaluation), "half" if beside else "full", False, "segmentation")
    of_domains = _domain_block(run, images) if images else []
    return [*scores, *beside, *_class_block(evaluation, images), *of_domains, *of_patients[1:]]


def _without_repeats(evaluation: Evaluation) -> Evaluation:
    """Removes ``dice_positives`` where every image has the class, as it equals Dice."""
    if number(evaluation.metrics.get("empty", {}).get("value")) != 0:
        return evaluation
    left_out = ("empty", "dice_positives")
    return replace(
        evaluation, metrics={name: e for name, e in evaluation.metrics.items() if name not in left_out}
    )


def _class_block(evaluation: Evaluation, images: Segmented | None) -> list[Block]:
    """A table of classes, the worst first, if there are several."""
    metrics = evaluation.metrics
    names = [name.partition("/")[2] for name in metrics if name.startswith("dice/")]
    of_classes = [metric.name for metric in METRICS if metric.name not in _NOT_OF_CLASS]
    columns = [metric for metric in of_classes if any(f"{metric}/{name}" in metrics for name in names)]
    if not names:
        return []
    dice = {name: number(metrics[f"dice/{name}"].get("value")) for name in names}
    rows = []
    for name in sorted(names, key=lambda name: (dice[name] is None, dice[name] or 0.0)):
        entries = [(metric, metrics.get(f"{metric}/{name}", {})) for metric in columns]
        cells = [
            {
                "name": metric_title(metric),
                "text": metric_text(metric, entry.get("value")),
                "small": metric_interval(metric, entry),
            }
            for metric, entry in entries
        ]
        mark = whisker(metrics[f"dice/{name}"])
        rows.append({"name": name, "small": _present(name, images), "mark": mark, "cells": cells})
    confidence = 100 * (number(evaluation.info.get("confidence")) or 0.95)
    values = {
        "note": f"Large: the value; small: its {confidence:g} % interval. The bar is that of Dice.",
        "heading": "Class",
        "titles": [metric_title(metric) for metric in columns],
        "rows": rows,
        "foot": None,
    }
    return [Block("groups.html.j2", "Class by class", values)]


def _present(name: str, images: Segmented | None) -> str:
    if images is None or name not in images.classes:
        return ""
    amount = int((images.true_area[:, list(images.classes).index(name)] > 0).sum())
    return f"in {count(amount)} of {plural(len(images.names), 'image')}"


def _domain_picture(images: Segmented, prefix: str) -> list[Block]:
    """A figure of Dice of each image by domain; no block with fewer than two domains."""
    dice = images.scores.values["dice"].to_numpy(dtype=float)
    groups = [(domain, dice[in_domain & np.isfinite(dice)]) for domain, in_domain in images.of_domains()]
    if len(groups) < 2:
        return []
    note = f"A dot an image, a line the mean of a domain; {plural(len(groups), 'domain')}, the worst first."
    figure = spread_figure(groups, "dice", "domains")
    svg = inline_svg(figure, f"{prefix}-domains", f"Dice of each image: {note}")
    values = {"svg": svg, "legend": [], "metric": note}
    return [Block("figure.html.j2", "Dice of each image", values, "half")]


def _domain_block(run: RunFiles, images: Segmented) -> list[Block]:
    """A table of all metrics by domain; no block if domains are not known."""
    groups = images.of_domains()
    values = images.scores.values
    names = [str(name) for name in values.columns]
    rows = []
    for domain, in_domain in groups:
        columns = {name: values[name].to_numpy(dtype=float)[in_domain] for name in names}
        finite = columns["dice"][np.isfinite(columns["dice"])]
        ends = {"value": finite.mean(), "low": finite.min(), "high": finite.max()}
        rows.append(
            {
                "name": domain,
                "small": _learned(run, domain, int(in_domain.sum())),
                "mark": whisker({key: float(value) for key, value in ends.items()}),
                "cells": [_mean_and_spread(name, column) for name, column in columns.items()],
            }
        )
    note = "Means over images; small: their standard deviation. The bar reaches from the worst to the best image."
    table = {
        "note": note,
        "heading": "Domain",
        "titles": [metric_title(name) for name in names],
        "rows": rows,
        "foot": _mean_of_domains(values, groups) if len(groups) > 1 else None,
    }
    return [Block("groups.html.j2", "Domain by domain", table)] if rows else []


def _mean_of_domains(values: Any, groups: Sequence[tuple[str, np.ndarray]]) -> dict[str, Any]:
    cells = []
    for name in values.columns:
        column = values[name].to_numpy(dtype=float)
        means = [
            float(np.nanmean(column[in_domain]))
            for _, in_domain in groups
            if np.isfinite(column[in_domain]).any()
        ]
        cells.append(_mean_and_spread(str(name), np.array(means)))
    return {"name": "mean over domains", "small": "each counts alike", "cells": cells}


def _mean_and_spread(name: str, values: np.ndarray) -> dict[str, str]:
    finite = values[np.isfinite(values)]
    text = metric_text(name, float(finite.mean())) if len(finite) else score(None)
    spread = f"± {metric_spread(name, float(finite.std(ddof=1)))}" if len(finite) > 1 else ""
    return {"name": metric_title(name), "text": text, "small": spread}


def _learned(run: RunFiles, domain: str, amount: int) -> str:
    """Number of images, and how many of the domain were in training."""
    text = plural(amount, "image")
    table = run.manifest
    if table is None or "split" not in table or "domain" not in table:
        return text
    learned = int(((table["domain"] == domain) & (table["split"] == "train")).sum())
    return f"{text}; {f'{count(learned)} in training' if learned else 'none in training'}"


def _galleries(run: RunFiles, evaluation: Evaluation, budget: int) -> list[Gallery]:
    """The worst, typical and best images, with legends for the colours."""
    images = segmented(run, evaluation)
    row_of = {} if images is None else {name: i for i, name in enumerate(images.names)}

    def facts(entry: Mapping[str, Any]) -> list[str]:
        at = row_of.get(str(entry.get("image", "")))
        if images is None or at is None:
            return [
                f"{what}: {entry[key]}"
                for key, what in (("prediction", "marked"), ("truth", "truth"))
                if entry.get(key)
            ]
        return _image_facts(images, at)

    colours = [_css(colour) for colour in (HIT, MISS, FALSE_ALARM)]
    legends = [
        ("Differences", list(zip(colours, ("marked and right", "missed", "false alarm"), strict=True)))
    ]
    names = list(images.classes) if images is not None else foreground(run)
    if len(names) > 1:
        of_classes = [(_css(COLOURS[i % len(COLOURS)]), name) for i, name in enumerate(names)]
        legends.append(("Classes", of_classes))
    note = (
        "The image, what the model marked, what should be marked, and the differences of the two. Press a row to "
        "enlarge it."
    )
    return panel_galleries(evaluation, budget, note, legends=legends, facts=facts)


def _image_facts(images: Segmented, at: int) -> list[str]:
    dice = images.scores.values["dice"].iloc[at]
    facts = [f"Dice {score(float(dice))}"]
    if len(images.classes) > 1:
        facts += [
            f"{name} {score(float(value))}"
            for name, value in zip(images.classes, images.dice[at], strict=True)
        ]
        return facts
    true, marked, hits = (
        float(part[at, 0]) for part in (images.true_area, images.predicted_area, images.hits)
    )
    if not true:
        facts.append(f"nothing to mark; {count(marked)} pixels are")
    else:
        facts.append(f"{percent(100 * (1 - hits / true))} % missed")
        facts.append(
            f"{percent(100 * (1 - hits / marked))} % of what is marked is wrong"
            if marked
            else "marks nothing"
        )
    return facts


def _css(colour: tuple[int, int, int]) -> str:
    return f"rgb({colour[0]},{colour[1]},{colour[2]})"


def _counts(run: RunFiles) -> list[tuple[str, dict[str, int]]]:
    """Images of each domain in each split, if domains are known."""
    table = run.manifest
    if table is None or "domain" not in table:
        return []
    splits = table["split"] if "split" in table else table["domain"].map(lambda _: "all")
    return [
        (str(domain), {str(k): int(n) for k, n in domain_splits.value_counts().items()})
        for domain, domain_splits in splits.groupby(
            table["domain"].where(table["domain"] != "", "domain not known")
        )
    ]


SECTIONS = TaskSections(
    about=about,
    headline=headline,
    blocks=blocks,
    cautions=cautions,
    counts=_counts,
    counted="Images with their masks",
    galleries=_galleries,
    lost="there are no scores image by image here",
)
"""Sections of the task ``segmentation``."""
