"""The command that searches settings."""

from pathlib import Path
from typing import Annotated

import typer

from modicum.console.option_groups import Learning, Reading, reads_data
from modicum.console.options import (
    Data,
    Epochs,
    Executor,
    Parallel,
    Recipe,
    Runs,
    Set,
    Workers,
    settings_from_assignments,
    settings_from_options,
)


@reads_data
def tune(
    data: Data,
    search: Annotated[
        list[str],
        typer.Option(
            "--search",
            help="A setting and where to look (repeatable): KEY=LOW..HIGH, KEY=LOW..HIGH:log or KEY=V1,V2.",
        ),
    ],
    method: Annotated[
        str | None,
        typer.Option(
            "--method", "-m", help="Name of the method (`modicum methods` lists them); full by default."
        ),
    ] = None,
    recipe: Recipe = None,
    trials: Annotated[int, typer.Option(help="Number of trials in all.")] = 20,
    minutes: Annotated[
        float | None, typer.Option(help="Start no further trial after so many minutes of this call.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Validation metric to search by; the task's own by default.")
    ] = None,
    search_seed: Annotated[int, typer.Option(help="Seed of the proposals (default 0).")] = 0,
    prune: Annotated[
        bool, typer.Option("--prune", help="End trials early that fall behind the median of earlier ones.")
    ] = False,
    learning: Learning = Learning(),  # noqa: B008 - a value
    epochs: Epochs = None,
    reading: Reading = Reading(),  # noqa: B008 - a value
    seed: Annotated[int | None, typer.Option(help="Random seed of the trainings (default 0).")] = None,
    set_: Set = None,
    name: Annotated[str | None, typer.Option("--name", "-n", help="Name of the search.")] = None,
    runs: Runs = Path("runs"),
    parallel: Parallel = None,
    executor: Executor = "local",
    workers: Workers = None,
) -> None:
    """Search settings of a method by its validation metric (Optuna; the extra tune); the test split is not looked at.

    Every trial is a run in runs/NAME/trials. A stopped search is resumed by the same command. The best settings are in
    best.yaml, for modicum fit --recipe.

    [bold]Examples[/bold]

      modicum tune labels.csv --label grade --search lr=1e-5..1e-2:log --search weight_decay=0..0.1

      modicum tune images/ --method lora --search rank=2,4,8,16 --search lr=1e-4..1e-2:log --trials 30 --minutes 60

      modicum tune vessels.csv --method segment --search 'image_size=[256, 384]' --metric dice --parallel 2
    """
    from modicum.tuning.tune import tune as search_settings

    # Each of these parameters is a setting by the same name.
    options = {**locals(), **reading.options, **learning.options}
    settings = {**settings_from_options(options), **settings_from_assignments(set_, options)}
    done = search_settings(
        data,
        method,
        search=search,
        trials=trials,
        minutes=minutes,
        metric=metric,
        search_seed=search_seed,
        recipe=recipe,
        prune=prune,
        name=name,
        runs=runs,
        parallel=parallel,
        executor=executor,
        workers=workers,
        **settings,
    )
    content = done.metrics
    if (best := content["best"]) is not None:
        found = ", ".join(f"{key}={value}" for key, value in best["settings"].items())
        typer.echo(f"best of {content['finished']} trials: {found}")
        typer.echo(
            f"validation {content['metric']} {best['value']:.4g} (trial {best['trial']}); the test split was not used"
        )
        typer.echo(
            f"train it, with the same options of the data: modicum fit {data} --recipe {done.path / 'best.yaml'}"
        )
    if content.get("pruned"):
        typer.echo(f"{content['pruned']} of {content['trials']} trials ended early")
    typer.echo(f"table: {done.path / 'trials.csv'}")
    typer.echo(f"page: {done.path / 'report.html'}")
    if content["failed"]:
        raise typer.Exit(3)
