"""What a task contributes to the page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from modicum.report.files import Evaluation, RunFiles, number
from modicum.report.words import (
    interval,
    is_share,
    lower_is_better,
    metric_interval,
    metric_meaning,
    metric_text,
    metric_title,
    score,
)


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
class Gallery:
    """Examples of one kind, each a row of pictures.

    Args:
        title: what they are.
        note: how to read them.
        cards: the examples.
        ramp: a scale under the title: its ``colours`` as CSS, and what stands at its ``low`` and ``high`` end.
        legends: under the title, each with a heading, and its colours as CSS with what they stand for.
        shown: cards that are seen at once; the others unfold.
    """

    title: str
    note: str
    cards: Sequence[Any]
    ramp: Mapping[str, str] | None = None
    legends: Sequence[tuple[str, Sequence[tuple[str, str]]]] = ()
    shown: int = 4


@dataclass(frozen=True)
class TaskSections:
    """What a kind of task adds to the page.

    Args:
        about: what is told apart, in a few words.
        headline: the first screen's sentence, for the main evaluation.
        blocks: cards of one evaluation; the text keeps ids of evaluations apart.
        cautions: sentences on how far the numbers of the main evaluation carry.
        counts: rows of the data summary: a name, and how many in each split.
        counted: heading of the summary; by classes or findings where it is empty.
        galleries: of a task whose predictions are pictures: the examples of an evaluation, their pictures together no
            larger than so many bytes. None where an example is one picture and what was said of it.
        lost: what an evaluation without a predictions file lacks.
        backbone: whether networks of this task usually stand on the backbone that a recipe names.
    """

    about: Callable[[RunFiles], str]
    headline: Callable[[RunFiles, Evaluation], Headline]
    blocks: Callable[[RunFiles, Evaluation, str], list[Block]]
    cautions: Callable[[RunFiles, Evaluation], list[str]]
    counts: Callable[[RunFiles], list[tuple[str, dict[str, int]]]]
    counted: str = ""
    galleries: Callable[[RunFiles, Evaluation, int], list[Gallery]] | None = None
    lost: str = "there are no curves, no confusion matrix and no calibration here"
    backbone: bool = True


def score_block(
    evaluation: Evaluation, width: str = "full", common_reason: bool = True, task: str = ""
) -> list[Block]:
    """All summary scores with their intervals; nothing where there are none.

    Args:
        evaluation: with its metrics.
        width: of the card.
        common_reason: whether a reason that all scores share stands beside each of them.
        task: whose words explain them.
    """
    reasons = {str(entry.get("reason") or "") for entry in evaluation.metrics.values()}
    told = common_reason or len(reasons) > 1
    rows = [
        {
            "name": metric_title(name),
            "meaning": metric_meaning(name, task),
            "text": metric_text(name, entry.get("value")),
            "interval": metric_interval(name, entry),
            "mark": whisker(entry) if is_share(name) else None,
            "lower": lower_is_better(name),
            "reason": str(entry.get("reason") or "") if told else "",
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
