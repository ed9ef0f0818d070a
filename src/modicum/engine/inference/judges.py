"""Judges enhanced images by what other runs make of them: vessels, discs, grades, quality.

A judge with labels in the data is evaluated on the images as they were, on the outputs, and on the targets. A classifier
without labels (of quality, say) says which share of each it takes for which class.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32

from modicum.data.layouts.given_images import GivenReading
from modicum.data.manifest import Manifest, path_columns
from modicum.data.writers import write_png
from modicum.engine.inference.predict_run import PredictionSettings, predict_run
from modicum.engine.model_file import task_of_run
from modicum.engine.recipe.settings import OF_RUN
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError
from modicum.progress import quietly
from modicum.tasks import DenseTask, ImageLevelTask, Task

KINDS = {"image": "input", "output": "output", "target": "target"}
"""What is judged, by the column that it comes from."""


@dataclass
class OutputFiles:
    """Predictions written as PNG files, by row.

    Attributes:
        folder: is made when the first is written.
        files: what was written.
    """

    folder: Path
    files: dict[int, Path] = field(default_factory=dict)

    def write(self, row: int, activated: Float32[np.ndarray, "channels height width"]) -> None:
        """Writes a prediction in ``[0, 1]``: colours in 8 bits, which files of photographs have."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.files[row] = self.folder / f"{row:06d}.png"
        write_png(self.files[row], np.clip(activated, 0, 1), 8)


def check_judges(judges: Sequence[str], task: Task) -> None:
    """Raises InputError for judges of runs that make no images, and for runs that cannot judge."""
    if judges and not (isinstance(task, DenseTask) and task.output_kind == "image"):
        raise InputError(f"--judge is for runs that make images, not for task '{task.name}'", "leave it out")
    for judge in judges:
        folder, other = _opened(judge)
        if not isinstance(other, ImageLevelTask) and not (
            isinstance(other, DenseTask) and other.output_kind == "label_map"
        ):
            raise InputError(
                f"--judge run '{folder.name}' has task '{other.name}', which judges no images",
                "name a run that classifies or segments",
            )


def check_judged_data(judges: Sequence[str], table: pd.DataFrame) -> None:
    """Raises InputError, before anything is predicted, where a judge would have nothing to compare with."""
    for judge in judges:
        folder, other = _opened(judge)
        if not isinstance(other, ImageLevelTask) and not _has_truth(other, table):
            raise InputError(
                f"--judge run '{folder.name}' segments, and the data name no masks to compare with",
                "name the masks (--mask COLUMN), or choose a judge that classifies",
            )


def judged(
    judges: Sequence[str],
    manifest: Manifest,
    made: OutputFiles,
    task: Task,
    settings: Any,
    temporary: Path,
    evaluate: Callable[..., dict[str, Any]],
) -> dict[str, Any]:
    """What each judge says of images, outputs and targets.

    Args:
        judges: runs, ``run:FOLDER``.
        manifest: of the images, with the labels that judges need.
        made: the outputs.
        task: of the run that is judged.
        settings: of the evaluation.
        temporary: folder for tables.
        evaluate: evaluates a run on a table.

    Returns:
        By the judge's name: its task, and for each kind of image ``metrics`` (with intervals), or ``shares`` of classes.
    """
    found = {}
    for number, judge in enumerate(judges):
        folder, other = _opened(judge)
        labelled = _has_truth(other, manifest.table)
        verdicts: dict[str, Any] = {}
        for column, kind in KINDS.items():
            table = _table(manifest, made, column, task)
            if table is None:
                continue
            place = temporary / f"judge{number}-{kind}"
            place.mkdir()
            table.to_csv(place / f"{kind}.csv", index=False)
            if labelled:
                asked = replace(
                    settings,
                    split="all",
                    name=None,
                    out=place / "evaluation",
                    stores=temporary / "stores",
                    reading={"columns": {}, "allow_outside": True},
                    after=None,
                    judges=(),
                    answers={},
                )
                with quietly():
                    content = evaluate(folder, None, place / f"{kind}.csv", asked)
                verdicts[kind] = {"metrics": content["metrics"]}
            else:
                verdicts[kind] = {"shares": _shares(folder, place, kind, settings.device)}
        found[folder.name] = {"task": other.name, "run": judge, **verdicts}
    return found


def _opened(judge: str) -> tuple[RunFolder, Task]:
    if not judge.startswith(OF_RUN):
        raise InputError(f"--judge '{judge}' is not a run", "write for instance --judge run:runs/vessels")
    folder = RunFolder.open(Path(judge.removeprefix(OF_RUN)))
    return folder, task_of_run(folder)


def _has_truth(task: Task, table: pd.DataFrame) -> bool:
    if isinstance(task, DenseTask):
        needed = [one.column for one in task.auxiliary_images if one.required]
        named = needed or [one.column for one in task.auxiliary_images]
        return bool(named) and all(name in table and table[name].notna().any() for name in named)
    return any(name in table and table[name].notna().any() for name in ("label", "labels"))


def _table(manifest: Manifest, made: OutputFiles, column: str, task: Task) -> pd.DataFrame | None:
    """The data with one kind of image in place of the images; None where there is none."""
    table = manifest.table.copy()
    for name in path_columns(table):
        table[name] = [
            str((manifest.root / text).absolute()) if isinstance(text, str) else text for text in table[name]
        ]
    if column == "output":
        table["image"] = [str(made.files[row].absolute()) for row in range(len(table))]
    elif column == "target":
        # Unpaired targets show other eyes, which the labels are not of.
        if task.kind == "unpaired" or "target" not in table:
            return None
        table["image"] = table["target"]
    return table.drop(columns=[name for name in ("target", "split") if name in table])


def _shares(folder: RunFolder, place: Path, kind: str, device: str | None) -> dict[str, float]:
    """The share of images that a classifier takes for each class."""
    out = place / "predictions.csv"
    reading = GivenReading(allow_outside=True)
    with quietly():
        predict_run(folder, None, [place / f"{kind}.csv"], out, PredictionSettings(device=device), reading)
    table = pd.read_csv(out, dtype={"prediction": str})
    if "prediction" not in table:
        raise InputError(
            f"--judge run '{folder.name}' predicts no single class, and the data have no labels",
            "choose a judge of one class an image, or give labels (--label COLUMN)",
        )
    known = table["prediction"].dropna()
    return {
        str(name): float(share) for name, share in known.value_counts(normalize=True).sort_index().items()
    }
