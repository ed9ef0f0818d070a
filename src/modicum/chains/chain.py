"""A chain that was run: its steps, and what can be done with them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modicum.chains.chain_folder import ChainFolder, StepRecord
from modicum.engine.run_folder import read_table
from modicum.errors import InputError, did_you_mean
from modicum.output_paths import in_one_line
from modicum.run import Run


class ChainStep:
    """A step of a chain.

    Args:
        folder: of the chain.
        record: what is known of the step.
    """

    def __init__(self, folder: ChainFolder, record: StepRecord) -> None:
        self.path = folder.step(record.name)
        self.record = record

    name = property(lambda self: self.record.name)
    kind = property(lambda self: self.record.kind)
    state = property(lambda self: self.record.state)

    def __repr__(self) -> str:
        return f"ChainStep('{self.name}', {self.kind}, {self.state})"

    @property
    def run(self) -> Run:
        """The run of a fit step. Raises :class:`InputError` for steps of other kinds."""
        if self.kind != "fit":
            raise InputError(
                f"step '{self.name}' is one of {self.kind}, and has no run", "name a step of fit"
            )
        return Run.open(self.path)

    @property
    def metrics(self) -> dict[str, Any]:
        """``metrics.json`` of a training or an evaluation; empty for a prediction.

        Raises:
            InputError: the step has not finished.
        """
        if self.kind == "predict":
            return {}
        if self.state != "finished":
            raise InputError(f"step '{self.name}' has no metrics yet ({self.state})", "go on with --resume")
        return read_table(self.path / "metrics.json")


class Chain:
    """A chain that was run.

    Args:
        folder: of the chain.
    """

    def __init__(self, folder: ChainFolder) -> None:
        self.folder = folder

    def __repr__(self) -> str:
        return f"Chain('{self.path}', {self.folder.read().state})"

    @classmethod
    def open(cls, path: str | Path) -> "Chain":
        """An existing chain. Raises :class:`InputError` where there is none."""
        return cls(ChainFolder.open(path))

    @property
    def path(self) -> Path:
        """The chain's folder."""
        return self.folder.path

    @property
    def steps(self) -> Mapping[str, ChainStep]:
        """The steps by name, in their order."""
        return {record.name: ChainStep(self.folder, record) for record in self.folder.read().steps}

    def __getitem__(self, name: str) -> ChainStep:
        """A step by its name."""
        steps = self.steps
        if name not in steps:
            raise InputError(f"chain '{self.folder.name}' has no step '{name}'", did_you_mean(name, steps))
        return steps[name]

    @in_one_line
    def report(self, out: str | Path | None = None) -> Path:
        """Writes the page over all steps, and returns its path.

        Args:
            out: the file; ``report.html`` in the chain's folder by default. Links to the pages of steps are relative to
                that folder.
        """
        from modicum.chains.page import build

        return build(self.folder, None if out is None else Path(out))
