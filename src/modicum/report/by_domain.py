"""A table of an evaluation's main scores, domain by domain."""

from typing import Any

from modicum.report.files import Evaluation, as_mapping, number
from modicum.report.sections import Block, whisker
from modicum.report.words import is_share, metric_interval, metric_text, metric_title, plural
from modicum.tasks.metric_tables import metric_named

_MOST = 5
"""Scores beside each other in the table."""


def domain_blocks(evaluation: Evaluation, task: str) -> list[Block]:
    """One block with a row a domain, the worst by the first score first; none where there are fewer than two."""
    domains = as_mapping(evaluation.info.get("domains"))
    summaries = [name for name in evaluation.metrics if "/" not in name]
    brief = [name for name in summaries if metric_named(name, task).in_brief] or summaries
    names = brief[:_MOST]
    if len(domains) < 2 or not names:
        return []
    rows: list[tuple[float, dict[str, Any]]] = []
    for domain, of_domain in domains.items():
        metrics = as_mapping(as_mapping(of_domain).get("metrics"))
        entries = {name: as_mapping(metrics.get(name)) for name in names}
        patients = number(of_domain.get("patients"))
        small = plural(int(number(of_domain.get("images")) or 0), "image")
        cells = [
            {
                "name": metric_title(name),
                "text": metric_text(name, entry.get("value")),
                "small": metric_interval(name, entry) or str(entry.get("reason") or ""),
            }
            for name, entry in entries.items()
        ]
        first, value = entries[names[0]], number(entries[names[0]].get("value"))
        row = {
            "name": str(domain),
            "small": f"{small}, {plural(int(patients), 'patient')}" if patients else small,
            "mark": whisker(first) if is_share(names[0]) else None,
            "cells": cells,
        }
        sign = -1 if metric_named(names[0], task).higher_is_better is False else 1
        rows.append((float("inf") if value is None else sign * value, row))
    values = {
        "note": f"The bar is {metric_title(names[0])}. A model can be good on average and poor on one scanner.",
        "heading": "Domain",
        "titles": [metric_title(name) for name in names],
        "rows": [row for _, row in sorted(rows, key=lambda pair: pair[0])],
        "foot": None,
    }
    return [Block("groups.html.j2", "Domain by domain", values)]
