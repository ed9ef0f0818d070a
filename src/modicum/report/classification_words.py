"""What classification says in words: the headline, cautions, and counts of classes."""

import numpy as np

from modicum.report.classified import classified
from modicum.report.figures import hundred
from modicum.report.files import Evaluation, RunFiles, number
from modicum.report.sections import Headline
from modicum.report.words import of_hundred, plural, score, sensitivity_at, sentence_list

FEW = 50
"""Below this many images of a class, its intervals are too wide to lean on."""


def about(run: RunFiles) -> str:
    """``5 classes: 0, 1, 2, 3 and 4``."""
    names = [f"“{name}”" for name in run.classes]
    if run.kind == "binary" and len(names) == 2:
        return f"tells {names[1]} from {names[0]}"
    if run.kind == "multi-label":
        return f"looks for {plural(len(names), 'finding')}"
    if run.task.get("ordered"):
        return f"grades from {names[0]} to {names[-1]}" if names else "grades"
    return f"tells {len(names)} classes apart"


def headline(run: RunFiles, evaluation: Evaluation) -> Headline:
    """The result as a sentence about a hundred images, and those as dots."""
    if run.kind == "multi-class":
        return _named_rightly(run, evaluation)
    return _found(run, evaluation)


def _found(run: RunFiles, evaluation: Evaluation) -> Headline:
    at = next((name for name in evaluation.metrics if sensitivity_at(name)), "")
    found = evaluation.metrics.get(at, {})
    value, alarms = number(found.get("value")), 100 - float(sensitivity_at(at) or 95)
    if value is None:
        return Headline("")
    hits, rate = of_hundred(value), f"{alarms:g}"
    single = run.kind == "binary" and len(run.classes) == 2
    what = f"“{run.classes[1]}”" if single else "a finding"
    who = "" if single else f"Averaged over {len(run.classes)} findings: of"
    sentence = (
        f"{who or 'Of'} 100 images with {what} it found about {hits}{_between(found)} "
        f"at a false-alarm rate of {rate} in 100."
    )
    if not single:
        sentence += _best_and_worst(run, evaluation)
    pictures = [
        (hundred([("good", hits)], f"{hits} of 100 found"), f"of 100 images with {what}, {hits} found"),
        (
            hundred([("bad", round(alarms))], f"{rate} of 100 are false alarms"),
            f"of 100 without, {rate} false {'alarm' if rate == '1' else 'alarms'}",
        ),
    ]
    return Headline(sentence, pictures, f"sensitivity at {sensitivity_at(at)} % specificity")


def _named_rightly(run: RunFiles, evaluation: Evaluation) -> Headline:
    accuracy = evaluation.metrics.get("accuracy", {})
    value = number(accuracy.get("value"))
    if value is None:
        return Headline("")
    right = of_hundred(value)
    thing = "grade" if run.task.get("ordered") else "class"
    sentence = f"Of 100 images it gave about {right} their right {thing}{_between(accuracy)}"
    parts, caption = [("good", right)], f"of 100 images, {right} right"
    scored = classified(run, evaluation)
    if run.task.get("ordered") and scored is not None:
        near = float((np.abs(scored.probabilities.argmax(1) - scored.truth) <= 1).mean())
        beside = max(0, of_hundred(near) - right)
        sentence += f", and {right + beside} were at most one grade off"
        parts.append(("near", beside))
        caption += f", {beside} one grade off, {100 - right - beside} further"
    sentence += "."
    balanced = number(evaluation.metrics.get("balanced_accuracy", {}).get("value"))
    if balanced is not None and abs(balanced - value) >= 0.02:
        sentence += f" With every {thing} counting alike it is {of_hundred(balanced)} in 100."
    parts.append(("bad", 100 - sum(amount for _, amount in parts)))
    return Headline(sentence, [(hundred(parts, caption), caption)], "accuracy")


def _between(entry: "dict[str, object] | object") -> str:
    low, high = (number(entry.get(key)) if hasattr(entry, "get") else None for key in ("low", "high"))
    return "" if low is None or high is None else f" ({of_hundred(low)} to {of_hundred(high)})"


def _best_and_worst(run: RunFiles, evaluation: Evaluation) -> str:
    scores = {name: number(evaluation.metrics.get(f"auroc/{name}", {}).get("value")) for name in run.classes}
    known = {name: value for name, value in scores.items() if value is not None}
    if len(known) < 2:
        return ""
    best, worst = max(known, key=lambda n: known[n]), min(known, key=lambda n: known[n])
    return (
        f" Surest on “{best}” (AUROC {score(known[best])}), least sure on “{worst}” ({score(known[worst])})."
    )


def cautions(run: RunFiles, evaluation: Evaluation) -> list[str]:
    """What the numbers of one evaluation cannot carry."""
    scored = classified(run, evaluation)
    if scored is None:
        return []
    found = []
    numbers = [int(scored.one(i)[1].sum()) for i in range(len(scored.classes))]
    thing = "finding" if scored.several else "class"
    few = [f"“{n}” ({amount})" for n, amount in zip(scored.classes, numbers, strict=True) if 0 < amount < FEW]
    none = [f"“{name}”" for name, amount in zip(scored.classes, numbers, strict=True) if amount == 0]
    if few:
        found.append(
            f"Few images to judge by: fewer than {FEW} in the {evaluation.title} of {sentence_list(few)}. "
            "Scores of so few images can be far off; read the intervals, not the dots."
        )
    if none:
        verb = "occurs" if len(none) == 1 else "occur"
        found.append(f"No image of {thing} {sentence_list(none)} {verb} in the {evaluation.title}: not evaluated.")
    return found


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
