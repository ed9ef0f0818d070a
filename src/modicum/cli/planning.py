"""The command that plans a training."""

from pathlib import Path
from typing import Annotated

import typer

from modicum.console.option_groups import Reading, reads_data
from modicum.console.options import (
    Backbone,
    Classes,
    Data,
    Device,
    ImageSize,
    Set,
    Weights,
    Workers,
    settings_from_assignments,
    settings_from_options,
)


@reads_data
def plan(
    data: Data,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Memory that training may take, such as 8GB; what is free (half, on a CPU) by default."
        ),
    ] = None,
    time: Annotated[
        str | None, typer.Option("--time", help="Time that training may take, such as 2h or 30min.")
    ] = None,
    goal: Annotated[
        str | None,
        typer.Option(
            help="classify, segment, translate, enhance, detect, pretrain, quality or anomaly; by default what the data "
            "are for."
        ),
    ] = None,
    backbone: Backbone = None,
    weights: Weights = None,
    image_size: ImageSize = None,
    reading: Reading = Reading(),  # noqa: B008 - a value
    classes: Classes = None,
    device: Device = None,
    set_: Set = None,
    name: Annotated[str | None, typer.Option("--name", "-n", help="Name of the run.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The plan file.")] = Path("plan.yaml"),
    rules: Annotated[
        Path | None,
        typer.Option(help="A file of rules in place of modicum's; docs/plan.md says how to write one."),
    ] = None,
    fingerprint: Annotated[
        Path | None,
        typer.Option(help="What `modicum inspect` wrote of these data, so that no image is read again."),
    ] = None,
    workers: Workers = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a plan file that is there already.")
    ] = False,
) -> None:
    """Plan a training: method, size, epochs and more, with a reason beside each, fitted to memory and time.

    Nothing is trained but a few steps on noise, to see how long they take. The plan is a file to read and change.

    [bold]Examples[/bold]

      modicum plan labels.csv --label grade --patient subject

      modicum plan labels.csv --memory 8GB --time 2h --weights resnet50.safetensors --backbone resnet50

      modicum plan vessels/ --goal segment --device cpu --out vessels.yaml

      modicum inspect images/ --out facts.json && modicum plan images/ --fingerprint facts.json

      modicum fit plan.yaml
    """
    from modicum.planning.plan import plan as make_plan

    options = {
        **reading.options, "backbone": backbone, "weights": weights, "image_size": image_size, "classes": classes,
    }  # fmt: skip
    settings = {**settings_from_options(options), **settings_from_assignments(set_, options)}
    made = make_plan(
        data,
        memory=memory,
        time=time,
        goal=goal,
        name=name,
        out=out,
        device=device,
        rules=rules,
        facts=fingerprint,
        workers=workers,
        overwrite=overwrite,
        **settings,
    )
    for line in made.summary():
        typer.echo(line)
