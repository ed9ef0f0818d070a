"""Report sections of classification: curves, calibration, confusion matrix, classes, examples."""

from typing import Any

import numpy as np

from modicum.report.class_counts import count_block
from modicum.report.classification_words import about, cautions, counts, headline
from modicum.report.classified import Classified, classified
from modicum.report.clusters import cluster_blocks
from modicum.report.figures import inline_svg, small_curve
from modicum.report.files import Evaluation, RunFiles, number
from modicum.report.operating_points import points_text, thresholds_of_findings
from modicum.report.sections import Block, TaskSections, score_block, whisker
from modicum.report.severity import severity_block
from modicum.report.words import interval, metric_title, percent, score

_SEVERAL = 6
"""With more classes than this, curves are drawn faintly behind their mean."""
_BANDS = 6
"""With more curves than this in one figure, no bands are drawn; the table has each class's own."""
_LARGEST_MATRIX = 12
_WORK = 30_000


def blocks(run: RunFiles, evaluation: Evaluation, prefix: str) -> list[Block]:
    """The blocks of one evaluation."""
    scored = classified(run, evaluation)
    if scored is None:
        return score_block(evaluation)
    bands = {index: _bands(scored, index, evaluation) for index in scored.curve_classes()}
    cards = _curve_blocks(scored, evaluation, bands, prefix)
    if scored.severity is None:
        cards.append(_calibration_block(scored, evaluation, prefix))
    else:
        cards.append(severity_block(run, scored, prefix))
    beside = not scored.several and len(scored.classes) <= _SEVERAL
    if not scored.several:
        cards += _confusion_blocks(run, scored)
    cards += count_block(run, scored, prefix)
    cards += cluster_blocks(evaluation, prefix)
    cards += score_block(evaluation, "half" if beside else "full")
    if run.kind != "binary" and scored.severity is None:
        cards.append(_class_block(run, scored, evaluation, bands))
    return cards


def _bands(scored: Classified, index: int, evaluation: Evaluation) -> tuple[Any, Any] | None:
    """ROC and precision-recall bands of one class, with fewer resamples for many images."""
    from modicum.tasks.classification.curves import pr_band, roc_band

    scores, positive, patients = scored.one(index)
    if positive.all() or not positive.any():
        return None
    most = int(number(evaluation.info.get("resamples")) or 0)
    resamples = min(most, 1000 if len(positive) * len(scored.classes) <= _WORK else 200)
    confidence = number(evaluation.info.get("confidence")) or 0.95
    settings: dict[str, Any] = {"groups": patients, "resamples": resamples, "confidence": confidence}
    return roc_band(scores, positive, **settings), pr_band(scores, positive, **settings)


def _curve_blocks(
    scored: Classified, evaluation: Evaluation, bands: dict[int, tuple[Any, Any] | None], prefix: str
) -> list[Block]:
    from modicum.tasks.classification.curves import pr_curve, roc_curve
    from modicum.tasks.classification.plots import NamedCurve, pr_figure, roc_figure

    drawn = [index for index in bands if bands[index] is not None]
    if not drawn:
        return []
    quiet = len(drawn) > _SEVERAL
    cards = []
    figures = [(0, "auroc", "ROC"), (1, "average_precision", "Precision and recall")]
    for which, metric, title in figures if scored.severity is None else figures[:1]:
        curves = []
        for index in drawn:
            scores, positive, _ = scored.one(index)
            curve = roc_curve(scores, positive) if which == 0 else pr_curve(scores, positive)
            pair = bands[index]
            band = pair[which] if pair is not None and len(drawn) <= _BANDS and _filled(pair[which]) else None
            curves.append(NamedCurve(scored.curve_name(index), curve, band, quiet))
        if quiet:
            curves.insert(0, _mean_curve([pair[which] for pair in bands.values() if pair is not None], which))
        if which == 0:
            figure = roc_figure(curves, legend=False)
        else:
            share = float(scored.one(drawn[0])[1].mean()) if len(drawn) == 1 else None
            figure = pr_figure(curves, prevalence=share, legend=False)
        legend = _legend(scored, evaluation, drawn, metric, quiet)
        label = f"{title} curve: " + "; ".join(f"{row['name']} {row['text']}" for row in legend)
        svg = inline_svg(figure, f"{prefix}-{metric}", label)
        note = f"{metric_title(metric)} and interval"
        cards.append(Block("figure.html.j2", title, {"svg": svg, "legend": legend, "metric": note}, "third"))
    return cards


def _filled(band: Any) -> bool:
    return bool(np.isfinite(band.low).all() and np.isfinite(band.high).all())


def _mean_curve(bands: list[Any], which: int) -> Any:
    from modicum.tasks.classification.curves import PrecisionRecallCurve, RocCurve
    from modicum.tasks.classification.plots import NamedCurve

    grid = bands[0].x
    mean = np.mean([band.value for band in bands], axis=0)
    if which == 0:
        return NamedCurve("mean", RocCurve(grid, mean, np.full(len(grid), np.nan)))
    return NamedCurve("mean", PrecisionRecallCurve(mean[::-1], grid[::-1], np.full(len(grid), np.nan)))


def _legend(
    scored: Classified, evaluation: Evaluation, drawn: list[int], metric: str, quiet: bool
) -> list[dict[str, str]]:
    overall = evaluation.metrics.get(metric, {})
    if quiet:
        mean = {"name": f"mean of {len(drawn)}", "swatch": "s0", "dash": ""}
        each = {"name": "each on its own", "swatch": "muted", "dash": "", "text": "", "interval": ""}
        return [mean | {"text": score(overall.get("value")), "interval": interval(overall)}, each]
    rows = []
    for order, index in enumerate(drawn):
        entry = evaluation.metrics.get(scored.curve_metric(metric, index), {})
        line = {"name": scored.curve_name(index), "swatch": f"s{order}", "dash": ""}
        rows.append(line | {"text": score(entry.get("value")), "interval": interval(entry)})
    return rows


def _calibration_block(scored: Classified, evaluation: Evaluation, prefix: str) -> Block:
    from modicum.tasks.classification.plots import calibration_figure
    from modicum.tasks.classification.reliability_by_patient import reliability_by_patient

    patients = scored.patients
    if scored.kind == "binary":
        stated, happened = scored.probabilities[:, 1], scored.truth == 1
        what = f"probability of “{scored.classes[1]}”"
    elif scored.several:
        is_known = ~np.isnan(scored.truth)
        stated, happened = scored.probabilities[is_known], scored.truth[is_known] > 0.5
        patients = None if patients is None else patients[np.nonzero(is_known)[0]]
        what = "probabilities of all findings together"
    else:
        stated = scored.probabilities.max(1)
        happened = scored.predicted == scored.truth
        what = "probability of the predicted class"
    bins = 10 if len(stated) < 1000 else 15
    figure = calibration_figure(
        reliability_by_patient(stated.astype(np.float64), happened, patients, bins=bins)
    )
    ece = evaluation.metrics.get("ece", {})
    legend = [
        {
            "name": f"observed, with 95 % intervals{'' if patients is None else ' by patient'}",
            "swatch": "s0",
            "dash": "",
            "text": "",
            "interval": "",
        },
        {"name": "as it should be", "swatch": "muted", "dash": "3 3", "text": "", "interval": ""},
    ]
    note = f"{what}; calibration error {score(ece.get('value'))}" if ece else what
    svg = inline_svg(figure, f"{prefix}-calibration", f"Calibration: {note}")
    return Block("figure.html.j2", "Calibration", {"svg": svg, "legend": legend, "metric": note}, "third")


def _confusion_blocks(run: RunFiles, scored: Classified) -> list[Block]:
    from modicum.tasks.classification.curves import confusion_matrix

    size = len(scored.classes)
    matrix = confusion_matrix(scored.truth, scored.predicted, size)
    shares = 100 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    wrong = [
        {
            "truth": scored.classes[i],
            "prediction": scored.classes[j],
            "count": int(matrix[i, j]),
            "of": int(matrix[i].sum()),
        }
        for i, j in np.ndindex(size, size)
        if i != j and matrix[i, j]
    ]
    wrong.sort(
        key=lambda entry: (-int(str(entry["count"])), -int(str(entry["count"])) / int(str(entry["of"])))
    )
    rows = [
        [{"count": int(matrix[i, j]), "percent": f"{shares[i, j]:.0f}", "hit": i == j} for j in range(size)]
        for i in range(size)
    ]
    values = {
        "classes": scored.classes,
        "rows": rows,
        "totals": [int(total) for total in matrix.sum(1)],
        "wrong": wrong[: 15 if size > _LARGEST_MATRIX else 4],
        "matrix": size <= _LARGEST_MATRIX,
        # Names that are too long for the row labels are listed above the table instead.
        "numbered": max(len(name) for name in scored.classes) > (3 if size > 3 else 12),
        "rule": points_text(run) if scored.severity is None else "",
    }
    title = "What was taken for what"
    return [Block("confusion.html.j2", title, values, "half" if size <= _SEVERAL else "full")]


def _class_block(
    run: RunFiles, scored: Classified, evaluation: Evaluation, bands: dict[int, tuple[Any, Any] | None]
) -> Block:
    lows = [
        number(evaluation.metrics.get(f"auroc/{name}", {}).get(end))
        for name in scored.classes
        for end in ("value", "low")
    ]
    start = 0.5 if all(low is None or low >= 0.5 for low in lows) else 0.0
    rows, thresholds = [], thresholds_of_findings(run)
    for index, name in enumerate(scored.classes):
        scores, positive, _ = scored.one(index)
        says = scores >= thresholds[index] if scored.several else scored.predicted == index
        auroc = evaluation.metrics.get(f"auroc/{name}", {})
        precision = evaluation.metrics.get(f"average_precision/{name}", {})
        pair = bands[index]
        stamp = None
        if pair is not None:
            band = pair[0]
            stamp = small_curve(band.x, band.low, band.high, band.value, f"ROC curve of {name}")
        rows.append(
            {
                "name": name,
                "stamp": stamp,
                "positives": int(positive.sum()),
                "negatives": int((~positive).sum()),
                "found": int((says & positive).sum()),
                "alarms": int((says & ~positive).sum()),
                "auroc": score(auroc.get("value")),
                "auroc_interval": interval(auroc),
                "mark": whisker(auroc, start),
                "precision": score(precision.get("value")),
                "precision_interval": interval(precision),
                "prevalence": percent(100 * float(positive.mean()) if len(positive) else None),
            }
        )
    note = points_text(run) if scored.several else "As the most probable class."
    title = "Finding by finding" if scored.several else "Class by class"
    return Block("classes.html.j2", title, {"rows": rows, "start": f"{start:g}", "note": note})


SECTIONS = TaskSections(about=about, headline=headline, blocks=blocks, cautions=cautions, counts=counts)
"""Sections of the task ``classification``."""
