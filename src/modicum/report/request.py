"""Reports on request: groups by columns, another prevalence, the pages for reviewers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from modicum.engine.run_folder import write_json
from modicum.errors import InputError, did_you_mean
from modicum.report.build import build_of, checked_run
from modicum.report.files import Evaluation, RunFiles, read_evaluation
from modicum.report.for_readers import ReportOptions
from modicum.report.groups import LEAST, group_results, values_of

GROUPS = "groups.json"


@dataclass(frozen=True)
class ReportRequest:
    """What is asked of a report.

    Attributes:
        options: of the page.
        by: columns by which groups are made, as ``sex`` or ``age:40,60``.
        table: where their values are; by default the run's manifest, then the data as the training found them.
        least: images below which a group is too small for numbers.
        of: name of the evaluation that groups are made of; the one in the headline by default.
        review: also write ``review.html`` and ``review.md``.
    """

    options: ReportOptions = field(default_factory=ReportOptions)
    by: tuple[str, ...] = ()
    table: Path | None = None
    least: int = LEAST
    of: str | None = None
    review: bool = False

    def __post_init__(self) -> None:
        if not self.by and (self.table is not None or self.of is not None):
            raise InputError("--table and --of are for groups", "name a column, for instance --by sex")
        if self.least < 2:
            raise InputError(
                f"--min-group {self.least} would show single patients", "give 2 or more, for instance 20"
            )


def write_reports(run_folder: Path, out: Path | None, request: ReportRequest) -> list[Path]:
    """Writes what is asked for and returns the pages.

    Groups are kept in the evaluation's ``groups.json``, so that later reports have them too; with ``out`` nothing is
    written into the run.

    Args:
        run_folder: of the run.
        out: the page; ``report.html`` in the run folder by default. Pages for reviewers are ``review.html`` and
            ``review.md`` there; beside ``out`` their names begin with its own.
        request: what is asked for.

    Raises:
        InputError: the folder is no run, a column makes no groups.
        ResourceError: the disk is full.
    """
    run = checked_run(run_folder)
    if request.by:
        evaluation = _evaluation(run, request.of)
        grouped = with_groups(run, evaluation, request.by, request.table, request.least)
        if out is None:
            write_json(evaluation.folder / GROUPS, grouped.groups)
        evaluations = [grouped if one.name == grouped.name else one for one in run.evaluations]
        run = replace(run, evaluations=evaluations)
    page = build_of(run, run_folder / "report.html" if out is None else out, request.options)
    if not request.review:
        return [page]
    from modicum.report.review import write_review

    start = "" if out is None else f"{page.stem}-"
    return [page, *write_review(run, page.parent, request.options, start)]


def with_groups(
    run: RunFiles, evaluation: Evaluation, by: Sequence[str], table: Path | None, least: int = LEAST
) -> Evaluation:
    """An evaluation with the metrics of groups. Raises like :func:`write_reports`."""
    columns = values_of(run, evaluation, by, table)
    return replace(evaluation, groups=group_results(run, evaluation, columns, least))


def add_groups(run_folder: Path, evaluation_folder: Path, by: Sequence[str], table: Path) -> None:
    """Writes ``groups.json`` into the folder of an evaluation just made. Raises like :func:`write_reports`."""
    run = checked_run(run_folder)
    evaluation = read_evaluation(evaluation_folder, {}, [])
    if evaluation is None:
        raise InputError(f"'{evaluation_folder}' holds no evaluation", "evaluate again")
    write_json(evaluation_folder / GROUPS, with_groups(run, evaluation, by, table).groups)


def _evaluation(run: RunFiles, name: str | None) -> Evaluation:
    named = {evaluation.name: evaluation for evaluation in run.evaluations}
    if name is not None and name not in named:
        raise InputError(f"the run has no evaluation '{name}'", did_you_mean(name, list(named)))
    evaluation = run.main if name is None else named[name]
    if evaluation is None:
        raise InputError(
            "nothing was evaluated yet, so there are no groups", "evaluate with `modicum evaluate`"
        )
    return evaluation
