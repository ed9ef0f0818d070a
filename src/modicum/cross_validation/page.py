"""``report.html`` of a cross-validation: one self-contained page over all folds, in the style of the reports."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from modicum.atomic_files import write_text
from modicum.cross_validation.results import PAGE, TABLE
from modicum.engine.run_folder import CROSS_VALIDATION
from modicum.report.figures import inline_svg, theme
from modicum.report.page import style, templates
from modicum.report.places import without_places
from modicum.report.words import (
    metric_interval,
    metric_meaning,
    metric_spread,
    metric_text,
    metric_title,
    plural,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NONE = "–"


def write_page(folder: Path, content: Mapping[str, Any]) -> None:
    """Writes the page.

    Args:
        folder: of the cross-validation.
        content: of its ``metrics.json``.
    """
    environment = templates("modicum.cross_validation")
    metric, held = str(content["metric"]), content["out_of_fold"]
    tested = content["ensemble"].get("test")
    request = (folder / CROSS_VALIDATION).read_text(encoding="utf-8")
    values = {
        "css": style(),
        "theme": theme(),
        "name": folder.name,
        "subtitle": _subtitle(content),
        "sentence": _sentence(content),
        "meaning": metric_meaning(metric, content["task"]),
        "cautions": content["cautions"],
        "validated": content["held_out"] == "val",
        "by_patient": held["resampling_unit"] == "patient",
        "confidence": f"{100 * held['confidence']:g}",
        "folds_count": content["folds"],
        "metrics": _metric_rows(content, tested),
        "with_test": tested is not None,
        "figure": inline_svg(
            folds_figure(content), "folds", f"{metric_title(metric)} of each fold, and of all folds together"
        ),
        "title": metric_title(metric),
        "folds": [_fold_row(folder, row, metric) for row in content["each_fold"]],
        "ensemble": content["ensemble"]["run"],
        "reason": content["ensemble"].get("reason", ""),
        "table": TABLE,
        "request": without_places(
            yaml.safe_dump(yaml.safe_load(request), sort_keys=False, allow_unicode=True)
        ),
    }
    write_text(folder / PAGE, environment.get_template("folds.html.j2").render(values))


def _subtitle(content: Mapping[str, Any]) -> list[str]:
    held = content["out_of_fold"]
    of = "" if held["patients"] is None else f" of {plural(held['patients'], 'patient')}"
    backbone = [str(content["backbone"])] if content.get("backbone") else []
    return [
        content["method"],
        *backbone,
        plural(content["folds"], "fold"),
        f"{plural(held['images'], 'image')}{of}",
    ]


def _sentence(content: Mapping[str, Any]) -> str:
    """The result in one or two sentences."""
    metric = content["metric"]
    entry, spread = content["out_of_fold"]["metrics"][metric], content["across_folds"].get(metric, {})
    between = metric_interval(metric, entry)
    title = metric_title(metric)
    sentence = f"Out of fold: {title} {metric_text(metric, entry['value'])}"
    sentence += f" ({between})" if between else ""
    if spread.get("deviation") is not None:
        sentence += f"; over folds {_spread(metric, spread)}"
    if (tested := content["ensemble"].get("test")) is not None:
        entry = tested["metrics"].get(metric, {})
        between = metric_interval(metric, entry)
        sentence += f". The ensemble on the test split: {metric_text(metric, entry.get('value'))}"
        sentence += f" ({between})" if between else ""
    return f"{sentence}."


def _spread(metric: str, spread: Mapping[str, Any] | None) -> str:
    if not spread or spread["mean"] is None:
        return _NONE
    text = metric_text(metric, spread["mean"])
    deviation = spread["deviation"]
    return text if deviation is None else f"{text} ± {metric_spread(metric, deviation)}"


def _metric_rows(content: Mapping[str, Any], tested: Mapping[str, Any] | None) -> list[dict[str, str]]:
    rows = []
    for name, entry in content["out_of_fold"]["metrics"].items():
        if "/" in name:
            continue
        of_test = {} if tested is None else tested["metrics"].get(name, {})
        spread = content["across_folds"].get(name)
        fewer = "" if spread is None or spread["folds"] == content["folds"] else f"{spread['folds']} folds"
        rows.append(
            {
                "title": metric_title(name),
                "pooled": _NONE if entry["value"] is None else metric_text(name, entry["value"]),
                "interval": metric_interval(name, entry) or _NONE,
                "spread": _spread(name, spread),
                "fewer": fewer,
                "test": metric_text(name, of_test.get("value")) if of_test else _NONE,
                "test_interval": metric_interval(name, of_test) or _NONE,
                "reason": str(entry.get("reason", "")),
            }
        )
    return rows


def _fold_row(folder: Path, row: Mapping[str, Any], metric: str) -> dict[str, str]:
    value = row["metrics"].get(metric)
    return {
        "fold": str(row["fold"]),
        "images": f"{row['images']:,}",
        "patients": _NONE if row["patients"] is None else f"{row['patients']:,}",
        "train": f"{row['train_images']:,}",
        "val": f"{row['val_images']:,}",
        "epoch": _NONE if row["epoch"] is None else str(row["epoch"]),
        "value": _NONE if value is None else metric_text(metric, value),
        "report": report if (folder / (report := f"{row['run']}/report.html")).is_file() else "",
    }


def folds_figure(content: Mapping[str, Any]) -> "Figure":
    """The main metric of each fold as a point, beside that of all folds together with its interval."""
    from matplotlib.figure import Figure

    from modicum.tasks.classification.plots import COLOURS, MUTED, plot_style

    metric, folds = content["metric"], content["each_fold"]
    entry = content["out_of_fold"]["metrics"][metric]
    with plot_style():
        figure = Figure(figsize=(6.4, 0.34 * len(folds) + 1.5), layout="constrained")
        axes = figure.subplots()
        for position, row in enumerate(folds):
            value = row["metrics"].get(metric)
            if value is not None:
                axes.plot(value, position, color=MUTED, marker="o", markersize=7)
        if entry["value"] is not None:
            low, high = entry.get("low"), entry.get("high")
            if low is not None and high is not None:
                axes.plot([low, high], [len(folds)] * 2, color=COLOURS[0], linewidth=2.5)
            axes.plot(entry["value"], len(folds), color=COLOURS[0], marker="o", markersize=8)
        axes.set_yticks(
            range(len(folds) + 1), [*(f"fold {row['fold']}" for row in folds), "all, out of fold"]
        )
        axes.set_ylim(len(folds) + 0.6, -0.6)
        axes.margins(x=0.12)
        axes.set_xlabel(metric_title(metric))
    return figure
