"""Report texts of classification: the headline, cautions, and counts of classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from modicum.report.classified import classified
from modicum.report.figures import hundred
from modicum.report.files import Evaluation, RunFiles, as_mapping, number
from modicum.report.operating_points import chosen_on_validation as points_chosen
from modicum.report.sections import Headline
from modicum.report.severity import chosen_on_validation
from modicum.report.words import of_hundred, plural, score, sentence_list

FEW = 50
"""Below this many images of a class, its intervals are too wide to rely on."""
TOO_FEW = 10
"""Below this many images, no statement about a hundred images is made."""


def about(run: RunFiles) -> str:
    """``tells “glaucoma” from “healthy”``, ``grades dr_grade from “0” to “4”``."""
    names = [class_words(run, name) for name in run.classes]
    if run.kind == "binary" and len(names) == 2:
        return f"tells {names[1]} from {names[0]}"
    if run.kind == "multi-label":
        return f"looks for {plural(len(names), 'finding')}"
    if run.task.get("ordered"):
        return f"grades from {names[0]} to “{run.classes[-1]}”" if names else "grades"
    return f"tells {len(names)} classes apart"


def class_words(run: RunFiles, name: str) -> str:
    """``“glaucoma”``, or ``“covid = 1”`` if the class is a number and its column has a name."""
    column = as_mapping(run.recipe_data.get("columns")).get("label")
    return f"“{column} = {name}”" if isinstance(column, str) and name.isdigit() else f"“{name}”"


def headline(run: RunFiles, evaluation: Evaluation) -> Headline:
    """The result as a sentence about a hundred images, and as a figure of a hundred dots."""
    if run.kind == "multi-class":
        return _named_rightly(run, evaluation)
    return _detection_headline(run, evaluation)


def _detection_headline(run: RunFiles, evaluation: Evaluation) -> Headline:
    sensitivity, specificity = (
        _over_findings(run, evaluation, name) for name in ("sensitivity", "specificity")
    )
    value, left_alone = number(sensitivity.get("value")), number(specificity.get("value"))
    if value is None or left_alone is None:
        return Headline("")
    alarms = {key: None if (v := number(specificity.get(key))) is None else 1 - v for key in ("low", "high")}
    hits, rate = of_hundred(value), of_hundred(1 - left_alone)
    single = run.kind == "binary" and len(run.classes) == 2
    scored = classified(run, evaluation)
    if single and scored is not None:
        here, rarer = min((int((scored.truth == i).sum()), name) for i, name in enumerate(run.classes))
        if here < TOO_FEW:
            return Headline(
                f"Only {plural(here, 'image')} with {class_words(run, rarer)} in the {evaluation.title}: "
                "too few to say how many of a hundred it would find."
            )
    what = class_words(run, run.classes[1]) if single else "a finding"
    who = "" if single else f"Averaged over {len(run.classes)} findings: of"
    sentence = (
        f"{who or 'Of'} 100 images with {what} it found about {hits}{_between(sensitivity)}; "
        f"of 100 without, it took about {rate}"
        f"{_between({'low': alarms['high'], 'high': alarms['low']})} for one."
    )
    if not single:
        sentence += _best_and_worst(run, evaluation)
    hits_label, alarm_label = f"{hits} found", plural(rate, "false alarm")
    pictures = [
        (
            hundred([("good", hits)], f"Of 100 images with {what}: {hits_label}"),
            [("", f"of 100 images with {what}"), ("good", hits_label), ("rest", f"{100 - hits} missed")],
        ),
        (
            hundred([("bad", rate)], f"Of 100 images without: {alarm_label}"),
            [("", "of 100 images without"), ("bad", alarm_label), ("rest", "the others left alone")],
        ),
    ]
    how = " at the threshold chosen on validation" if points_chosen(run) else ""
    return Headline(sentence, pictures, f"sensitivity and specificity of its decisions{how}")


def _over_findings(run: RunFiles, evaluation: Evaluation, metric: str) -> Mapping[str, Any]:
    """A metric of decisions; of findings in an older run, the mean over the single ones, without an interval."""
    if metric in evaluation.metrics:
        return evaluation.metrics[metric]
    each = [number(evaluation.metrics.get(f"{metric}/{name}", {}).get("value")) for name in run.classes]
    defined = [value for value in each if value is not None]
    return {"value": sum(defined) / len(defined)} if defined else {}


def _named_rightly(run: RunFiles, evaluation: Evaluation) -> Headline:
    accuracy = evaluation.metrics.get("accuracy", {})
    value = number(accuracy.get("value"))
    if value is None:
        return Headline("")
    right = of_hundred(value)
    images = number(evaluation.info.get("images"))
    if images is not None and images < 2 * TOO_FEW:
        return Headline(
            f"Only {plural(int(images), 'image')} in the {evaluation.title}: "
            "too few to say how many of a hundred it would get right."
        )
    ordered = bool(run.task.get("ordered"))
    verb = f"graded about {right} right" if ordered else f"put about {right} in the right class"
    sentence = f"Of 100 images it {verb}{_between(accuracy)}"
    parts = [("good", right, f"{right} right")]
    scored = classified(run, evaluation)
    if ordered and scored is not None:
        near = of_hundred(float((np.abs(scored.predicted - scored.truth) <= 1).mean()))
        sentence += f", and {near} at most one grade off"
        parts.append(("near", near - right, f"{near - right} one grade off"))
    sentence += "."
    balanced = number(evaluation.metrics.get("balanced_accuracy", {}).get("value"))
    if balanced is not None and abs(balanced - value) >= 0.02:
        sentence += (
            f" With every {'grade' if ordered else 'class'} counting alike: {of_hundred(balanced)} of 100."
        )
    left = 100 - sum(amount for _, amount, _ in parts)
    parts.append(("bad", left, f"{left} further off" if ordered else f"{left} wrong"))
    label = f"Of 100 images: {', '.join(text for _, _, text in parts)}"
    picture = hundred([(style, amount) for style, amount, _ in parts], label)
    legend = [("", "of 100 images"), *((style, text) for style, amount, text in parts if amount)]
    return Headline(sentence, [(picture, legend)], "accuracy")


def _between(entry: Mapping[str, Any]) -> str:
    low, high = number(entry.get("low")), number(entry.get("high"))
    # Non-breaking spaces keep the bracket on one line.
    return "" if low is None or high is None else f" ({of_hundred(low)}\u00a0to\u00a0{of_hundred(high)})"


def _best_and_worst(run: RunFiles, evaluation: Evaluation) -> str:
    scores = {name: number(evaluation.metrics.get(f"auroc/{name}", {}).get("value")) for name in run.classes}
    defined = {name: value for name, value in scores.items() if value is not None}
    if len(defined) < 2:
        return ""
    best, worst = max(defined, key=lambda n: defined[n]), min(defined, key=lambda n: defined[n])
    return f" Best at “{best}” (AUROC {score(defined[best])}), worst at “{worst}” ({score(defined[worst])})."


def cautions(run: RunFiles, evaluation: Evaluation) -> list[str]:
    """Cautions about the scores of one evaluation."""
    scored = classified(run, evaluation)
    if scored is None:
        return []
    sentences = []
    numbers = [scored.images_of(i) for i in range(len(scored.classes))]
    thing = "finding" if scored.several else "class"
    few = [f"“{n}” ({amount})" for n, amount in zip(scored.classes, numbers, strict=True) if 0 < amount < FEW]
    none = [f"“{name}”" for name, amount in zip(scored.classes, numbers, strict=True) if amount == 0]
    if few:
        sentences.append(
            f"Few images to judge by: fewer than {FEW} in the {evaluation.title} of {sentence_list(few)}. "
            "Scores of so few images can be far off; read the intervals, not the dots."
        )
    if none:
        verb = "occurs" if len(none) == 1 else "occur"
        sentences.append(
            f"No image of {thing} {sentence_list(none)} {verb} in the {evaluation.title}: not evaluated."
        )
    if evaluation.name == "val" and chosen_on_validation(run):
        sentences.append(
            "The scores at which grades begin were chosen on these images, so the grades are optimistic."
        )
    if evaluation.name == "val" and points_chosen(run):
        sentences.append(
            "Operating points and temperature were chosen on these images, so what was decided, and the calibration, "
            "look better than they are."
        )
    return sentences


def counts(run: RunFiles) -> list[tuple[str, dict[str, int]]]:
    """Images of each class (or with each finding) in each split, from the manifest."""
    table = run.manifest
    if table is None:
        return []
    splits = table["split"] if "split" in table else np.full(len(table), "all")
    rows = []
    for name in run.classes:
        if f"labels:{name}" in table:
            present = table[f"labels:{name}"].isin(["1", "1.0"])
        elif "label" in table:
            present = table["label"] == name
        else:
            continue
        rows.append((name, {str(k): int(v) for k, v in present.groupby(np.asarray(splits)).sum().items()}))
    return rows
