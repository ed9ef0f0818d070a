"""Commands that use a run."""

from pathlib import Path
from typing import Annotated

import typer

from modicum.console.options import (
    Data,
    Device,
    Reading,
    RunPath,
    Workers,
    reads_data,
)
from modicum.errors import InputError

FrozenWeights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="Where the run's frozen backbone is now, if it has moved: a file or run:FOLDER; checked by its SHA-256.",
    ),
]
Prompts = Annotated[
    Path | None,
    typer.Option(
        help="Table with columns class and prompt, for runs that have learned images together with texts: the answer is "
        "the class whose sentences an image is nearest to."
    ),
]
ScoredBy = Annotated[
    str | None,
    typer.Option(
        help="Of sentences: global (wholes), local (sentences and regions) or both; both where the run has them."
    ),
]
Pseudonym = Annotated[str, typer.Option(help="Patient name and ID to write into DICOM files.")]


@reads_data
def predict(
    run: RunPath,
    given: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES",
            help="Images, volumes, folders of them, or data sets: a table, folder, datalist or NPZ file.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="CSV or Parquet file (default predictions.csv), of boxes also COCO (.json); for predicted images a "
            "folder (default predictions).",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split of the data set to predict, such as test; all by default.")
    ] = None,
    reading: Reading = Reading(),  # noqa: B008 - a value
    batch_size: Annotated[
        int | None, typer.Option(help="Images in a batch; as in training by default.")
    ] = None,
    native: Annotated[
        bool,
        typer.Option(
            "--native", help="Predict images at the size of each file, not of the training, in tiles."
        ),
    ] = False,
    tile: Annotated[
        int | None, typer.Option(help="Side of the tiles in pixels; the training's image size by default.")
    ] = None,
    overlap: Annotated[
        float, typer.Option(help="Overlap of neighbouring tiles, as a share of their side.")
    ] = 0.25,
    maps: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the maps that some methods make of each image (what is abnormal, say)."
        ),
    ] = None,
    probabilities: Annotated[
        bool,
        typer.Option("--probabilities", help="Write the probability map of each class beside the masks."),
    ] = False,
    prompts: Prompts = None,
    scored_by: ScoredBy = None,
    pseudonym: Pseudonym = "predicted",
    weights: FrozenWeights = None,
    device: Device = None,
) -> None:
    """Predict images: writes a table with one row each, or images and a table; exit code 3 if some are broken.

    A NIfTI file becomes a NIfTI file with the same geometry, a DICOM image a derived DICOM image, anything else
    PNG. Files of an earlier prediction are replaced. A table, or a folder with a table or of a known layout, means the
    images that it names, as for the other commands.

    [bold]Examples[/bold]

      modicum predict runs/images-linear new_images/ --out predictions.csv

      modicum predict runs/brains-reggan patient07_T1.nii.gz --out translated/

      modicum predict runs/brains-reggan series/ --native --tile 256 --overlap 0.25

      modicum predict runs/chest-prior new_images/ --prompts prompts.csv
    """
    from modicum.api import Run
    from modicum.wording import count_of

    settings = reading.settings
    if settings.pop("box_options", None) is not None:
        raise InputError("--box-options: predictions are made without boxes", "leave it out")
    done = Run.open(run, weights).predict(
        given,
        out,
        batch_size=batch_size,
        device=device,
        split=split,
        maps=maps,
        probabilities=probabilities,
        native=native,
        tile=tile,
        overlap=overlap,
        pseudonym=pseudonym,
        image_folder=settings.pop("images", None),
        prompts=prompts,
        scored_by=scored_by,
        **settings,
    )
    typer.echo(f"{count_of(done.predicted, 'image')} predicted, {done.broken} broken: {done.out}")
    if done.broken:
        raise typer.Exit(3)


def align(
    run: RunPath,
    image: Annotated[
        str, typer.Argument(help="Image to move: an image file, a NIfTI file, or a folder of a DICOM series.")
    ],
    target: Annotated[
        str, typer.Argument(help="Image of the other modality to move it onto, of the same kind and size.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="File for the moved image: .png, .nii.gz or .dcm; a folder for a DICOM series.",
        ),
    ],
    field: Annotated[
        Path | None,
        typer.Option(
            help="File for the displacement field, .npz or .nii.gz; NAME_field next to the moved image by default."
        ),
    ] = None,
    pseudonym: Pseudonym = "predicted",
    device: Device = None,
) -> None:
    """Move an image onto an image of the other modality, with the registration that a run has learned.

    [bold]Examples[/bold]

      modicum align runs/brains-reggan t1.png t2.png --out t1_on_t2.png

      modicum align runs/brains-reggan p07_T1.nii.gz p07_T2.nii.gz --out p07_T1_on_T2.nii.gz
    """
    from modicum.api import Run
    from modicum.wording import count_of

    done = Run.open(run).align(image, target, out, field=field, device=device, pseudonym=pseudonym)
    moved = "aligned, moved" if done.moved else "compared, nothing to move was found: displaced"
    typer.echo(
        f"{count_of(done.slices, 'slice')} {moved} by {done.mean:.2f} pixels on average, {done.max:.2f} at most, "
        f"{100 * done.folded:.2f} % folded"
    )
    if (remark := done.remark) is not None:
        typer.echo(f"note: {remark}")
    typer.echo(f"image: {done.out}")
    typer.echo(f"field: {done.field}")


@reads_data
def evaluate(
    run: RunPath,
    data: Data,
    split: Annotated[
        str | None, typer.Option(help="Split to evaluate: test (default if there is one), val, or all.")
    ] = None,
    reading: Reading = Reading(),  # noqa: B008 - a value
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Skip broken images instead of stopping.")
    ] = False,
    prompts: Prompts = None,
    scored_by: ScoredBy = None,
    name: Annotated[str | None, typer.Option("--name", "-n", help="Name of the evaluation.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder for the evaluation; the run and its report stay as they are then."
        ),
    ] = None,
    weights: FrozenWeights = None,
    device: Device = None,
    workers: Workers = None,
) -> None:
    """Evaluate a run on labelled data: metrics with confidence intervals, added to the run and its report.

    [bold]Examples[/bold]

      modicum evaluate runs/images-linear other_hospital.csv --label grade

      modicum evaluate runs/brains-reggan other_scanner.csv --target t2

      modicum evaluate runs/chest-prior labelled.csv --label finding --prompts prompts.csv
    """
    from modicum.api import Run
    from modicum.console.summary import evaluation_summary

    opened = Run.open(run, weights)
    content = opened.evaluate(
        data,
        split=split,
        name=name,
        device=device,
        skip_broken=skip_broken,
        workers=workers,
        out=out,
        prompts=prompts,
        scored_by=scored_by,
        **reading.settings,
    )
    task = opened.metrics["task"] if prompts is None else "classification"
    for line in evaluation_summary(content, task):
        typer.echo(line)
    typer.echo(f"report: {opened.folder.report}" if out is None else f"evaluation: {out}")


def report(
    run: RunPath,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="HTML file; report.html in the run folder by default.")
    ] = None,
) -> None:
    """Write the report again: one self-contained HTML page.

    [bold]Example[/bold]

      modicum report runs/images-linear
    """
    # Not through modicum.api: PyTorch takes seconds to load, and the page does not need it.
    from modicum.engine.run_folder import RunFolder
    from modicum.output_paths import check_output
    from modicum.report import build

    folder = RunFolder.open(run)
    if out is not None:
        check_output("--out", out, folder.files_but_report)
    typer.echo(str(build(folder.path, out)))


def export(
    run: RunPath,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Safetensors file; export.safetensors in the run folder by default."
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            help="predictor: the network as it is, frozen backbone included; merged: one plain timm network; auto: "
            "merged where the method allows it."
        ),
    ] = "auto",
    part: Annotated[
        str | None,
        typer.Option(
            help="Another network than the predictor, for instance registration, where a method has one."
        ),
    ] = None,
    weights: FrozenWeights = None,
) -> None:
    """Write what was learned into one file of weights that stands alone, with a card (JSON) next to it.

    [bold]modicum.load_exported(FILE)[/bold] makes the network again, without the run; timm alone makes a merged one.

    [bold]Examples[/bold]

      modicum export runs/images-lora --out model.safetensors

      modicum export runs/images-fpt --form predictor --out model.safetensors

      modicum export runs/brains-reggan --part registration --out registration.safetensors
    """
    from modicum.api import Run

    typer.echo(str(Run.open(run, weights).export(out, form=form, part=part)))  # type: ignore[arg-type]


def ensemble(
    runs: Annotated[list[Path], typer.Argument(help="Two or more run folders of the same task and classes.")],
    name: Annotated[str, typer.Option("--name", "-n", help="Name of the new run.")],
    folder: Annotated[
        Path | None, typer.Option("--runs", help="Folder of all runs; the first run's by default.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete a run of that name first.")] = False,
    device: Device = None,
    workers: Workers = None,
) -> None:
    """Join several runs into one whose prediction is their mean; it is used like any other run.

    Severity scores and probabilities are averaged before anything is decided by them. All runs must have the same
    classes, settings of images and split.

    [bold]Example[/bold]

      modicum ensemble runs/eyes-seed0 runs/eyes-seed1 runs/eyes-seed2 --name eyes-three
    """
    from modicum.api import ensemble as join
    from modicum.console.summary import run_summary

    made = join(runs, name=name, folder=folder, overwrite=overwrite, device=device, workers=workers)
    for line in run_summary(made.path):
        typer.echo(line)


def pack(run: RunPath, weights: FrozenWeights = None) -> None:
    """Put the frozen backbone's weights into the run folder, so that it can be copied anywhere.

    [bold]Example[/bold]

      modicum pack runs/images-fpt
    """
    from modicum.api import Run

    opened = Run.open(run, weights)
    file = opened.pack()
    typer.echo(f"run '{opened.folder.name}' holds all of its weights already" if file is None else str(file))


def verify(
    run: RunPath,
    recompute: Annotated[
        int,
        typer.Option(
            min=0,
            help="Number of random records to compute again and compare with the stored ones; above 0 all image files "
            "are read and compared too.",
        ),
    ] = 0,
    stores: Annotated[
        Path | None,
        typer.Option(help="Folder of the stores; .stores next to the run (or its comparison) by default."),
    ] = None,
    weights: FrozenWeights = None,
) -> None:
    """Check the stores of a run: every record's checksum, and some records by recomputing. Exit code 3 if damaged.

    [bold]Examples[/bold]

      modicum verify runs/images-fpt

      modicum verify runs/images-fpt --recompute 16
    """
    from modicum.engine.inference.verification import verify_stores
    from modicum.engine.run_folder import RunFolder

    verification = verify_stores(RunFolder.open(run), recompute=recompute, stores=stores, weights=weights)
    for line in verification.lines:
        typer.echo(line)
    if verification.damaged:
        raise typer.Exit(3)
