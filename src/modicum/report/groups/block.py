"""The table of groups on the page."""

from typing import Any

from modicum.report.files import Evaluation, as_mapping, number
from modicum.report.sections import Block
from modicum.report.words import metric_interval, metric_text, plural


def group_blocks(evaluation: Evaluation) -> list[Block]:
    """One table for each column that groups were made by; none where there are no groups."""
    columns, titles = evaluation.groups.get("columns"), as_mapping(evaluation.groups.get("metrics"))
    if not isinstance(columns, list) or not titles:
        return []
    return [_block(evaluation, as_mapping(column), titles) for column in columns]


def group_rows(column: Any, titles: Any) -> list[dict[str, Any]]:
    """Rows of one column's table: name, size, and for each metric its value and the difference to the others."""
    rows: list[dict[str, Any]] = []
    for group in column.get("groups") or []:
        if group.get("too_small"):
            rows.append({"name": str(group.get("name")), "small": "too small", "cells": []})
            continue
        patients = number(group.get("patients"))
        size = [plural(int(number(group.get("images")) or 0), "image")]
        size += [plural(int(patients), "patient")] if patients else []
        size += [str(group["events"])] if group.get("events") else []
        cells = []
        for name, title in titles.items():
            entry = as_mapping(as_mapping(group.get("metrics")).get(name))
            apart = as_mapping(as_mapping(group.get("differences")).get(name))
            small = metric_interval(name, entry) or str(entry.get("reason") or "").partition(":")[0]
            cells.append({"name": title, "text": metric_text(name, entry.get("value")), "small": small})
            cells.append(
                {
                    "name": f"{title}, to the others",
                    "text": signed(name, apart),
                    "small": metric_interval(name, apart),
                }
            )
        rows.append({"name": str(group.get("name")), "small": ", ".join(size), "cells": cells})
    return rows


def signed(name: str, entry: Any) -> str:
    """A difference with its sign: ``+0.031``."""
    value = number(entry.get("value"))
    if value is None:
        return "–"
    text = metric_text(name, value)
    return text if value < 0 else f"+{text}"


def _block(evaluation: Evaluation, column: Any, titles: Any) -> Block:
    least = int(number(evaluation.groups.get("least")) or 0)
    rows = group_rows(column, titles)
    of = "patients" if evaluation.groups.get("resampling_unit") == "patient" else "images"
    note = (
        f"Intervals by resampling {of}; the difference is to all other images, from the same resamples. An interval of a "
        "difference with 0 inside does not show that groups are alike, least of all small ones."
    )
    small = [row["name"] for row in rows if not row["cells"]]
    if small:
        note += f" Too small for numbers (fewer than {least} images): {', '.join(small)}."
    whole = _whole(evaluation, titles)
    headings = [heading for title in titles.values() for heading in (title, "to the others")]
    values = {
        "note": note,
        "heading": str(column.get("column")),
        "titles": headings,
        "rows": [*whole, *(row for row in rows if row["cells"])],
    }
    return Block("wide.html.j2", f"By {column.get('column')}", values)


def _whole(evaluation: Evaluation, titles: Any) -> list[dict[str, Any]]:
    """A row of all images, for metrics that the evaluation has as a whole."""
    if not all(name in evaluation.metrics for name in titles):
        return []
    cells = []
    for name, title in titles.items():
        entry = evaluation.metrics[name]
        text, small = metric_text(name, entry.get("value")), metric_interval(name, entry)
        cells += [{"name": title, "text": text, "small": small}, {"name": "", "text": "", "small": ""}]
    return [
        {
            "name": "all",
            "small": plural(int(number(evaluation.info.get("images")) or 0), "image"),
            "cells": cells,
        }
    ]
