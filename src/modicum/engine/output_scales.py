"""The unit of a run's outputs, by which they are made comparable with those of other runs."""

import pandas as pd

from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError
from modicum.tasks import Task


def output_scale(folder: RunFolder, task: Task) -> tuple[float, float] | None:
    """Location and scale of a run's outputs by its own validation images; see :meth:`~modicum.tasks.Task.output_scale`.

    Raises:
        InputError: nothing there makes its outputs comparable with those of other runs.
    """
    table = folder.evaluation("val") / "predictions.csv"
    try:
        return task.output_scale(
            pd.read_csv(table, dtype={"truth": str}) if table.is_file() else pd.DataFrame({"score": []})
        )
    except InputError as error:
        raise InputError(f"run '{folder.name}': {error.problem}", error.remedy) from error
