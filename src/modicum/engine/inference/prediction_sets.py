"""Prediction sets of a finished classifier, calibrated on the validation answers that its run folder holds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from modicum.data.table_cells import as_written
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError
from modicum.tasks import Task, task_class
from modicum.tasks.bootstrap import Estimate, Statistic, bootstrap
from modicum.tasks.classification.conformal import USUAL, PredictionSets, calibrated_sets, check_asked
from modicum.tasks.classification.task import Classification

SET_COLUMN = "prediction_set"


@dataclass(frozen=True)
class EvaluatedSets:
    """Prediction sets of images with known classes.

    Attributes:
        texts: the set of each.
        estimates: ``coverage``, ``set_size`` and ``coverage/CLASS``, with intervals.
    """

    texts: list[str]
    estimates: dict[str, Estimate]


def check_offers_sets(task: Task) -> Classification:
    """The task. Raises InputError where it has no classes to make sets of."""
    if isinstance(task, Classification):
        return task
    raise _not_offered(task.name)


def _not_offered(task: str) -> InputError:
    return InputError(
        f"--conformal: prediction sets are not offered for task '{task}'",
        "leave it out; they are for classification (classes, grades, findings)",
    )


def check_asked_sets(task: str, alpha: float | None, by: str | None = None) -> None:
    """What can be said of the options of prediction sets before a run's answers are read.

    Raises:
        InputError: a score without a share, another task, or a share or score that there is not.
    """
    if alpha is None:
        if by is not None:
            raise InputError(
                "--conformal-score without --conformal",
                "say what share of misses you accept: --conformal 0.1",
            )
        return
    if not issubclass(task_class(task), Classification):
        raise _not_offered(task)
    check_asked(float(alpha), USUAL if by is None else by)


def sets_of_run(folder: RunFolder, task: Task, alpha: float, by: str | None = None) -> PredictionSets:
    """Prediction sets by the answers for a run's validation images, as ``evaluations/val/predictions.csv`` has them.

    Args:
        folder: of the run.
        task: of the run.
        alpha: share of images whose set may miss the true class.
        by: of classes without an order: ``aps`` (default) or ``lac``.

    Raises:
        InputError: another task, too few validation images, or none.
    """
    task = check_offers_sets(task)
    path = folder.evaluation("val") / "predictions.csv"
    if not path.is_file():
        raise InputError(
            f"--conformal: run '{folder.name}' has no validation predictions ({path.name} of evaluations/val)",
            "fit with validation images",
        )
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        table = table.rename(columns=as_written)
        answers, truth = answers_and_truth(table, task)
    except (ValueError, KeyError, UnicodeDecodeError) as error:
        raise InputError(
            f"'{path}' is damaged ({type(error).__name__})", "restore the file, or fit again"
        ) from error
    patients = [as_written(name) for name in table["patient"]] if "patient" in table else None
    kind, cuts = _kind_of(task)
    return calibrated_sets(
        answers, truth, patients, alpha=alpha, kind=kind, classes=task.classes, by=by or USUAL, cuts=cuts
    )


def answers_and_truth(table: pd.DataFrame, task: Classification) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (or severity scores) and truth, from the columns of an evaluation's table."""
    columns = ["score"] if task.thresholds is not None else [f"p_{name}" for name in task.classes]
    answers = table[columns].to_numpy(dtype=np.float64)
    if task.kind == "multi-label":
        truths = [pd.to_numeric(table[f"truth_{name}"]) for name in task.classes]
        return answers, np.stack([one.to_numpy(dtype=np.float64, na_value=np.nan) for one in truths], axis=1)
    number = {name: index for index, name in enumerate(task.classes)}
    truth = [number.get(name, number.get(as_written(name))) for name in table["truth"].astype(str)]
    if None in truth:
        raise KeyError("truth")
    return answers, np.array(truth, dtype=np.int64)


def _kind_of(task: Classification) -> tuple[str, Sequence[float]]:
    if task.thresholds is not None:
        return "severity", task.thresholds.values
    if task.kind == "multi-label":
        return "findings", ()
    return ("grades" if task.ordered else "classes"), ()


def evaluated_sets(
    sets: PredictionSets,
    task: Task,
    table: pd.DataFrame,
    patients: Sequence[str] | None,
    resamples: int,
    seed: int,
) -> EvaluatedSets:
    """Coverage and mean size of prediction sets, with intervals from resampled patients.

    Of findings, coverage is over all known pairs of image and finding, ``coverage/FINDING`` over the images in which it
    is known, and a set is that of one finding: 1 where it is decided, 2 where not.

    Args:
        sets: makes the sets.
        task: of the run.
        table: the evaluation's.
        patients: of each row; None where not known.
        resamples: how many.
        seed: of the resampling.
    """
    answers, truth = answers_and_truth(table, check_offers_sets(task))
    covered = sets.covered(answers, truth)
    if sets.kind == "findings":
        known = ~np.isnan(truth)
        sizes = (sets.both_sides(answers).sum(-1) * known).sum(1)
        of_class = [(covered[:, index], known[:, index]) for index in range(len(sets.classes))]
        whole = covered.sum(1), known.sum(1)
    else:
        sizes = sets.members(answers).sum(1)
        of_class = [(covered & (truth == index), truth == index) for index in range(len(sets.classes))]
        whole = covered, np.ones(len(truth))
    sums = [whole, (sizes, whole[1]), *of_class]
    names = ["coverage", "set_size", *(f"coverage/{name}" for name in sets.classes)]
    terms = np.stack([part for pair in sums for part in pair]).astype(np.float64)

    def finish(totals: np.ndarray) -> dict[str, np.ndarray]:
        return {name: totals[2 * index] / totals[2 * index + 1] for index, name in enumerate(names)}

    absent = dict.fromkeys(names[2:], "not defined: no image of this class")
    statistic = Statistic(sparse.csr_array(terms), finish, absent)
    estimates = bootstrap([statistic], len(truth), groups=patients, resamples=resamples, seed=seed)
    return EvaluatedSets(sets.texts(answers), {name: estimates[name] for name in names})
