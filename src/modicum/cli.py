"""Words to calls, nothing else. Everything heavy is imported by the command that needs it."""

from pathlib import Path
from typing import Annotated, Any

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
)

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
    "3 some images broken, 130 stopped (go on with --resume).",
)


def _columns(label: str | None, labels: str | None, patient: str | None, image: str | None) -> dict[str, Any]:
    several = [name.strip() for name in labels.split(",")] if labels else None
    given = {"label": label, "labels": several, "patient": patient, "image": image}
    return {role: column for role, column in given.items() if column is not None}


def _version(wanted: bool) -> None:
    if wanted:
        from modicum import __version__

        typer.echo(f"modicum {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")
    ] = False,
) -> None: ...


@app.command()
def inspect(
    data: Data,
    label: Label = None,
    labels: Labels = None,
    patient: Patient = None,
    image: ImageColumn = None,
    images: Images = None,
    split_lists: SplitLists = None,
    allow_outside: AllowOutside = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the facts go.")] = Path("fingerprint.json"),
    workers: Workers = None,
) -> None:
    """What is here: formats, sizes, classes, patients, domains, leaks, broken files.

    Exit code 3 if some images are broken.

    [bold]Examples[/bold]

      modicum inspect images/

      modicum inspect labels.csv --label grade --patient subject --out facts.json
    """
    from rich.console import Console

    from modicum.console.inspection import inspect_data

    columns = _columns(label, labels, patient, image)
    found = inspect_data(data, columns, images, split_lists, allow_outside, out, workers)
    console = Console()
    for part in found.tables:
        console.print(part)
    typer.echo(f"facts: {out}")
    if found.broken:
        raise typer.Exit(3)


@app.command()
def fit(
    data: Annotated[str | None, typer.Argument(help="A table, folder, MONAI datalist or NPZ file.")] = None,
    method: Annotated[str, typer.Option("--method", "-m", help="`modicum methods` lists them.")] = "full",
    backbone: Annotated[
        str | None, typer.Option("--backbone", "-b", help="A timm model name; resnet50 by default.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="hub, random, a weights file, or run:FOLDER; hub by default.")
    ] = None,
    image_size: Annotated[
        str | None, typer.Option(help="Pixels: 512 or HEIGHTxWIDTH; 224 by default.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training images; the method's own number by default.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images in a batch; the method's own number by default.")
    ] = None,
    label: Label = None,
    labels: Labels = None,
    patient: Patient = None,
    image: ImageColumn = None,
    images: Images = None,
    split_lists: SplitLists = None,
    classes: Annotated[str | None, typer.Option(help="Class names in their order, by commas.")] = None,
    crop: Annotated[str | None, typer.Option(help="fundus: crop to the fundus disc first.")] = None,
    leaks: Annotated[
        str | None,
        typer.Option(help="error, drop or allow images that leak between splits; error by default."),
    ] = None,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Set broken images aside.")] = False,
    allow_outside: AllowOutside = False,
    seed: Annotated[int | None, typer.Option(help="Of everything random; 0 by default.")] = None,
    device: Device = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Any other setting: KEY=VALUE (repeatable); `modicum methods NAME` lists them."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", "-n", help="Of the run folder.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    workers: Workers = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run of that name.")] = False,
) -> None:
    """Train, evaluate and report, into runs/NAME.

    [bold]Examples[/bold]

      modicum fit images/ --method linear --backbone resnet18

      modicum fit labels.csv --label grade --patient subject --image-size 512 --crop fundus --set lr=3e-4

      modicum fit --resume --name images-linear
    """
    from modicum.api import fit as fit_run
    from modicum.console.summary import run_summary
    from modicum.engine.recipe import parse_assignments

    settings: dict[str, Any] = {
        **_columns(label, labels, patient, image),
        "backbone": backbone,
        "weights": weights,
        "image_size": image_size,
        "epochs": epochs,
        "batch_size": batch_size,
        "images": str(images) if images else None,
        "split_lists": str(split_lists) if split_lists else None,
        "classes": [part.strip() for part in classes.split(",")] if classes else None,
        "crop": crop,
        "leaks": leaks,
        "skip_broken": skip_broken or None,
        "allow_outside": allow_outside or None,
        "seed": seed,
        "device": device,
        **parse_assignments(set_ or []),
    }
    run = fit_run(
        data, method, name=name, runs=runs, resume=resume, overwrite=overwrite, workers=workers, **settings
    )
    for line in run_summary(run.path):
        typer.echo(line)


@app.command()
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


@app.command()
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
        columns=_columns(label, labels, patient, image) or None,
        images=str(images) if images else None,
        split_lists=str(split_lists) if split_lists else None,
        allow_outside=allow_outside or None,
    )
    for line in evaluation_summary(content):
        typer.echo(line)
    typer.echo(f"report: {opened.folder.report}")


@app.command()
def report(run: RunPath) -> None:
    """Write the report again: one self-contained HTML page.

    [bold]Example[/bold]

      modicum report runs/images-linear
    """
    # Not through modicum.api: PyTorch takes seconds to load, and a page needs none of it.
    from modicum.engine.run_folder import RunFolder
    from modicum.report import build

    typer.echo(str(build(RunFolder.open(run).path)))


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="A method, to list all its settings.")] = None,
    backbones: Annotated[
        str | None, typer.Option(help="List backbones by pattern instead, for instance 'vit*'.")
    ] = None,
) -> None:
    """List the methods, one method's settings, or the backbones that match a pattern.

    [bold]Examples[/bold]

      modicum methods

      modicum methods linear

      modicum methods --backbones 'resnet*'
    """
    from rich.console import Console

    from modicum.console.listing import backbone_names, methods_table, settings_table

    if name is not None:
        Console().print(settings_table(name))
        return
    if backbones is None:
        Console().print(methods_table())
        return
    for found in backbone_names(backbones):
        typer.echo(found)


@app.command()
def doctor() -> None:
    """Check this machine: versions, GPU, image codecs, hub, disk. Exit code 2 if something needed is missing.

    [bold]Example[/bold]

      modicum doctor
    """
    from rich.console import Console

    from modicum.console.doctor import check_machine

    checks = check_machine()
    Console().print(checks.table)
    if not checks.healthy:
        raise typer.Exit(2)


@app.command()
def phantoms(
    folder: Annotated[Path, typer.Argument(help="Where the images and manifest.csv go.")],
    kind: Annotated[str, typer.Option(help="fundus or chest.")] = "fundus",
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


@app.command()
def demo(
    runs: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    seed: Annotated[int, typer.Option(help="Of the made images and the training.")] = 0,
) -> None:
    """Train on made fundus photographs at two sizes, from random weights, and write runs/demo/report.html.

    [bold]Example[/bold]

      modicum demo
    """
    from modicum.demo import run_demo

    for line in run_demo(runs, seed):
        typer.echo(line)
