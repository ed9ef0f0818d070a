"""Runs the steps of a plan one after another, each fed by what came of the steps before it."""

from pathlib import Path
from tempfile import TemporaryDirectory

from modicum.chains.chain import Chain
from modicum.chains.chain_folder import ChainFolder
from modicum.chains.do_step import Doing
from modicum.chains.step_checks import PlanChecks
from modicum.chains.steps import Steps
from modicum.engine.devices import process_world
from modicum.engine.recipe.new_recipe import plain_name
from modicum.engine.run_folder import STORES, RunFolder
from modicum.errors import InputError
from modicum.output_paths import in_one_line
from modicum.planning.plan_file import Plan, read_plan
from modicum.progress import quietly, say
from modicum.wording import count_of


@in_one_line
def run_plan(
    plan: str | Path,
    *,
    name: str | None = None,
    runs: str | Path = "runs",
    resume: bool = False,
    overwrite: bool = False,
    stores: str | Path | None = None,
    workers: int | None = None,
    write_report: bool = True,
) -> Chain:
    """Runs the steps of a plan file in ``runs/NAME``, each fed by what came of the steps before it.

    Everything that needs no pixels is checked before the first step starts.

    Args:
        plan: the plan file, or the ``plan.yaml`` of a chain that was run.
        name: name of the chain's folder; the plan's by default.
        runs: folder of all runs.
        resume: go on: finished steps are kept where their settings and inputs are what they were.
        overwrite: replace a chain of that name; with ``resume``, only the steps that changed since they were done, and
            those that stand on what changes by that.
        stores: folder of decoded images and features, shared by runs; ``runs/.stores`` by default.
        workers: processes that decode images; one a core by default.
        write_report: whether to write pages: one over all steps, and those of the runs.

    Returns:
        The finished chain.

    Raises:
        InputError: something is wrong with a step, which is named; or it changed since it was done.
        InterruptedRunError: stopped; go on with ``resume``.
    """
    given = _plan_of(Path(plan))
    folder = ChainFolder(Path(runs) / plain_name(name or given.name))
    if process_world() > 1:
        raise InputError(
            f"the steps of plan '{plan}' run in one process, and this is one of {process_world()}",
            "start it without torchrun or srun, or run its trainings one by one",
        )
    _check_folder(folder, resume, overwrite)
    say(f"checking {count_of(len(given.steps), 'step')} of plan '{plan}'")
    with TemporaryDirectory(prefix="modicum-") as temporary, quietly():
        PlanChecks(given, Path(temporary)).check()
    kept = Path(stores) if stores is not None else folder.path.parent / STORES
    doing = Doing(given, folder, kept, workers, write_report)
    with folder.locked():
        Steps(doing, Path(plan).read_text(encoding="utf-8"), resume, overwrite).run()
    chain = Chain(folder)
    if write_report:
        chain.report()
    return chain


def _plan_of(path: Path) -> Plan:
    """A plan file; of the copy in a chain's folder, with the paths of the file that was copied."""
    folder = ChainFolder(path.parent)
    return (
        folder.read_plan() if folder.record.is_file() and path.name == folder.plan.name else read_plan(path)
    )


def _check_folder(folder: ChainFolder, resume: bool, overwrite: bool) -> None:
    if folder.record.is_file():
        if not resume and not overwrite:
            raise InputError(
                f"chain '{folder.path}' exists already",
                "pass --resume to go on with it, --name for another, or --overwrite to replace it",
            )
        return
    if RunFolder(folder.path).recipe.is_file():
        raise InputError(f"'{folder.path}' is the folder of a run, not of a chain", "choose another --name")
    if folder.path.is_dir() and (there := [one for one in folder.path.iterdir() if one.name != ".lock"]):
        raise InputError(
            f"'{folder.path}' is not a chain, and holds '{there[0].name}'", "choose another --name or --runs"
        )
