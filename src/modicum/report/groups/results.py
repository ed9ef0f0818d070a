"""Metrics of each group with intervals by patient, and how far they are from those of all other images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from modicum.errors import InputError
from modicum.report.evidence import resampling_of
from modicum.report.files import Evaluation, RunFiles, as_mapping
from modicum.report.groups.bands import Grouping, grouped
from modicum.report.groups.measures import Measures, measures_of
from modicum.tasks.bootstrap import Estimate, bootstrap
from modicum.tasks.group_difference import DIFFERENCE, GROUP, group_and_others

LEAST = 20
"""Images below which a group is named as too small, without any number."""


def group_results(
    run: RunFiles,
    evaluation: Evaluation,
    columns: Sequence[tuple[str, Sequence[float], Sequence[str]]],
    least: int = LEAST,
) -> dict[str, Any]:
    """The content of ``groups.json``: sizes and metrics of groups, nothing of single images.

    Args:
        run: the run's files.
        evaluation: that they are of.
        columns: names, cut points and values of each row of the predictions.
        least: images below which a group is too small.

    Raises:
        InputError: a column that makes no groups, or predictions that cannot be measured in parts.
    """
    measures = measures_of(run, evaluation)
    if measures is None:
        raise InputError(
            f"the predictions of evaluation '{evaluation.name}' cannot be measured group by group",
            "this works for runs that classify, segment, detect, translate or find anomalies, with a predictions.csv",
        )
    before = as_mapping(evaluation.groups).get("columns")
    groupings = []
    for column, cuts, values in columns:
        kept = [values[row] for row in measures.rows]
        groupings.append(grouped(column, cuts, kept))
    found = [_of_column(measures, grouping, evaluation, least) for grouping in groupings]
    named = {one["column"] for one in found}
    earlier = (
        [one for one in before if as_mapping(one).get("column") not in named]
        if isinstance(before, list)
        else []
    )
    same = as_mapping(evaluation.groups).get("least") == least
    return {
        "schema": 1,
        "least": least,
        "metrics": {name: measures.title(name) for name in measures.names},
        "resampling_unit": "image" if measures.patients is None else "patient",
        "columns": [*(earlier if same else []), *found],
    }


def _of_column(measures: Measures, grouping: Grouping, evaluation: Evaluation, least: int) -> dict[str, Any]:
    groups = [_of_group(measures, name, inside, evaluation, least) for name, inside in grouping.groups]
    return {"column": grouping.column, "groups": groups}


def _of_group(
    measures: Measures, name: str, inside: np.ndarray, evaluation: Evaluation, least: int
) -> dict[str, Any]:
    places, others = np.flatnonzero(inside), np.flatnonzero(~inside)
    if len(places) < least:
        return {"name": name, "too_small": True}
    patients = None if measures.patients is None else len(set(measures.patients[places]))
    content: dict[str, Any] = {
        "name": name,
        "images": len(places),
        "patients": patients,
        "events": measures.events(places),
    }
    settings = resampling_of(evaluation) | {"groups": measures.patients}
    if len(others) < least:  # nothing to compare with
        alone = bootstrap(
            [s.among(places, len(inside)) for s in measures.of(places).statistics],
            len(inside),
            means=measures.of(places).means,
            **settings,
        )
        return content | {"metrics": _entries(alone, measures.names, ""), "differences": {}}
    statistic = group_and_others(measures.of(places), measures.of(others), measures.names, len(inside))
    estimates = bootstrap([statistic], len(inside), **settings)
    return content | {
        "metrics": _entries(estimates, measures.names, GROUP),
        "differences": _entries(estimates, measures.names, DIFFERENCE),
    }


def _entries(estimates: dict[str, Estimate], names: Sequence[str], prefix: str) -> dict[str, Any]:
    return {name: estimates[prefix + name].as_dict() for name in names}
