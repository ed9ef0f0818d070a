"""What a reader needs before using a classifier: operating points, predictive values, calibration, decision curves."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from modicum.report.classified import Classified
from modicum.report.files import Evaluation, RunFiles, number
from modicum.report.line_chart import Line, line_chart
from modicum.report.questions import Question, questions
from modicum.report.sections import Block
from modicum.report.words import interval, percent, score
from modicum.tasks.bootstrap import Estimate, Statistic, bootstrap
from modicum.tasks.classification.metrics import calibration, surprise_of
from modicum.tasks.classification.net_benefit import THRESHOLDS, DecisionCurve, decision_curve
from modicum.tasks.classification.predictive_values import AT_PREVALENCE, RATES, decision_rates
from modicum.tasks.classification.recalibration import recalibration

_FITS = 400
"""Resamples for intercepts and slopes, which are fitted in each of them."""
_CHARTS = 12
_TITLES = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "ppv_at_prevalence": "PPV",
    "npv_at_prevalence": "NPV",
}
_CALIBRATION = {
    "observed_expected": "Observed / expected",
    "calibration_intercept": "Intercept",
    "calibration_slope": "Slope",
    "brier": "Brier",
    "ece": "Calibration error",
}


def evidence_blocks(
    run: RunFiles, scored: Classified, evaluation: Evaluation, prevalence: float | None = None
) -> list[Block]:
    """Operating points, calibration and decision curves of each question that can be answered on these images.

    Args:
        run: the run's files.
        scored: its predictions.
        evaluation: that they are of.
        prevalence: share of positives in the reader's own patients, for predictive values and net benefit.
    """
    asked = [question for question in questions(run, scored) if question.answerable]
    if not asked:
        return []
    blocks = [operating_block(asked, evaluation, prevalence)]
    if all(question.scores is not None for question in asked):
        blocks += [calibration_block(asked, evaluation), decision_block(asked, evaluation, prevalence)]
    return blocks


def resampling_of(evaluation: Evaluation) -> dict[str, Any]:
    """How an evaluation's intervals were made, as arguments."""
    return {
        "resamples": int(number(evaluation.info.get("resamples")) or 0),
        "confidence": number(evaluation.info.get("confidence")) or 0.95,
    }


def operating_rows(
    asked: list[Question], evaluation: Evaluation, prevalence: float | None
) -> list[tuple[str, str, Mapping[str, Estimate]]]:
    """Of each operating point its name, when it says so, and its rates.

    Of a single question with probabilities also one half, and the points of these images with 95 % sensitivity and 95 %
    specificity: they are chosen on the images that they are measured on.
    """
    points: list[tuple[str, str, Question, np.ndarray]] = [(q.name, q.rule, q, q.says) for q in asked]
    if len(asked) == 1 and (scores := asked[0].scores) is not None:
        question = asked[0]
        if question.threshold != 0.5:
            points.append(("At one half", "from 0.5 on", question, scores >= 0.5))
        for title, threshold in _chosen_here(scores, question.positive):
            points.append(
                (title, f"from {threshold:.3g} on, chosen on these images", question, scores >= threshold)
            )
    rows: list[tuple[str, str, Mapping[str, Estimate]]] = []
    for name, rule, question, says in points:
        statistic = decision_rates(says, question.positive, prevalence)
        rows.append((name, rule, _estimates([statistic], question, evaluation)))
    return rows


def _chosen_here(scores: np.ndarray, positive: np.ndarray) -> list[tuple[str, float]]:
    """The highest threshold that finds 95 %, and the lowest that leaves 95 % of the others alone."""
    cases, others, levels = np.sort(scores[positive])[::-1], np.sort(scores[~positive]), np.unique(scores)
    needed, left = (int(np.ceil(0.95 * len(part) - 1e-9)) for part in (cases, others))
    points = [("95 % sensitivity", float(cases[needed - 1]))]
    above = levels[levels > others[left - 1]]
    return points + ([("95 % specificity", float(above[0]))] if len(above) else [])


def operating_block(asked: list[Question], evaluation: Evaluation, prevalence: float | None) -> Block:
    """A table of operating points."""
    names = [*RATES, *(AT_PREVALENCE if prevalence is not None else ())]
    at = "" if prevalence is None else f" at {percent(100 * prevalence)} %"
    titles = [_TITLES[name] + (at if name in AT_PREVALENCE else "") for name in names]
    rows = []
    for name, rule, estimates in operating_rows(asked, evaluation, prevalence):
        rows.append({"name": name, "small": rule, "cells": _cells(names, titles, estimates)})
    shares = ", ".join(
        f"{percent(100 * float(q.positive.mean()))} %{'' if len(asked) == 1 else f' of {q.name}'}"
        for q in asked[:6]
    )
    note = (
        f"Predictive values are at the share of positives in these images: {shares}{', …' if len(asked) > 6 else ''}. "
        "Where the condition is rarer, more of what is said is a false alarm"
    )
    note += (
        f"; at {percent(100 * prevalence)} % by Bayes' formula, with the same sensitivity and specificity."
        if (prevalence is not None)
        else ": modicum report RUN --prevalence 0.05 adds the values at 5 %."
    )
    return Block(
        "wide.html.j2",
        "Operating points",
        {"note": note, "heading": "Operating point", "titles": titles, "rows": rows},
    )


def calibration_block(asked: list[Question], evaluation: Evaluation) -> Block:
    """A table of calibration in the large, slope, Brier score and calibration error of each question."""
    rows = []
    for question in asked:
        estimates = calibration_of(question, evaluation)
        cells = _cells(list(_CALIBRATION), list(_CALIBRATION.values()), estimates)
        amount = f"{int(question.positive.sum())} of {len(question.positive)} images"
        rows.append({"name": question.name, "small": amount, "cells": cells})
    note = (
        "Right probabilities have observed / expected 1, intercept 0 (at slope 1) and slope 1. A slope below 1: too "
        "extreme; an intercept above 0: more common than stated. The calibration error is of the more probable answer."
    )
    values = {"note": note, "heading": "Condition", "titles": list(_CALIBRATION.values()), "rows": rows}
    return Block("wide.html.j2", "Calibration in numbers", values)


def calibration_of(question: Question, evaluation: Evaluation) -> dict[str, Estimate]:
    """Calibration of a question's probabilities, with intervals."""
    assert question.scores is not None
    probability, truth = question.scores.astype(np.float64), question.positive
    confidence, correct = np.maximum(probability, 1 - probability), (probability > 0.5) == truth
    of_truth = np.where(truth, probability, 1 - probability)
    two_way = calibration(confidence, correct, (probability - truth) ** 2, surprise_of(of_truth))
    fitted = _estimates([recalibration(probability, truth)], question, evaluation, _FITS)
    return {**fitted, **_estimates([two_way], question, evaluation)}


def decision_block(asked: list[Question], evaluation: Evaluation, prevalence: float | None) -> Block:
    """Decision curves of the questions."""
    charts = [
        {"name": question.name, "svg": decision_chart(question, curve_of(question, evaluation, prevalence))}
        for question in asked[:_CHARTS]
    ]
    at = "" if prevalence is None else f" At a prevalence of {percent(100 * prevalence)} %."
    legend = [
        {"name": "acting on the model", "swatch": "s0", "dash": "", "text": "", "interval": ""},
        {"name": "acting on everyone", "swatch": "s1", "dash": "6 3", "text": "", "interval": ""},
        {"name": "acting on no one", "swatch": "muted", "dash": "2 3", "text": "", "interval": ""},
    ]
    note = (
        "What acting from a probability on is worth: cases rightly acted on per image, less those in vain at the odds of "
        f"the threshold (Vickers and Elkin 2006). The model helps where its line is highest.{at}"
    )
    left = f"The first {_CHARTS} of {len(asked)} conditions are drawn." if len(asked) > _CHARTS else ""
    return Block(
        "charts.html.j2", "Decision curve", {"note": note, "charts": charts, "legend": legend, "left": left}
    )


def curve_of(question: Question, evaluation: Evaluation, prevalence: float | None) -> DecisionCurve:
    """The decision curve of a question, with its band by patient."""
    assert question.scores is not None
    settings = resampling_of(evaluation)
    settings["resamples"] = min(settings["resamples"], 1000 if len(question.positive) <= 5000 else 200)
    return decision_curve(
        question.scores,
        question.positive,
        thresholds=THRESHOLDS,
        prevalence=prevalence,
        groups=question.patients,
        **settings,
    )


def decision_chart(question: Question, curve: DecisionCurve) -> Any:
    """A chart of one decision curve."""
    top = max(1e-3, 1.08 * curve.prevalence)
    none = np.zeros(len(curve.thresholds))
    lines = [
        Line(curve.thresholds, none, "muted", "2 3"),
        Line(curve.thresholds, curve.act_on_all, "s1", "6 3"),
        Line(curve.thresholds, curve.model, "s0", "", curve.low, curve.high),
    ]
    return line_chart(
        lines,
        f"Decision curve of {question.name}: net benefit over threshold probability",
        x_label="threshold probability",
        y_label="net benefit",
        x_range=(0.0, 1.0),
        y_range=(-0.3 * top, top),
    )


def _estimates(
    statistics: list[Statistic], question: Question, evaluation: Evaluation, most: int = 2000
) -> dict[str, Estimate]:
    settings = resampling_of(evaluation)
    settings["resamples"] = min(settings["resamples"], most)
    return bootstrap(statistics, len(question.positive), groups=question.patients, **settings)


def _cells(names: list[str], titles: list[str], estimates: Mapping[str, Estimate]) -> list[dict[str, str]]:
    cells = []
    for name, title in zip(names, titles, strict=True):
        entry = estimates[name].as_dict()
        small = interval(entry) or str(entry.get("reason") or "").partition(":")[0]
        cells.append({"name": title, "text": score(entry["value"]), "small": small})
    return cells
