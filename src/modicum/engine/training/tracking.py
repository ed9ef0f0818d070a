"""Copies losses, validation metrics and settings to an experiment tracker, through Lightning's loggers.

Off unless the recipe says otherwise (``tracking``). What is written is numbers and settings: no image, no name of a file,
patient or data set, no path (:mod:`modicum.engine.training.tracked_settings`). ``history.jsonl`` stays the record that a
run goes on from; a tracker is told the same values at the same steps, each once, also by a run that was killed and
goes on.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import RunFolder, read_table, write_json
from modicum.engine.training.tracked_settings import tracked_settings
from modicum.errors import InputError

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

NEEDED = {
    "tensorboard": (("tensorboard", "tensorboardX"),),
    "mlflow": (("mlflow",), ("sqlalchemy",), ("alembic",), ("cryptography",)),
}
"""By tracker, packages that must be installed, of several together any; what is not here needs none."""
EVALUATION = "evaluation"
"""What the scores at the end of a run are filed under, beside the stages."""

Record = Mapping[str, Any]
"""One line of ``history.jsonl``."""


class _Tracker(Protocol):
    """What is told to one program."""

    def begin(self, stage: str, step: int, earlier: Sequence[Record]) -> None:
        """A stage begins, or goes on after a step; ``earlier`` are its records up to there."""

    def log(self, metrics: Mapping[str, float], step: int, kind: str) -> None:
        """Numbers of the stage at a step."""

    def settings(self, values: Mapping[str, Any]) -> None:
        """The run's settings, once."""

    def flush(self) -> None:
        """Puts on the disk what was told."""

    def finish(self) -> None:
        """The run is finished."""


class Tracking:
    """Tells one tracker what a run records. Only the first process of a distributed run has one."""

    def __init__(self, recipe: Recipe, folder: RunFolder) -> None:
        place = folder.path / "tracking"
        with _quiet():
            self._tracker: _Tracker
            if recipe.tracking == "mlflow":
                self._tracker = _MlflowTracker(place, folder.name, recipe.tracking_uri)
            else:
                self._tracker = _FileTracker(recipe.tracking, place)
        self._settings = tracked_settings(recipe)
        self._stage = ""

    def begin(self, stage: str, step: int, earlier: Sequence[Record]) -> None:
        """A stage begins, or goes on.

        Args:
            stage: its name.
            step: the checkpoint's that it goes on from; -1 at the start.
            earlier: its records up to there.
        """
        self._stage = stage
        with _quiet():
            self._tracker.begin(stage, step, earlier)
            self._tracker.settings(self._settings)

    def record(self, record: Record) -> None:
        """A step's losses, or an epoch's losses and validation metrics."""
        with _quiet():
            self._tracker.log(metrics_of(record), int(record["step"]), str(record["kind"]))
            if record["kind"] == "epoch":
                self._tracker.flush()

    def finish(self, evaluations: Mapping[str, Any]) -> None:
        """The scores of a finished run, as ``SPLIT/METRIC``; without their intervals."""
        with _quiet():
            self._tracker.begin(EVALUATION, -1, [])
            scores = {
                f"{split}/{name}": estimate.get("value")
                for split, evaluation in evaluations.items()
                for name, estimate in evaluation.get("metrics", {}).items()
                if "/" not in name  # a class has a name, which trackers are not told
            }
            self._tracker.log(_numbers(scores), 0, EVALUATION)
            self._tracker.finish()


def _quiet() -> AbstractContextManager[None]:
    # Lightning takes seconds to import, and runs that track nothing may not need it.
    from modicum.engine.training.lightning_trainer import quiet_lightning

    return quiet_lightning()


def make_tracking(recipe: Recipe, folder: RunFolder, first: bool) -> Tracking | None:
    """The tracking that a recipe asks for; None for none, and in all processes but the first."""
    return Tracking(recipe, folder) if first and recipe.tracking != "none" else None


def check_tracking(recipe: Recipe) -> None:
    """Raises :class:`InputError` where a tracker's package is not installed, or its address is not one."""
    for packages in NEEDED.get(recipe.tracking, ()):
        if not any(find_spec(name) for name in packages):
            raise InputError(
                f"tracking={recipe.tracking} needs the package {packages[0]}, which is not installed",
                "pip install 'modicum[tracking]', or use --set tracking=csv",
            )
    if recipe.tracking_uri is not None and recipe.tracking != "mlflow":
        raise InputError(
            f"tracking_uri is the address of an MLflow server, and tracking is {recipe.tracking}",
            "leave it out, or use --set tracking=mlflow",
        )


def metrics_of(record: Record) -> dict[str, float]:
    """The numbers of a record of the history by the names that trackers show.

    ``lr``, ``seconds`` and ``step/LOSS`` of a step; ``train/LOSS``, ``val/METRIC`` and ``epoch`` of an epoch.
    """
    if record["kind"] == "step":
        losses = {f"step/{name}": value for name, value in record["losses"].items()}
        return _numbers({"lr": record["lr"], "seconds": record["seconds"], **losses})
    parts = [(part, name, v) for part in ("train", "val") for name, v in record.get(part, {}).items()]
    # Metrics of one class have its name behind a slash.
    values = {f"{part}/{name}": value for part, name, value in parts if "/" not in name}
    return _numbers({"epoch": record["epoch"], **values})


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}


class _FileTracker:
    """TensorBoard's event files, or CSV tables: a folder for each stage, whose steps begin at 0."""

    def __init__(self, kind: str, place: Path) -> None:
        self.kind = kind
        self.place = place
        self._logger: Logger | None = None

    def begin(self, stage: str, step: int, earlier: Sequence[Record]) -> None:
        from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

        if self._logger is not None:
            self._logger.finalize("success")
        if self.kind == "tensorboard":
            # TensorBoard drops what a killed run had shown of the steps that come again.
            self._logger = TensorBoardLogger(
                self.place, "tensorboard", stage, default_hp_metric=False, purge_step=step + 1
            )
            return
        (self.place / "csv" / stage / "metrics.csv").unlink(missing_ok=True)
        self._logger = CSVLogger(self.place, "csv", stage, flush_logs_every_n_steps=10**9)
        for record in earlier:  # the logger begins a table anew
            self.log(metrics_of(record), record["step"], record["kind"])

    def settings(self, values: Mapping[str, Any]) -> None:
        assert self._logger is not None
        self._logger.log_hyperparams(dict(values))

    def log(self, metrics: Mapping[str, float], step: int, kind: str) -> None:
        assert self._logger is not None
        self._logger.log_metrics(dict(metrics), step)

    def flush(self) -> None:
        assert self._logger is not None
        self._logger.save()

    def finish(self) -> None:
        assert self._logger is not None
        self._logger.finalize("success")


class _MlflowTracker:
    """One MLflow run for a run folder: its stages lead the names of its metrics.

    By default in a database in the run folder, which ``mlflow ui --backend-store-uri sqlite:///FILE`` shows.
    """

    def __init__(self, place: Path, name: str, uri: str | None) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing leaves a hospital unasked
        place.mkdir(parents=True, exist_ok=True)
        self.uri = uri or f"sqlite:///{(place / 'mlflow.db').absolute().as_posix()}"
        self.stage = ""
        self.known = place / "mlflow.json"
        with _no_artifacts(local=uri is None):
            self._logger = self._open(name)
        self._logged: dict[str, int] = {}

    def _open(self, name: str) -> Any:
        from lightning.pytorch.loggers import MLFlowLogger
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # tables are made: nobody asked
        if self.known.is_file():
            run_id = str(read_table(self.known)["run_id"])
        else:
            client = MlflowClient(self.uri)
            experiment = client.get_experiment_by_name("modicum")
            number = experiment.experiment_id if experiment else client.create_experiment("modicum")
            # Made here: the logger's own way notes the user, the script's path and the commit.
            run_id = client.create_run(number, run_name=name).info.run_id
            write_json(self.known, {"run_id": run_id})
        return MLFlowLogger(tracking_uri=self.uri, run_id=run_id)

    def begin(self, stage: str, step: int, earlier: Sequence[Record]) -> None:
        self.stage = stage
        self._logged = {kind: self._last_step(name) for kind, name in (("step", "lr"), ("epoch", "epoch"))}

    def _last_step(self, name: str) -> int:
        """The last step that MLflow has of a metric of this stage: it cannot take back what a killed run told it."""
        history = self._logger.experiment.get_metric_history(self._logger.run_id, f"{self.stage}/{name}")
        return max((metric.step for metric in history), default=-1)

    def settings(self, values: Mapping[str, Any]) -> None:
        self._logger.log_hyperparams(dict(values))

    def log(self, metrics: Mapping[str, float], step: int, kind: str) -> None:
        if step > self._logged.get(kind, -1):
            self._logger.log_metrics({f"{self.stage}/{name}": v for name, v in metrics.items()}, step)

    def flush(self) -> None:
        """MLflow writes at once."""

    def finish(self) -> None:
        self._logger.finalize("success")


@contextmanager
def _no_artifacts(local: bool) -> Iterator[None]:
    """MLflow would make ``./mlruns`` for files that we never give it, and note its path."""
    name = "_MLFLOW_SERVER_ARTIFACT_ROOT"
    before = os.environ.get(name)
    if local:
        os.environ[name] = "mlflow-artifacts:/"
    try:
        yield
    finally:
        if local:
            os.environ.pop(name) if before is None else os.environ.update({name: before})
