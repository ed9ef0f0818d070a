"""Commands that use a run."""

from pathlib import Path
from typing import Annotated

import typer

from modicum.console.options import (
    AllowOutside,
    Data,
    Device,
    ImageColumn,
    Images,
    Label,
    Labels,
    Patient,
    RunPath,
    SplitLists,
    Workers,
    columns_given,
)


def predict(
    run: RunPath,
    images: Annotated[
        list[str], typer.Argument(help="Images, folders of images, or a table, datalist or NPZ file.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV or Parquet file.")] = Path("predictions.csv"),
    image: ImageColumn = None,
    allow_outside: AllowOutside = False,
    batch_size: Annotated[int | None, typer.Option(help="Images in a batch.")] = None,
    device: Device = None,
) -> None:
    """Predict images: one row each, with probabilities; a broken image is a row with an error (exit code 3).

    [bold]Example[/bold]

      modicum predict runs/images-linear new_images/ --out predictions.csv
    """
    from modicum.api import Run
    from modicum.wording import count_of

    done = Run.open(run).predict(
        images,
        out,
        batch_size=batch_size,
        device=device,
        columns={"image": image} if image else None,
        allow_outside=allow_outside,
    )
    typer.echo(f"{count_of(done.predicted, 'image')} predicted, {done.broken} broken: {done.out}")
    if done.broken:
        raise typer.Exit(3)


def evaluate(
    run: RunPath,
    data: Data,
    split: Annotated[
        str | None, typer.Option(help="Rows to take: test (default where there is one), val, all.")
    ] = None,
    label: Label = None,
    labels: Labels = None,
    patient: Patient = None,
    image: ImageColumn = None,
    images: Images = None,
    split_lists: SplitLists = None,
    allow_outside: AllowOutside = False,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Set broken images aside.")] = False,
    name: Annotated[str | None, typer.Option("--name", "-n", help="Of the evaluation.")] = None,
    device: Device = None,
    workers: Workers = None,
) -> None:
    """Metrics with confidence intervals on labelled data, added to the run and its report.

    [bold]Example[/bold]

      modicum evaluate runs/images-linear other_hospital.csv --label grade
    """
    from modicum.api import Run
    from modicum.console.summary import evaluation_summary

    opened = Run.open(run)
    content = opened.evaluate(
        data,
        split=split,
        name=name,
        device=device,
        skip_broken=skip_broken,
        workers=workers,
        columns=columns_given(label, labels, patient, image) or None,
        images=str(images) if images else None,
        split_lists=str(split_lists) if split_lists else None,
        allow_outside=allow_outside or None,
    )
    for line in evaluation_summary(content):
        typer.echo(line)
    typer.echo(f"report: {opened.folder.report}")


def report(run: RunPath) -> None:
    """Write the report again: one self-contained HTML page.

    [bold]Example[/bold]

      modicum report runs/images-linear
    """
    # Not through modicum.api: PyTorch takes seconds to load, and a page needs none of it.
    from modicum.engine.run_folder import RunFolder
    from modicum.report import build

    typer.echo(str(build(RunFolder.open(run).path)))


def export(
    run: RunPath,
    out: Annotated[Path, typer.Option("--out", "-o", help="Safetensors file.")],
) -> None:
    """Write the whole network, frozen backbone and what was learned together, into one file.

    [bold]Example[/bold]

      modicum export runs/images-lora --out model.safetensors
    """
    from modicum.engine.export import export_merged
    from modicum.engine.run_folder import RunFolder

    typer.echo(str(export_merged(RunFolder.open(run), out)))


def verify(
    run: RunPath,
    recompute: Annotated[
        int, typer.Option(min=0, help="Random records to compute again and compare with what is stored.")
    ] = 0,
    stores: Annotated[
        Path | None,
        typer.Option(help="Folder of the stores; .stores beside the run (or its comparison) by default."),
    ] = None,
) -> None:
    """Check the stores of a run: every record's checksum, and some of them anew. Exit code 3 if any is damaged.

    [bold]Examples[/bold]

      modicum verify runs/images-fpt

      modicum verify runs/images-fpt --recompute 16
    """
    from modicum.engine.run_folder import RunFolder
    from modicum.engine.verification import verify_stores

    found = verify_stores(RunFolder.open(run), recompute=recompute, stores=stores)
    for line in found.lines:
        typer.echo(line)
    if found.damaged:
        raise typer.Exit(3)
