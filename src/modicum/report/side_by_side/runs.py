"""Runs whose predictions of the same images stand in the same order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from modicum.errors import InputError
from modicum.report.build import checked_run
from modicum.report.files import Evaluation, RunFiles
from modicum.report.groups.measures import Measures, measures_of
from modicum.wording import count_of


@dataclass(frozen=True)
class Member:
    """A run of the comparison.

    Attributes:
        name: of its folder.
        run: its files.
        evaluation: of the common images, with predictions in the common order.
        measures: of these.
    """

    name: str
    run: RunFiles
    evaluation: Evaluation
    measures: Measures


def members_of(folders: Sequence[Path], of: str | None = None) -> list[Member]:
    """Reads runs and checks that they answer the same question about the same images.

    Args:
        folders: of two runs or more; the first is what others are compared with.
        of: name of the evaluation; by default the test set, or else one that all have.

    Raises:
        InputError: fewer than two runs, one of another task, other classes or other images; it is named.
    """
    if len(folders) < 2:
        raise InputError("one run cannot be compared", "pass two run folders or more")
    places = [folder.resolve() for folder in folders]
    if len(set(places)) < len(places):
        raise InputError("a run is given twice", "pass each run folder once")
    runs = [checked_run(folder) for folder in folders]
    names = _names(folders)
    first = runs[0]
    for name, run in zip(names[1:], runs[1:], strict=True):
        if run.task_name != first.task_name:
            raise InputError(
                f"run '{name}' is of task {run.task_name}, '{names[0]}' of {first.task_name}",
                "compare runs of one task",
            )
        if run.classes != first.classes or run.kind != first.kind:
            raise InputError(
                f"run '{name}' has other classes than '{names[0]}'", "compare runs of the same classes"
            )
    chosen = _common(runs, names, of)
    evaluations = [_ordered(_of(run, chosen), name) for run, name in zip(runs, names, strict=True)]
    for name, evaluation in zip(names[1:], evaluations[1:], strict=True):
        _check_same(names[0], evaluations[0], name, evaluation)
    return [_member(*one) for one in zip(names, runs, evaluations, strict=True)]


def _names(folders: Sequence[Path]) -> list[str]:
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) == len(names):
        return names
    return [f"{folder.resolve().parent.name}/{folder.resolve().name}" for folder in folders]


def _of(run: RunFiles, name: str) -> Evaluation:
    return next(evaluation for evaluation in run.evaluations if evaluation.name == name)


def _common(runs: Sequence[RunFiles], names: Sequence[str], of: str | None) -> str:
    held = [[e.name for e in run.evaluations if e.predictions is not None and e.metrics] for run in runs]
    wanted = [of] if of is not None else ["test", *held[0]]
    for name in wanted:
        if all(name in one for one in held):
            return str(name)
    lacking = next((name for name, one in zip(names, held, strict=True) if wanted[0] not in one), names[0])
    raise InputError(
        f"run '{lacking}' has no evaluation '{wanted[0]}' with predictions",
        "evaluate all runs with `modicum evaluate --name`",
    )


def _ordered(evaluation: Evaluation, name: str) -> Evaluation:
    table = evaluation.predictions
    assert table is not None
    if "image" not in table or table["image"].duplicated().any():
        raise InputError(f"run '{name}': predictions.csv names an image twice, or none", "evaluate it again")
    return replace(evaluation, predictions=table.sort_values("image", kind="stable").reset_index(drop=True))


def _check_same(first: str, ours: Evaluation, name: str, theirs: Evaluation) -> None:
    a, b = ours.predictions, theirs.predictions
    assert a is not None
    assert b is not None
    shared = len(set(a["image"]) & set(b["image"]))
    if shared != len(a) or len(a) != len(b):
        raise InputError(
            f"run '{name}' was evaluated on other images than '{first}': {count_of(len(b), 'image')} and {len(a)}, "
            f"{shared} in both",
            "evaluate both on the same data with `modicum evaluate --name`",
        )
    for column in (one for one in a.columns if str(one).startswith("truth") and one in b):
        differing = int((a[column] != b[column]).sum())
        if differing:
            raise InputError(
                f"run '{name}' has other labels than '{first}' for {count_of(differing, 'image')}",
                "compare by the same labels",
            )


def _member(name: str, run: RunFiles, evaluation: Evaluation) -> Member:
    measures = measures_of(run, evaluation)
    table = evaluation.predictions
    assert table is not None
    if measures is None or not np.array_equal(measures.rows, np.arange(len(table))):
        raise InputError(
            f"the predictions of run '{name}' cannot be measured image by image",
            "evaluate it again with `modicum evaluate`",
        )
    return Member(name, run, evaluation, measures)
