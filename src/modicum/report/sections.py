"""Report sections of each task."""

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
    """One block (card) of an evaluation: a template and its values.

    Args:
        template: file in ``templates/``.
        title: heading of the card; empty for none.
        values: available in the template as ``block.values``.
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
    """The sentence and figures next to the main score.

    Args:
        sentence: the result as a sentence.
        pictures: small figures of it, each with a legend: style and text of its parts.
        source: what the sentence is based on.
    """

    sentence: str
    pictures: Sequence[tuple[Markup, Sequence[tuple[str, str]]]] = ()
    source: str = ""


@dataclass(frozen=True)
class Gallery:
    """Examples of one kind, each a row of images.

    Args:
        title: what they are.
        note: how to read them.
        cards: the examples.
        ramp: a colour scale under the title: its ``colours`` as CSS, and the texts at its ``low`` and ``high`` end.
        legends: legends under the title, each with a heading, and its colours as CSS with their meanings.
        shown: number of cards shown at once; the others unfold.
    """

    title: str
    note: str
    cards: Sequence[Any]
    ramp: Mapping[str, str] | None = None
    legends: Sequence[tuple[str, Sequence[tuple[str, str]]]] = ()
    shown: int = 4


@dataclass(frozen=True)
class TaskSections:
    """The parts of the page that depend on the task.

    Args:
        about: what the model does, in a few words.
        headline: the first screen's sentence, for the main evaluation.
        blocks: blocks of one evaluation; the text is a prefix of ids.
        cautions: sentences that limit the conclusions from the main evaluation.
        counts: rows of the data summary: a name, and the counts in each split.
        counted: heading of the summary; by default for classes or findings.
        galleries: for a task that predicts images: the examples of an evaluation, with a limit in bytes for all images
            together. None if an example is one image with its prediction.
        lost: what is missing for an evaluation without a predictions file.
        backbone: whether networks of this task usually use the backbone named in the recipe.
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
    """A block of all summary scores with their intervals; no block if there are none.

    Args:
        evaluation: with its metrics.
        width: width of the card.
        common_reason: whether a reason for missing intervals that all scores share is repeated for each of them.
        task: name of the task, for explanations of metrics.
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


def metric_row(title: str, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a table of metrics that are shares: a metric under a title of its own, with its interval and mark."""
    return {
        "name": title,
        "meaning": "",
        "text": metric_text(name, entry.get("value")),
        "interval": metric_interval(name, entry),
        "mark": whisker(entry),
        "lower": False,
        "reason": str(entry.get("reason") or ""),
    }


def whisker(entry: Mapping[str, Any], start: float = 0.0, end: float = 1.0) -> dict[str, str] | None:
    """Coordinates of dot and whiskers on an axis, in percent of its length; None without a value on it."""
    value, low, high = (number(entry.get(key)) for key in ("value", "low", "high"))
    if value is None or not start <= value <= end:  # clipping the dot to the axis would show another value
        return None

    def percent_along(number: float) -> float:
        return 100 * min(1.0, max(0.0, (number - start) / (end - start)))

    mark = {"dot": f"{percent_along(value):.2f}"}
    if low is not None and high is not None:
        mark |= {
            "low": f"{percent_along(low):.2f}",
            "length": f"{percent_along(high) - percent_along(low):.2f}",
        }
    text = interval(entry)
    return mark | {"label": f"{score(value)}, interval {text}" if text else score(value)}
