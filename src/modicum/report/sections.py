"""What a task contributes to the page, and which task contributes what."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from modicum.report.files import Evaluation, RunFiles, number
from modicum.report.words import LOWER_IS_BETTER, interval, metric_meaning, metric_title, score


@dataclass(frozen=True)
class Block:
    """One card of an evaluation: a template and what it shows.

    Args:
        template: file in ``templates/``.
        title: heading of the card; empty for none.
        values: what the template sees as ``block.values``.
        width: ``third``, ``half`` or ``full`` of the page on a wide screen.
        note: one sentence under the heading.
    """

    template: str
    title: str
    values: Mapping[str, Any] = field(default_factory=dict)
    width: str = "full"
    note: str = ""


@dataclass(frozen=True)
class Headline:
    """What the first screen says besides the score.

    Args:
        sentence: the result in plain words.
        pictures: small pictures of it, each with a legend: style and text of its parts.
        source: what the sentence was worked out from.
    """

    sentence: str
    pictures: Sequence[tuple[Markup, Sequence[tuple[str, str]]]] = ()
    source: str = ""


@dataclass(frozen=True)
class TaskSections:
    """What a kind of task adds to the page.

    Args:
        about: what is told apart, in a few words.
        headline: the first screen's sentence, for the main evaluation.
        blocks: cards of one evaluation; the text keeps ids of evaluations apart.
        cautions: sentences on how far the numbers of the main evaluation carry.
        counts: rows of the data summary: a name, and how many in each split.
    """

    about: Callable[[RunFiles], str]
    headline: Callable[[RunFiles, Evaluation], Headline]
    blocks: Callable[[RunFiles, Evaluation, str], list[Block]]
    cautions: Callable[[RunFiles, Evaluation], list[str]]
    counts: Callable[[RunFiles], list[tuple[str, dict[str, int]]]]


def sections_of(task: str) -> TaskSections:
    """The sections of a task; for one that has none of its own, its scores alone."""
    if task == "classification":
        from modicum.report.classification import SECTIONS

        return SECTIONS
    return TaskSections(
        about=lambda run: run.task_name,
        headline=lambda run, evaluation: Headline(""),
        blocks=lambda run, evaluation, prefix: score_block(evaluation),
        cautions=lambda run, evaluation: [],
        counts=lambda run: [],
    )


def score_block(evaluation: Evaluation, width: str = "full") -> list[Block]:
    """All summary scores with their intervals; nothing where there are none."""
    rows = [
        {
            "name": metric_title(name),
            "meaning": metric_meaning(name),
            "text": score(entry.get("value")),
            "interval": interval(entry),
            "mark": whisker(entry) if name != "log_loss" else None,
            "lower": name in LOWER_IS_BETTER,
            "reason": str(entry.get("reason") or ""),
        }
        for name, entry in evaluation.metrics.items()
        if "/" not in name
    ]
    if not rows:
        return []
    confidence = number(evaluation.info.get("confidence")) or 0.95
    return [
        Block("scores.html.j2", "All scores", {"rows": rows, "confidence": f"{100 * confidence:g}"}, width)
    ]


def whisker(entry: Mapping[str, Any], start: float = 0.0, end: float = 1.0) -> dict[str, str] | None:
    """Where dot and whiskers stand on an axis, in percent of its length; None without a value on it."""
    value, low, high = (number(entry.get(key)) for key in ("value", "low", "high"))
    if value is None or not start <= value <= end:  # a dot moved onto the axis would be another value
        return None

    def place(number: float) -> float:
        return 100 * min(1.0, max(0.0, (number - start) / (end - start)))

    mark = {"dot": f"{place(value):.2f}"}
    if low is not None and high is not None:
        mark |= {"low": f"{place(low):.2f}", "length": f"{place(high) - place(low):.2f}"}
    text = interval(entry)
    return mark | {"label": f"{score(value)}, interval {text}" if text else score(value)}
