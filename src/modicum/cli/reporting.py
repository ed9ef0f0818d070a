"""The command that writes reports."""

from pathlib import Path
from typing import Annotated

import typer

from modicum.console.options import By, GroupTable
from modicum.errors import InputError

_KINDS = ("review",)


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="A run folder; with --compare several.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="HTML file; report.html in the run folder (or compare.html here) by default."
        ),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(
            help="Share of positives among your own patients, such as 0.05: adds predictive values and net benefit there."
        ),
    ] = None,
    by: By = None,
    table: GroupTable = None,
    min_group: Annotated[
        int, typer.Option(help="Images below which a group is named as too small, without numbers.")
    ] = 20,
    of: Annotated[
        str | None,
        typer.Option(
            help="Evaluation whose groups (or runs) are compared; the one in the headline by default."
        ),
    ] = None,
    for_: Annotated[
        str | None,
        typer.Option("--for", help="review: also review.html and review.md, with model card and checklists."),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Several runs on the same test images, in one page.")
    ] = False,
) -> None:
    """Write the report again: one self-contained HTML page.

    [bold]Examples[/bold]

      modicum report runs/images-linear

      modicum report runs/images-linear --prevalence 0.05 --by sex --by age:40,60,80

      modicum report runs/images-linear --by scanner --table patients.csv

      modicum report runs/images-linear --for review

      modicum report --compare runs/images-full runs/images-linear --out compare.html
    """
    # Not through modicum.api: PyTorch takes seconds to load, and the page does not need it.
    from modicum.engine.run_folder import RunFolder, is_chain
    from modicum.output_paths import check_output
    from modicum.report.for_readers import ReportOptions
    from modicum.report.request import ReportRequest, write_reports

    if for_ is not None and for_ not in _KINDS:
        raise InputError(f"--for '{for_}' is no kind of report", "pass --for review, or leave it out")
    if len(runs) == 1 and is_chain(runs[0]):
        from modicum.console.plans import report_of_chain

        typer.echo(str(report_of_chain(runs[0], out)))
        return
    folders = [RunFolder.open(run) for run in runs]
    page = Path("compare.html") if compare and out is None else out
    if page is not None:
        check_output("--out", page, [file for folder in folders for file in folder.files_but_report])
    if compare:
        from modicum.report.side_by_side import write_comparison

        if prevalence is not None or by or table or for_:
            raise InputError(
                "--compare is a page of its own", "leave --prevalence, --by, --table and --for out"
            )
        assert page is not None
        typer.echo(str(write_comparison([folder.path for folder in folders], page, of)))
        return
    if len(folders) > 1:
        raise InputError(
            f"{len(folders)} runs are given",
            "pass --compare for one page of several; repeat --by for columns",
        )
    request = ReportRequest(
        ReportOptions(prevalence), tuple(by or ()), table, min_group, of, for_ == "review"
    )
    for written in write_reports(folders[0].path, out, request):
        typer.echo(str(written))
