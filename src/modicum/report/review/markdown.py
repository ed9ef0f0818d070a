"""The page for reviewers as Markdown, to be copied into a manuscript's supplement."""

import re
from collections.abc import Mapping
from typing import Any

from modicum.report.review.item import Answer


def markdown_of(values: Mapping[str, Any]) -> str:
    """Renders model card, flow and checklists as Markdown."""
    lines = [
        f"# {_cell(values['run'])}: for reviewers",
        "",
        "Made by modicum from the files of the run folder; each answer names its files. For research.",
        "**Missing** marks what only the authors can write.",
        "",
        "## Model card",
        "",
        f"Headings of {values['card']['source']}.",
        "",
    ]
    for answer in values["card"]["answers"]:
        lines += [f"### {answer.item.asks}", ""]
        lines += [f"- {_cell(fact.text)}{_files(fact.source)}" for fact in answer.facts]
        lines += [f"- **Missing:** {answer.missing}"] if answer.missing else []
        lines.append("")
    if values["flow_text"]:
        lines += ["## From files to results", "", _cell(values["flow_text"]), ""]
    for checklist in values["lists"]:
        lines += [f"## {checklist['name']}", "", checklist["summary"], ""]
        lines += [f"Items in our own words; numbers of {checklist['source']}.", ""]
        lines += ["| item | asks for | from the run | still to write |", "| --- | --- | --- | --- |"]
        lines += [_row(answer) for answer in checklist["answers"]]
        lines.append("")
    return "\n".join(lines)


def _row(answer: Answer) -> str:
    facts = "; ".join(f"{_cell(fact.text)}{_files(fact.source)}" for fact in answer.facts)
    missing = f"**Missing:** {answer.missing}" if answer.missing else ""
    return f"| {answer.item.number} | {answer.item.asks} | {facts} | {missing} |"


def _files(source: str) -> str:
    names = ", ".join(f"`{name}`" for name in source.split(", ") if name)
    return f" ({names})" if names else ""


def _cell(text: str) -> str:
    """A text that is one line, breaks no table and is no markup."""
    return re.sub(r"([\\|<>*_\[\]])", r"\\\1", re.sub(r"\s+", " ", text))
