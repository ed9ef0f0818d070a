"""The command that searches a data set by a sentence or an image."""

from pathlib import Path
from typing import Annotated

import typer

from modicum.console.option_groups import Reading, reads_data
from modicum.console.options import (
    Device,
    RunPath,
)


@reads_data
def retrieve(
    run: RunPath,
    query: Annotated[
        list[str],
        typer.Option("--query", "-q", help="Path of an image, or a sentence in quotes; may be repeated."),
    ],
    among: Annotated[str, typer.Option(help="Data set to search: a table, folder or datalist.")],
    k: Annotated[int, typer.Option("-k", help="Answers to each query.")] = 10,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the table and the page.")] = Path(
        "retrieved"
    ),
    scored_by: Annotated[
        str | None, typer.Option(help="global (wholes, default), local (sentences and regions) or both.")
    ] = None,
    sentences: Annotated[
        bool,
        typer.Option(
            "--sentences", help="Put sentences of reports into table and page; they may name patients."
        ),
    ] = False,
    split: Annotated[
        str | None, typer.Option(help="Split of the data set to search, such as test; all by default.")
    ] = None,
    reading: Reading = Reading(),  # noqa: B008 - a value
    batch_size: Annotated[
        int | None, typer.Option(help="Images in a batch; as in training by default.")
    ] = None,
    device: Device = None,
) -> None:
    """Search a data set by a sentence (finds images) or an image (finds reports), with a run of prior, convirt or gloria.

    [bold]Examples[/bold]

      modicum retrieve runs/chest-prior --query "Large left pleural effusion." --among archive.csv -k 10

      modicum retrieve runs/chest-prior --query new.png --among archive.csv --sentences
    """
    from modicum.api import Run
    from modicum.wording import count_of

    settings = reading.settings
    settings.pop("box_options", None)
    retrieved = Run.open(run).retrieve(
        query,
        among,
        out,
        k=k,
        scored_by=scored_by,
        sentences=sentences,
        split=split,
        batch_size=batch_size,
        device=device,
        **settings,
    )
    hits = sum(len(answer.hits) for answer in retrieved.answers)
    queries = "1 query" if len(retrieved.answers) == 1 else f"{len(retrieved.answers)} queries"
    typer.echo(f"{count_of(hits, 'answer')} to {queries} among {len(retrieved.manifest)} rows")
    typer.echo(f"table: {out / 'retrieved.csv'}")
    typer.echo(f"page: {out / 'retrieved.html'}")
