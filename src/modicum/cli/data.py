"""Commands that look at data, or make some."""

from pathlib import Path
from typing import Annotated

import typer

from modicum.console.options import Data, Reading, Workers, reads_data


@reads_data
def inspect(
    data: Data,
    reading: Reading = Reading(),  # noqa: B008 - a value
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the facts go.")] = Path("fingerprint.json"),
    workers: Workers = None,
) -> None:
    """What is here: formats, sizes, classes, patients, domains, leaks, broken files.

    Exit code 3 if some images are broken.

    [bold]Examples[/bold]

      modicum inspect images/

      modicum inspect labels.csv --label grade --patient subject --out facts.json

      modicum inspect brains/ --pairs T1,T2
    """
    from rich.console import Console

    from modicum.console.inspection import inspect_data

    found = inspect_data(data, reading.settings, out, workers)
    console = Console()
    for part in found.tables:
        console.print(part)
    typer.echo(f"facts: {out}")
    if found.broken:
        raise typer.Exit(3)


def phantoms(
    folder: Annotated[Path, typer.Argument(help="Where the images and manifest.csv go.")],
    kind: Annotated[str, typer.Option(help="fundus, chest or mr (pairs of T1 and T2).")] = "fundus",
    patients: Annotated[int, typer.Option(help="Made patients; two eyes, or one radiograph, each.")] = 40,
    size: Annotated[int, typer.Option(help="Side of the images in pixels.")] = 256,
    seed: Annotated[int, typer.Option(help="The same seed makes the same images.")] = 0,
) -> None:
    """Make images with exact labels, by a small physical model, to try things out.

    [bold]Example[/bold]

      modicum phantoms eyes --patients 40 --size 256
    """
    from modicum.data.phantoms import write_phantoms

    typer.echo(str(write_phantoms(kind, folder, patients, size, seed)))
