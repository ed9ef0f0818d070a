"""The folder of a chain: ``plan.yaml`` as it was run, ``chain.json`` with the state of every step, a folder for each."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modicum.engine.run_folder import CHAIN_FILE, RunFolder, read_table, write_json
from modicum.errors import InputError
from modicum.planning.plan_file import Plan, read_plan

State = Literal["waiting", "running", "interrupted", "failed", "outdated", "finished"]


BROKEN, REFUSED = "broken", "unlike the training images"
"""Why rows are set aside whose images got no answer."""


class Rows(BaseModel):
    """How many rows went into a step and came out of it, and why others did not."""

    model_config = ConfigDict(extra="ignore")

    into: int = 0
    out: int = 0
    set_aside: dict[str, int] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)

    @property
    def unanswered(self) -> int:
        """Images that could not be read, or were refused."""
        return self.set_aside.get(BROKEN, 0) + self.set_aside.get(REFUSED, 0)


class StepRecord(BaseModel):
    """What is known of a step.

    Attributes:
        name: of the step.
        kind: ``fit``, ``predict`` or ``evaluate``.
        task: of its run.
        state: ``outdated``: finished once, and to be done again.
        settings: as the plan has them, without those that change no result.
        inputs: SHA-256 of what it was made of, by name: its data, the runs and files that it was given.
        output: SHA-256 of what came of it; None until it is finished.
        rows: that went in and came out.
        seconds: that it took, over all tries.
        error: what ended it.
    """

    model_config = ConfigDict(extra="ignore")

    name: str
    kind: str
    task: str = ""
    state: State = "waiting"
    settings: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, str] = Field(default_factory=dict)
    output: str | None = None
    rows: Rows = Field(default_factory=Rows)
    seconds: float = 0.0
    error: str | None = None


class ChainRecord(BaseModel):
    """The content of ``chain.json``.

    Attributes:
        schema_: version of the format.
        modicum: version of the program that ran it last.
        plan: path of the plan file as it was given; its own paths are relative to that.
        steps: in the plan's order.
    """

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    schema_: Literal[1] = Field(1, alias="schema")
    modicum: str
    plan: str
    steps: list[StepRecord] = Field(default_factory=list)

    def step(self, name: str) -> StepRecord | None:
        """The record of a step, where there is one."""
        return next((step for step in self.steps if step.name == name), None)

    @property
    def state(self) -> State:
        """``finished`` where all steps are, else that of the first that is not."""
        return next((step.state for step in self.steps if step.state != "finished"), "finished")


class ChainFolder:
    """Paths and records of ``runs/NAME``; see ``docs/chains.md``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: Path | str) -> "ChainFolder":
        """An existing chain. Raises :class:`InputError` where there is none."""
        folder = cls(Path(path))
        if not folder.record.is_file():
            raise InputError(
                f"'{path}' is not the folder of a chain (no {CHAIN_FILE} in it)",
                "run one with `modicum fit plan.yaml`",
            )
        return folder

    name = property(lambda self: self.path.resolve().name)
    record = property(lambda self: self.path / CHAIN_FILE)
    plan = property(lambda self: self.path / "plan.yaml")
    report = property(lambda self: self.path / "report.html")
    file_digests = property(lambda self: self.path / "files.json")

    def step(self, name: str) -> Path:
        """The folder of a step: an ordinary run folder where it trains."""
        return self.path / name

    def outputs(self, name: str) -> Path:
        """The pictures of a predict step."""
        return self.step(name) / "outputs"

    def examples(self, name: str) -> Path:
        """Small pictures of what went into a predict step and of what came out."""
        return self.step(name) / "examples"

    def table(self, name: str) -> Path:
        """The rows that came out of a step, for later steps."""
        return self.step(name) / f"{name}.csv"

    def read(self) -> ChainRecord:
        """The state of every step. Raises :class:`InputError` where the file is damaged."""
        try:
            return ChainRecord.model_validate(read_table(self.record))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(
                f"'{self.record}' is damaged ({where}: {first['msg']})",
                "restore the file, or run the plan again under another --name",
            ) from error

    def write(self, record: ChainRecord) -> None:
        """Writes ``chain.json`` atomically."""
        write_json(self.record, {"state": record.state, **record.model_dump(mode="json", by_alias=True)})

    def read_plan(self) -> Plan:
        """The plan as it was run, with the paths of the file that it was read from."""
        plan = read_plan(self.plan)
        return Plan(Path(self.read().plan), plan.content)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes out. Raises :class:`InputError` where one is at work."""
        with RunFolder(self.path).locked():
            yield
