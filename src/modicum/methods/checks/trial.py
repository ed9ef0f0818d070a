"""The small trainings that all checks of a method look at, each done once."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from modicum.errors import InputError, ModicumError
from modicum.methods.base import FitStage, Method, TrainStage
from modicum.methods.checks.outcome import Broken, NotApplicable
from modicum.methods.checks.watch import Stopped, Watch

if TYPE_CHECKING:
    from modicum.run import Run

SETTINGS: Mapping[str, Any] = {
    "weights": "random", "image_size": 32, "epochs": 2, "batch_size": 4, "warmup_epochs": 0, "schedule": "constant",
    "resamples": 0, "workers": 0, "leaks": "allow", "device": "cpu",
}  # fmt: skip
"""Of the small trainings, unless the caller gives others."""
BACKBONES = ("test_vit", "test_resnet")
"""Networks that are small: the first is taken that the method can use."""


@dataclass
class Trial:
    """Small trainings of one method.

    Attributes:
        name: of the method.
        method: its class.
        data: a table with a few images.
        folder: for runs.
        given: settings of the caller.
        settings: what is trained with; the backbone is found by the first training.
    """

    name: str
    method: type[Method]
    data: Path
    folder: Path
    given: Mapping[str, Any]
    settings: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.settings = {**SETTINGS, **self.given}

    # --- trainings ---------------------------------------------------------------------------------------------------

    @cached_property
    def first(self) -> tuple["Run", Watch]:
        """A training from start to end, and what was seen of it.

        Raises:
            Broken: it did not end well.
        """
        watch = Watch()
        if "backbone" in self.settings:
            return self._fit("first", watch), watch
        for backbone in (*self._candidates, None):
            self.settings["backbone"] = backbone
            try:
                return self._fit("first", watch), watch
            except Broken as error:
                # Refused before anything was learned: another backbone may do.
                refused = isinstance(error.__cause__, InputError) and not any(watch.batches.values())
                if not refused or backbone is None:
                    raise
                last, watch = error, Watch()
        raise last

    @property
    def _candidates(self) -> list[str]:
        preferred = "test_vit" if "vit" in str(self.method.backbone.get("name", "")) else "test_resnet"
        return sorted(BACKBONES, key=lambda name: name != preferred)

    @cached_property
    def resumed(self) -> tuple["Run", dict[str, int]]:
        """A training that is stopped once in each stage and goes on, and in which batch of each it was stopped."""
        _, seen = self.first
        stops = {
            stage.name: place
            for stage in seen.method.stages()
            if isinstance(stage, TrainStage | FitStage)
            and (place := _stop_at(seen.began[stage.name], seen.batches[stage.name]))
        }
        done: dict[str, int] = {}
        for stage, place in stops.items():
            # What is done again after a stop is the rest: batches of this stage before the stop are not seen again.
            watch = Watch(stop_in=(stage, place))
            try:
                self._fit("resumed", watch, resume=True, checkpoint_steps=1)
            except Stopped:
                done[stage] = place
        return self._fit("resumed", Watch(), resume=True, checkpoint_steps=1), done

    @cached_property
    def again(self) -> "Run":
        """The first training once more."""
        return self._fit("again", Watch())

    def _fit(self, name: str, watch: Watch, resume: bool = False, **more: Any) -> "Run":
        import modicum

        given = {key: value for key, value in {**self.settings, **more}.items() if value is not None}
        try:
            with watch.on(self.method):
                return modicum.fit(
                    self.data, self.name, name=name, runs=self.folder, resume=resume, overwrite=not resume,
                    write_report=False, **given,
                )  # fmt: skip
        except Exception as error:
            kind = "" if isinstance(error, ModicumError) else f"{type(error).__name__}: "
            text = str(error).splitlines()[0] if str(error) else ""
            raise Broken(
                f"a small training ended in: {kind}{text}",
                f"see modicum.fit({str(self.data)!r}, {self.name!r}, ...) with settings {given}",
            ) from error

    # --- what it left ------------------------------------------------------------------------------------------------

    @cached_property
    def opened(self) -> Method:
        """The method with what the first training saved."""
        run, _ = self.first
        return run.method()

    @cached_property
    def split(self) -> str | None:
        """The split that evaluations are compared on; None where the run has evaluated none."""
        evaluations = self.first[0].metrics["evaluations"]
        return next((split for split in ("test", "val") if split in evaluations), None)

    @cached_property
    def evaluated(self) -> tuple[Path, Path]:
        """The folders of the evaluation that the training made of a split, and of one of the opened run.

        Raises:
            NotApplicable: the run cannot be evaluated.
        """
        run, _ = self.first
        assert self.split is not None
        for split in (self.split, "all"):  # all, where the data have no split of their own
            try:
                run.evaluate(self.data, split=split, name="opened", workers=0, write_report=False)
                break
            except InputError as error:
                if split == "all":
                    raise NotApplicable(error.problem) from error
        return run.path / "evaluations" / self.split, run.path / "evaluations" / "opened"

    def rows(self) -> pd.DataFrame:
        """The images of the first run with their splits, in the order of the data."""
        return pd.read_csv(self.first[0].path / "manifest.csv", dtype=str)

    def images(self, count: int) -> list[Path]:
        """Files of some images of the split that is evaluated, or of any."""
        rows = self.rows()
        chosen = rows[rows["split"] == self.split] if self.split else rows
        return [self.data.parent / name for name in chosen["image"].iloc[:count]]

    def remove(self) -> None:
        """Deletes all runs."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _stop_at(began: list[int], batches: int) -> int | None:
    """In which batch to stop: the second of the last epoch or pass, or the last one there is; None without two."""
    if batches < 2:
        return None
    return min(batches, (began[-1] if began else 0) + 2)
