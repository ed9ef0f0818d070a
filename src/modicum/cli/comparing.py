"""The command that trains and compares many runs."""

from pathlib import Path
from typing import Annotated

import typer

from modicum.console.option_groups import Learning, Reading, reads_data
from modicum.console.options import (
    Data,
    Executor,
    Parallel,
    Recipe,
    Runs,
    Workers,
    settings_from_assignments,
    settings_from_options,
)


@reads_data
def compare(
    data: Data,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            "-m",
            help="Names, separated by commas; `modicum methods` lists them. By default the recipe's, or full,linear.",
        ),
    ] = None,
    recipe: Recipe = None,
    seeds: Annotated[int, typer.Option(help="Number of runs of each method, with seeds 0, 1, ...")] = 3,
    lr: Annotated[
        str | None,
        typer.Option(
            help="Learning rates, separated by commas; of several, the best on validation at the first seed is used. "
            "Each method's own by default."
        ),
    ] = None,
    learning: Learning = Learning(),  # noqa: B008 - a value
    epochs: Annotated[int | None, typer.Option(help="Epochs of every method; 20 by default.")] = None,
    reading: Reading = Reading(),  # noqa: B008 - a value
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any other setting, for all methods: KEY=VALUE; for one: METHOD.KEY=VALUE (repeatable).",
        ),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            help="Values of a setting, a row each: KEY=V1,V2 or METHOD.KEY=V1,V2 (repeatable: every combination)."
        ),
    ] = None,
    vary: Annotated[
        str,
        typer.Option(
            help="every: each combination of swept values. one: a reference, and each value alone. stack: then what won "
            "on validation, one on top of the other."
        ),
    ] = "every",
    protocol: Annotated[
        str,
        typer.Option(
            help="split: the data's own split. leave-one-domain-out: test on every domain in turn, train on the others."
        ),
    ] = "split",
    name: Annotated[str | None, typer.Option("--name", "-n", help="Name of the comparison.")] = None,
    runs: Runs = Path("runs"),
    parallel: Parallel = None,
    executor: Executor = "local",
    workers: Workers = None,
) -> None:
    """Train several methods under one budget: one table of score, parameters, memory and time.

    Every run is a folder in runs/NAME/cells. A stopped comparison is resumed by the same command. Exit code 3 if some
    runs failed.

    [bold]Examples[/bold]

      modicum compare images/ --methods full,linear --backbone resnet18 --epochs 10

      modicum compare labels.csv --label grade --methods full,linear --lr 1e-4,1e-3 --seeds 5

      modicum compare labels.csv --methods full,linear --set linear.standardise=false --parallel 4

      modicum compare pairs.csv --methods reggan --sweep mode=p,nc,nc+r

      modicum compare eyes.csv --recipe dr/plain --sweep image_size=256,512 --sweep loss=mse,kappa --vary stack

      modicum compare vessels.csv --methods segment,aadg --protocol leave-one-domain-out --batch-size 24
    """
    from rich.console import Console

    from modicum.comparison.compare import compare as compare_methods
    from modicum.comparison.sweeps import parse_sweeps
    from modicum.console.comparison import comparison_table, learning_rates

    # Each of these parameters is a setting with the same name.
    options = {**locals(), **reading.options, **learning.options}
    settings = {**settings_from_options(options), **settings_from_assignments(set_, options)}
    done = compare_methods(
        data,
        methods,
        seeds=seeds,
        lr=learning_rates(lr),
        sweep=parse_sweeps(sweep or []),
        vary=vary,
        recipe=recipe,
        protocol=protocol,
        name=name,
        runs=runs,
        parallel=parallel,
        executor=executor,
        workers=workers,
        **settings,
    )
    console = Console()
    console.print(comparison_table(done, console))
    for error in done.errors:
        typer.echo(f"failed: {error}")
    for caution in done.cautions:
        typer.echo(f"note: {caution}")
    typer.echo(f"table: {done.path / 'table.md'}")
    typer.echo(f"page: {done.path / 'compare.html'}")
    if done.failed:
        raise typer.Exit(3)
