"""Holds a method, shipped or a stranger's, to the promises of the contract; as scikit-learn's ``check_estimator``.

>>> from modicum.methods.checks import check_method
>>> results = check_method("my_method")  # doctest: +SKIP

It trains the method a few times on a few made images, with a tiny backbone, which takes seconds. What it holds, in this
order, is :data:`CHECKS`; the first promise that is not kept is raised.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modicum.methods.base import Method
from modicum.methods.checks.answers import (
    check_attribution,
    check_batches,
    check_evaluates,
    check_export,
    check_memory,
    check_saved,
    check_single_image,
)
from modicum.methods.checks.declarations import check_settings, check_stages, check_words
from modicum.methods.checks.made_data import write_made_data
from modicum.methods.checks.outcome import Broken, CheckResult, MethodCheckError, NotApplicable
from modicum.methods.checks.training import check_optimizers, check_resumes, check_rows, check_trains
from modicum.methods.checks.trial import Trial
from modicum.methods.registry import method_class
from modicum.progress import bar, quietly

__all__ = ["CHECKS", "CheckResult", "MethodCheckError", "check_method", "write_made_data"]

CHECKS: tuple[Callable[[Trial], None], ...] = (
    check_words,
    check_settings,
    check_trains,
    check_stages,
    check_rows,
    check_optimizers,
    check_saved,
    check_evaluates,
    check_batches,
    check_single_image,
    check_attribution,
    check_export,
    check_resumes,
    check_memory,
)
"""What is checked, in this order; the first line of each docstring is the promise."""


def check_method(name: str, *, data: str | Path | None = None, **settings: Any) -> list[CheckResult]:
    """Holds a method to the promises that modicum makes of methods.

    Args:
        name: of its entry point: the package that brings it must be installed.
        data: a table of images to train on: a few rows of each split, with patients. By default some are made, with
            eyes, boxes and a row of split ``reference``, for the method's first task.
        settings: of the small trainings (``epochs=1``, ``backbone="test_vit"``, the method's own). By default 2 epochs of
            batches of 4 images of 32 x 32 pixels, on ``test_vit`` or ``test_resnet`` with random weights.

    Returns:
        A result for each of :data:`CHECKS`: passed, or not applicable with the reason.

    Raises:
        MethodCheckError: the first promise that is not kept, what was seen, and what to change.
        InputError: there is no such method, or nothing can be made for its task.
    """
    method = method_class(name)
    with (
        tempfile.TemporaryDirectory(prefix="modicum-check-") as place,
        bar(name, len(CHECKS)) as progress,
        quietly(),
    ):
        folder = Path(place)
        task = str(settings.get("task") or method.tasks[0])
        table = write_made_data(task, folder / "data") if data is None else Path(data)
        trial = Trial(name, method, table, folder / "runs", settings)
        results = []
        for check in CHECKS:
            progress.note(check.__name__.removeprefix("check_"))
            results.append(_held(check, trial, method))
            progress.advance()
    return results


def _held(check: Callable[[Trial], None], trial: Trial, method: type[Method]) -> CheckResult:
    name = check.__name__.removeprefix("check_")
    promise = str(check.__doc__).splitlines()[0]
    try:
        check(trial)
    except NotApplicable as reason:
        return CheckResult(name, promise, str(reason))
    except Broken as error:
        raise MethodCheckError(trial.name, name, promise, error.seen, error.change) from error.__cause__
    return CheckResult(name, promise)
