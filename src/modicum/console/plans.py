"""Plans on the command line: `modicum fit plan.yaml`, and what is asked of the chain that came of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modicum.console.summary import evaluation_summary
from modicum.engine.inference.verification import Verification
from modicum.engine.run_folder import is_chain
from modicum.errors import InputError
from modicum.planning.plan_file import is_plan, read_plan
from modicum.wording import count_of

if TYPE_CHECKING:
    from modicum.chains.chain import Chain, ChainStep


def plan_given(data: str | None, runs: Path, resumed: str | None) -> Path | None:
    """The plan of several steps that `modicum fit` is given: as its data, or that ``--resume --name NAME`` goes on with.

    A plan of one training is a recipe with its data, and is done as any other training.
    """
    if data is not None:
        path = Path(data)
        several = is_plan(path) and (is_chain(path.parent) or not read_plan(path).is_single_fit)
        return path if several else None
    folder = runs / (resumed or "")
    return folder / "plan.yaml" if resumed and is_chain(folder) else None


def fit_plan(
    path: Path,
    settings: Mapping[str, Any],
    name: str | None,
    runs: Path,
    resume: bool,
    overwrite: bool,
    workers: int | None,
) -> "Chain":
    """Runs a plan.

    Args:
        path: the plan.
        settings: options of the command that belong to a recipe: a plan has them itself.
        name: of the folder.
        runs: folder of all runs.
        resume: whether to go on.
        overwrite: whether to replace what is there.
        workers: processes that decode images.

    Raises:
        InputError: one of the settings is given, or the plan cannot be run.
    """
    given = next((key for key, value in settings.items() if value is not None), None)
    if given is not None:
        raise InputError(
            f"'{given}' is given beside plan '{path}', which has the settings of all steps", "write it there"
        )
    from modicum.chains.run_plan import run_plan

    if is_chain(path.parent):  # the copy of a plan goes on where it lies
        folder = path.parent if path.parent.name else path.parent.resolve()
        name, runs = name or folder.name, folder.parent if name is None else runs
    return run_plan(path, name=name, runs=runs, resume=resume, overwrite=overwrite, workers=workers)


def chain_summary(chain: "Chain") -> list[str]:
    """What came of each step, in a line."""
    lines = [f"{step.name}: {_came_of(step)}" for step in chain.steps.values()]
    return [*lines, f"report: {chain.folder.report}"]


def unanswered(chain: "Chain") -> int:
    """Images that steps of predict could not read or refused: exit code 3, as of `modicum predict`."""
    return sum(step.record.rows.unanswered for step in chain.steps.values() if step.kind == "predict")


def _came_of(step: "ChainStep") -> str:
    rows, found = step.record.rows, ""
    if step.kind == "evaluate":
        found = evaluation_summary(step.metrics, step.record.task)[0]
    elif step.kind == "fit":
        metrics, first = step.metrics, step.metrics["selection"].get("metric")
        scored = {name: content for name, content in metrics["evaluations"].items() if content["metrics"]}
        if scored:
            name = next(iter(sorted(scored)))  # test before val
            found = f"{name}: {evaluation_summary(scored[name], metrics['task'], first)[0]}"
        elif first is not None:
            found = f"{first} {metrics['selection']['value']:.4g} on validation"
    out = (
        count_of(rows.out, "row")
        if rows.out == rows.into
        else f"{rows.out:,} of {count_of(rows.into, 'row')}"
    )
    aside = [f"{count} {why}" for why, count in rows.set_aside.items()]
    return "; ".join([out, *filter(None, [found]), f"{step.record.seconds:.0f} s", *aside])


def report_of_chain(path: Path, out: Path | None) -> Path:
    """Writes a chain's page again."""
    from modicum.chains.chain import Chain
    from modicum.output_paths import check_output

    chain = Chain.open(path)
    if out is not None:
        check_output("--out", out, [chain.folder.record, chain.folder.plan])
    return chain.report(out)


def verification_of_chain(
    path: Path, recompute: int, stores: Path | None, weights: str | None
) -> Verification:
    """Checks a chain. Raises :class:`InputError` for weights, which its runs have one by one."""
    from modicum.chains.chain_folder import ChainFolder
    from modicum.chains.verifying import verify_chain

    if weights is not None:
        raise InputError("--weights with a chain, whose runs have their own", "verify its runs one by one")
    return verify_chain(ChainFolder.open(path), recompute, stores)
