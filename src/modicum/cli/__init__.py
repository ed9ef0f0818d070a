"""The command line: parses arguments and calls the API. Each command imports what it needs when it runs."""

from typing import Annotated

import typer

from modicum.cli.about import doctor, methods, recipes
from modicum.cli.answering import evaluate, predict
from modicum.cli.comparing import compare
from modicum.cli.data import degrade, inspect, phantoms
from modicum.cli.planning import plan
from modicum.cli.reporting import report
from modicum.cli.searching import retrieve
from modicum.cli.serving import serve
from modicum.cli.training import demo, fit
from modicum.cli.tuning import tune
from modicum.cli.using import align, ensemble, export, pack, verify

app = typer.Typer(
    name="modicum",
    help="Good medical-imaging models from a modicum of labels, GPU memory, clean images, matching scanners or "
    "aligned pairs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Anywhere: --debug shows tracebacks, --quiet hides progress. Exit codes: 0 done, 2 bad input, "
    "3 some images broken or refused, or cells failed, 130 stopped (continue with --resume).",
)


def _version(wanted: bool) -> None:
    if wanted:
        from modicum.version import __version__

        typer.echo(f"modicum {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None: ...


for command in (
    inspect,
    plan,
    fit,
    compare,
    tune,
    predict,
    retrieve,
    align,
    evaluate,
    report,
    export,
    serve,
    ensemble,
    pack,
    verify,
    methods,
    recipes,
    doctor,
    phantoms,
    degrade,
    demo,
):
    app.command()(command)
