"""The steps of a chain: which are kept, which are gone on with, which are done again, and what becomes of each."""

import shlex
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from modicum.atomic_files import write_text
from modicum.chains.chain_folder import ChainRecord, StepRecord
from modicum.chains.changes import DATA, changed_since, settings_that_count
from modicum.chains.digests import FileDigests, data_digest, inputs_of, run_digest
from modicum.chains.do_step import Doing, do_step, output_digest, rows_of, task_of
from modicum.chains.readings import with_places
from modicum.chains.step_checks import naming
from modicum.engine.recipe.settings import OF_RUN
from modicum.engine.replaced_run import old_run_aside
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError, InterruptedRunError, ModicumError
from modicum.output_paths import system_error
from modicum.planning.plan_file import OF_STEP, Step
from modicum.progress import quietly, say
from modicum.version import __version__
from modicum.wording import listed


class Steps:
    """The steps of one call.

    Args:
        doing: what they are done with.
        text: of the plan file.
        resume: whether finished steps are kept.
        overwrite: whether what is there may be replaced.
    """

    def __init__(self, doing: Doing, text: str, resume: bool, overwrite: bool) -> None:
        self.doing, self.folder, self.plan = doing, doing.folder, doing.plan
        self.text, self.overwrite = text, overwrite
        before = self.folder.read().steps if self.folder.record.is_file() else []
        known = {step.name: step for step in before}
        if overwrite and not resume:
            for old in before:
                old.state = "outdated" if old.state != "waiting" else old.state
        records = [
            known.get(step.name) or StepRecord(name=step.name, kind=step.kind) for step in self.plan.steps
        ]
        self.record = ChainRecord(schema=1, modicum=__version__, plan=str(self.plan.path), steps=records)
        self.files = FileDigests(self.folder.file_digests)
        if gone := set(known) - {step.name for step in self.plan.steps}:
            say(
                f"no longer in the plan: {listed(sorted(gone))}; what is there of it stays in '{self.folder.path}'"
            )

    def run(self) -> None:
        """Does all steps that are not finished yet.

        Raises:
            InputError: a step changed since it was done, and may not be done again; or something is wrong with one.
            InterruptedRunError: stopped.
        """
        self._find_changes()
        write_text(self.folder.plan, self.text)
        self._save()
        for number, step in enumerate(self.plan.steps, start=1):
            title = f"step {number} of {len(self.plan.steps)}, {step.name}"
            record = self._record(step)
            if record.state == "finished":
                say(f"{title}: kept")
                continue
            say(f"{title}: {_what(step)}")
            for line in step.why:
                say(line)
            with naming(step), self._recorded(record):
                self._do(step, record)

    def _find_changes(self) -> None:
        """Marks steps that have to be done again.

        Raises:
            InputError: one that is finished, or has learned something, and nothing may be replaced.
        """
        changed: dict[str, str] = {}
        for step in self.plan.steps:
            record = self._record(step)
            if record.state in ("waiting", "outdated"):
                continue
            if record.state == "finished" or self._learned(step):
                with naming(step), quietly():
                    if why := self._change(step, record, changed):
                        changed[step.name] = why
        if changed and not self.overwrite:
            name, why = next(iter(changed.items()))
            others = [other for other in changed if other != name]
            more = f" (and so would {listed(others, most=8)})" if others else ""
            raise InputError(
                f"step '{name}' would have to be done again{more}: {why}",
                "pass --resume --overwrite for that, or choose another --name",
            )
        for name, why in changed.items():
            say(f"step '{name}' will be done again: {why}")
            outdated = self.record.step(name)
            assert outdated is not None
            outdated.state = "outdated"

    def _change(self, step: Step, record: StepRecord, changed: Collection[str]) -> str:
        inputs = self._inputs(step, unknown=changed)
        if why := changed_since(record, step.kind, settings_that_count(step), inputs):
            return why
        if stands_on := [name for _, name, _ in step.references() if name in changed]:
            return f"it stands on step '{stands_on[0]}'"
        if record.state == "finished" and record.output != output_digest(self.folder, step):
            return "what is in its folder is not what came of it"
        return ""

    def _do(self, step: Step, record: StepRecord) -> None:
        settings, inputs = settings_that_count(step), self._inputs(step)
        anew = record.state == "outdated" or bool(changed_since(record, step.kind, settings, inputs))
        folder = RunFolder(self.folder.step(step.name))
        manifest = rows_of(self.doing, step)
        if record.kind != step.kind:
            shutil.rmtree(folder.path, ignore_errors=True)
        aside: AbstractContextManager[None] = nullcontext()
        if step.kind == "fit" and anew:
            aside = old_run_aside(self.doing.fit_recipe(step), folder)
        with aside:  # an old run is never under the name of a step that is said to have begun
            record.state, record.kind, record.settings, record.inputs = "running", step.kind, settings, inputs
            record.output = record.error = None
            record.task = task_of(self.doing, step)
            if anew:
                record.seconds = 0.0
            self._save()
            record.rows = do_step(self.doing, step, manifest)
            record.output, record.state = output_digest(self.folder, step), "finished"

    @contextmanager
    def _recorded(self, record: StepRecord) -> Iterator[None]:
        """Keeps what became of a step, and how long it took."""
        before = run_digest(RunFolder(self.folder.step(record.name)))
        began, old_state = time.monotonic(), record.state
        try:
            yield
        except (KeyboardInterrupt, InterruptedRunError) as error:
            record.state = "interrupted"
            raise self._stopped() from error
        except Exception as error:
            user_error = error if isinstance(error, ModicumError) else system_error(error)
            record.state = "failed"
            record.error = type(error).__name__ if user_error is None else str(user_error)
            if user_error is None or user_error is error:
                raise
            raise user_error from error
        finally:
            record.seconds += time.monotonic() - began
            restored = old_state == "outdated" and before == run_digest(
                RunFolder(self.folder.step(record.name))
            )
            if record.state in ("interrupted", "failed") and record.kind == "fit" and restored:
                record.state = "outdated"  # the old run is back, and still not what is asked for
            self._save()

    def _stopped(self) -> InterruptedRunError:
        runs = self.folder.path.parent
        where = "" if runs == Path("runs") else f" --runs {shlex.quote(str(runs))}"
        named = "" if self.folder.name == self.plan.name else f" --name {shlex.quote(self.folder.name)}"
        plan = shlex.quote(str(self.plan.path))
        return InterruptedRunError("stopped", f"go on with `modicum fit {plan} --resume{named}{where}`")

    def _inputs(self, step: Step, unknown: Collection[str] = ()) -> dict[str, str]:
        """The digests of what a step is made of.

        Args:
            step: the step.
            unknown: steps that will be done again.
        """
        found = inputs_of(with_places(step.settings, self.plan), self.files)
        on = {name for _, name, _ in step.references()} & set(unknown)
        for place, name, _ in step.references():
            if name in on:
                continue
            if place == DATA:
                found[DATA] = self._rows_digest(name)
            else:
                found[f"{OF_STEP}{name}"] = run_digest(RunFolder(self.folder.step(name)))
        if not on and not self.plan.source(step).startswith(OF_STEP):
            found[DATA] = data_digest(rows_of(self.doing, step), self.files)
        return found

    def _rows_digest(self, name: str) -> str:
        """Of the rows that came out of a step: of a fit step, which rows they are and of which data."""
        earlier = self.record.step(name)
        assert earlier is not None
        if earlier.kind == "fit":
            return f"{FileDigests(None).of(self.folder.table(name))} of {earlier.inputs.get(DATA, '')}"
        return str(earlier.output)

    def _learned(self, step: Step) -> bool:
        return step.kind == "fit" and RunFolder(self.folder.step(step.name)).learned_something

    def _record(self, step: Step) -> StepRecord:
        record = self.record.step(step.name)
        assert record is not None
        return record

    def _save(self) -> None:
        self.folder.write(self.record)
        self.files.save()


def _what(step: Step) -> str:
    if step.kind == "fit":
        return f"fit, method {step.settings.get('method', 'full')}"
    return f"{step.kind} by {str(step.settings['run']).removeprefix(OF_RUN)}"
