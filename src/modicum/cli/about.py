"""Commands about modicum itself and this machine."""

from typing import Annotated

import typer


def methods(
    name: Annotated[str | None, typer.Argument(help="Name of a method, to list all its settings.")] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Hold the method to what modicum expects of methods (some seconds)."),
    ] = False,
    backbones: Annotated[
        str | None, typer.Option(help="List backbones by pattern instead, for instance 'vit*'.")
    ] = None,
    weights: Annotated[
        bool, typer.Option("--weights", help="List published weights that --weights takes by a short name.")
    ] = False,
) -> None:
    """List the methods, one method's settings, the backbones that match a pattern, or published weights.

    [bold]Examples[/bold]

      modicum methods

      modicum methods linear

      modicum methods my_method --check

      modicum methods --backbones 'resnet*'

      modicum methods --weights
    """
    from rich.console import Console

    from modicum.console.listing import backbone_names, methods_table, settings_table, weights_table

    if check:
        from modicum.console.checking import results_table
        from modicum.errors import InputError

        if name is None:
            raise InputError("--check needs a method", "name one: modicum methods NAME --check")
        Console().print(results_table(name))
        return
    if name is not None:
        Console().print(settings_table(name))
        return
    if weights:
        Console().print(weights_table())
        return
    if backbones is None:
        Console().print(methods_table())
        return
    for backbone_name in backbone_names(backbones):
        typer.echo(backbone_name)


def recipes(
    name: Annotated[
        str | None, typer.Argument(help="Name of a recipe, to show its settings as YAML.")
    ] = None,
) -> None:
    """List the recipes that `modicum fit --recipe` takes by name, or show the settings of one.

    [bold]Examples[/bold]

      modicum recipes

      modicum recipes cxr/lora_nih_1pct > mine.yaml
    """
    from rich.console import Console

    from modicum.console.listing import recipe_text, recipes_table

    if name is None:
        Console().print(recipes_table())
    else:
        typer.echo(recipe_text(name), nl=False)


def doctor() -> None:
    """Check this machine: versions, GPU, image codecs, hub, disk. Exit code 2 if something required is missing.

    [bold]Example[/bold]

      modicum doctor
    """
    from rich.console import Console

    from modicum.console.doctor import check_machine

    checks = check_machine()
    Console().print(checks.table)
    if not checks.healthy:
        raise typer.Exit(2)
