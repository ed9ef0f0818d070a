"""Commands that train one run."""

from pathlib import Path
from typing import Annotated

import typer

from modicum.console.option_groups import Learning, Reading, reads_data
from modicum.console.options import (
    Drop,
    Epochs,
    Quality,
    Recipe,
    Runs,
    Set,
    Workers,
    settings_from_assignments,
    settings_from_options,
)


@reads_data
def fit(
    data: Annotated[
        str | None, typer.Argument(help="A table, folder, MONAI datalist, NPZ file or plan.yaml.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            "-m",
            help="Name of the method (`modicum methods` lists them); full by default, or the recipe's.",
        ),
    ] = None,
    recipe: Recipe = None,
    learning: Learning = Learning(),  # noqa: B008 - a value
    epochs: Epochs = None,
    reading: Reading = Reading(),  # noqa: B008 - a value
    quality: Quality = None,
    drop: Drop = None,
    seed: Annotated[int | None, typer.Option(help="Random seed (default 0).")] = None,
    set_: Set = None,
    name: Annotated[str | None, typer.Option("--name", "-n", help="Name of the run folder.")] = None,
    runs: Runs = Path("runs"),
    workers: Workers = None,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Cross-validation by patient: a run a fold, what each predicts out of fold, and their ensemble."
        ),
    ] = None,
    parallel: Annotated[
        int | None,
        typer.Option(help="With --folds: runs in parallel, each in its own process; one per GPU by default."),
    ] = None,
    executor: Annotated[
        str, typer.Option(help="With --folds: local, or ray for the cluster at RAY_ADDRESS.")
    ] = "local",
    resume: Annotated[bool, typer.Option("--resume", help="Resume an unfinished run.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing run with that name.")
    ] = False,
    self_contained: Annotated[
        bool,
        typer.Option("--self-contained", help="Keep the frozen backbone's weights in the run folder too."),
    ] = False,
) -> None:
    """Train, evaluate and report, into runs/NAME.

    [bold]Examples[/bold]

      modicum fit images/ --method linear --backbone resnet18

      modicum fit labels.csv --label grade --patient subject --image-size 512 --crop fundus --set lr=3e-4

      modicum fit labels.csv --method full --memory 8GB --batch-size auto

      modicum fit brains/ --method reggan --pairs T1,T2 --set mode=nc+r

      modicum fit pairs.csv --method reggan --target t2 --patient subject --set intensity=percentile

      modicum fit labels.csv --augment runs/vessels-aadg/policy.yaml

      modicum fit ChestX-ray14/ --recipe cxr/lora_nih_1pct --weights MRM.pth

      modicum fit labels.csv --label grade --patient subject --folds 5 --parallel 2

      modicum fit plan.yaml

      modicum fit --resume --name images-linear
    """
    from modicum.console.folds import fit_folds, is_cross_validation
    from modicum.console.plans import chain_summary, fit_plan, plan_given, unanswered

    # Each of these parameters is a setting by the same name.
    options = {**locals(), **reading.options, **learning.options}
    settings = {**settings_from_options(options), **settings_from_assignments(set_, options)}
    if (plan := plan_given(data, runs, name if resume else None)) is not None:
        others = {"method": method, "recipe": recipe, "self_contained": self_contained or None, **settings}
        chain = fit_plan(plan, others, name, runs, resume, overwrite, workers)
        for line in chain_summary(chain):
            typer.echo(line)
        if unanswered(chain):
            raise typer.Exit(3)
        return
    if is_cross_validation(data, folds, settings, runs, name, parallel, executor):
        for line in fit_folds(
            data, method, folds, settings, recipe=recipe, name=name, runs=runs, resume=resume, overwrite=overwrite,
            workers=workers, parallel=parallel, executor=executor, self_contained=self_contained,
        ):  # fmt: skip
            typer.echo(line)
        return
    if folds is not None:
        settings["folds"] = folds
    from modicum.api import fit as fit_run
    from modicum.console.summary import run_summary

    run = fit_run(
        data,
        method,
        recipe=recipe,
        name=name,
        runs=runs,
        resume=resume,
        overwrite=overwrite,
        workers=workers,
        self_contained=self_contained,
        **settings,
    )
    for line in run_summary(run.path):
        typer.echo(line)


def demo(
    runs: Runs = Path("runs"),
    seed: Annotated[int, typer.Option(help="Random seed of the images and the training (default 0).")] = 0,
) -> None:
    """Train on synthetic fundus images at two sizes, from random weights, and write runs/demo/report.html.

    [bold]Example[/bold]

      modicum demo
    """
    from modicum.demo import run_demo

    for line in run_demo(runs, seed):
        typer.echo(line)
