"""Writes ``review.html`` and ``review.md``: model card, checklists and the flow of the data."""

from collections import Counter
from pathlib import Path
from typing import Any

from modicum.atomic_files import write_text
from modicum.report.figures import theme
from modicum.report.files import RunFiles
from modicum.report.flow import flow_of
from modicum.report.flow_picture import flow_picture
from modicum.report.for_readers import ReportOptions
from modicum.report.page import style, templates
from modicum.report.review import claim, model_card, tripod_ai
from modicum.report.review.facts import facts_of
from modicum.report.review.item import Answer, answered
from modicum.report.review.markdown import markdown_of
from modicum.report.words import percent

PAGES = ("review.html", "review.md")


def write_review(run: RunFiles, folder: Path, options: ReportOptions, start: str = "") -> list[Path]:
    """Writes both pages into a folder and returns them; their names begin with ``start``.

    Raises:
        ResourceError: the disk is full.
    """
    values = review_values(run, options)
    html, markdown = (folder / f"{start}{name}" for name in PAGES)
    write_text(html, templates().get_template("review.html.j2").render(values))
    write_text(markdown, markdown_of(values))
    return [html, markdown]


def review_values(run: RunFiles, options: ReportOptions) -> dict[str, Any]:
    """The values of both pages."""
    facts = facts_of(run)
    lists = [
        _list(module.NAME, module.SOURCE, answered(module.ITEMS, facts)) for module in (claim, tripod_ai)
    ]
    flow = flow_of(run)
    return {
        "run": run.name,
        "about": "" if facts["about"] is None else facts["about"].text,
        "css": style("report.css") + style("tables.css"),
        "theme": theme(),
        "prevalence": "" if options.prevalence is None else percent(100 * options.prevalence),
        "card": {"source": model_card.SOURCE, "answers": answered(model_card.ITEMS, facts)},
        "lists": lists,
        "flow": None if flow is None else flow_picture(flow),
        "flow_text": "" if facts["flow"] is None else facts["flow"].text,
    }


def _list(name: str, source: str, answers: list[Answer]) -> dict[str, Any]:
    states = Counter(answer.state for answer in answers)
    return {
        "name": name,
        "source": source,
        "answers": answers,
        "summary": (
            f"{states['filled']} of {len(answers)} items are filled from the run, {states['partly']} in part; "
            f"{states['missing']} are yours to write."
        ),
    }
