"""Commands that inspect data or make phantoms."""

from pathlib import Path
from typing import Annotated

import typer

from modicum.console.option_groups import Reading, reads_data
from modicum.console.options import (
    Data,
    Workers,
)


@reads_data
def inspect(
    data: Data,
    reading: Reading = Reading(),  # noqa: B008 - a value
    out: Annotated[Path, typer.Option("--out", "-o", help="JSON file to write the facts to.")] = Path(
        "fingerprint.json"
    ),
    workers: Workers = None,
) -> None:
    """Describe a data set: formats, sizes, classes, patients, domains, leaks, broken files.

    Exit code 3 if some images are broken.

    [bold]Examples[/bold]

      modicum inspect images/

      modicum inspect labels.csv --label grade --patient subject --out facts.json

      modicum inspect brains/ --pairs T1,T2
    """
    from rich.console import Console

    from modicum.console.inspection import inspect_data

    inspection = inspect_data(data, reading.settings, out, workers)
    console = Console()
    for part in inspection.tables:
        console.print(part)
    typer.echo(f"facts: {out}")
    if inspection.broken:
        raise typer.Exit(3)


def phantoms(
    folder: Annotated[Path, typer.Argument(help="Folder for the images and manifest.csv.")],
    kind: Annotated[
        str, typer.Option(help="Kind of images: fundus, chest or mr (pairs of T1 and T2).")
    ] = "fundus",
    patients: Annotated[
        int, typer.Option(help="Number of synthetic patients; two eyes, or one radiograph, each.")
    ] = 40,
    size: Annotated[int, typer.Option(help="Side of the images in pixels.")] = 256,
    seed: Annotated[int, typer.Option(help="Random seed (default 0).")] = 0,
) -> None:
    """Make synthetic images with exact labels, by a small physical model, to try things out.

    [bold]Example[/bold]

      modicum phantoms eyes --patients 40 --size 256
    """
    from modicum.data.phantoms import write_phantoms

    typer.echo(str(write_phantoms(kind, folder, patients, size, seed)))


@reads_data
def degrade(
    data: Data,
    out: Annotated[Path, typer.Argument(help="Folder for the pairs and manifest.csv.")],
    reading: Reading = Reading(),  # noqa: B008 - a value
    kinds: Annotated[
        str | None,
        typer.Option(
            help="Kinds by commas, each three bits for blur, spots, illumination: 100,011; all by default."
        ),
    ] = None,
    per_image: Annotated[int, typer.Option(help="Degradations of each image.")] = 1,
    reference: Annotated[
        int, typer.Option(help="Side in pixels of the images that blur is stated for; smaller blurs more.")
    ] = 512,
    split: Annotated[str | None, typer.Option(help="Split to degrade, such as test; all by default.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed (default 0).")] = 0,
) -> None:
    """Degrade photographs by the classical model (uneven light, spots, blur): pairs to learn from or to test on.

    [bold]Examples[/bold]

      modicum degrade photographs/ pairs/

      modicum degrade eyes/manifest.csv unseen/ --kinds 010,110 --split test
    """
    from modicum.engine.inputs.degraded_pairs import COMBINATIONS, write_degraded_pairs

    settings = reading.settings
    chosen = COMBINATIONS if kinds is None else tuple(word.strip() for word in kinds.split(","))
    typer.echo(
        str(
            write_degraded_pairs(
                data,
                out,
                kinds=chosen,
                per_image=per_image,
                reference=reference,
                seed=seed,
                split=split,
                **settings,
            )
        )
    )
