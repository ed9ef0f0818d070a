"""Commands that use a run."""

from pathlib import Path
from typing import Annotated

import typer

from modicum.cli.answering import FrozenWeights, Pseudonym
from modicum.console.options import Device, RunPath, Workers, settings_from_assignments


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


def export(
    run: RunPath,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File; export.safetensors, export.onnx or export.xml in the run folder by default.",
        ),
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            help="safetensors: weights for modicum and timm; onnx or openvino: the predictor as a graph, compared with "
            "PyTorch on ten images before it is written (pip install 'modicum[export]')."
        ),
    ] = "safetensors",
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Of onnx: weights in 8 bits; what they cost on validation images is said."
        ),
    ] = False,
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

      modicum export runs/images-lora --to onnx --out model.onnx

      modicum export runs/images-lora --to openvino

      modicum export runs/images-lora --to onnx --int8
    """
    from modicum.api import Run

    opened = Run.open(run, weights)
    typer.echo(str(opened.export(out, form=form, part=part, to=to, int8=int8)))  # type: ignore[arg-type]


def ensemble(
    runs: Annotated[list[Path], typer.Argument(help="Two or more run folders of the same task and classes.")],
    name: Annotated[str, typer.Option("--name", "-n", help="Name of the new run.")],
    folder: Annotated[
        Path | None, typer.Option("--runs", help="Folder of all runs; the first run's by default.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete a run of that name first.")] = False,
    device: Device = None,
    workers: Workers = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the ensemble alone, such as fusion_overlap=0.6 of boxes."),
    ] = None,
) -> None:
    """Join several runs into one whose prediction is their mean; it is used like any other run.

    Severity scores, probabilities and pictures are averaged before anything is decided by them, anomaly scores in
    standard deviations of normal validation images; boxes are fused. All runs must have the same classes, settings of
    images and split.

    [bold]Example[/bold]

      modicum ensemble runs/eyes-seed0 runs/eyes-seed1 runs/eyes-seed2 --name eyes-three
    """
    from modicum.api import ensemble as join
    from modicum.console.summary import run_summary

    settings = settings_from_assignments(set_, {})
    made = join(
        runs, name=name, folder=folder, overwrite=overwrite, device=device, workers=workers, **settings
    )
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
    from modicum.engine.run_folder import RunFolder, is_chain

    if is_chain(run):
        from modicum.console.plans import verification_of_chain

        verification = verification_of_chain(run, recompute, stores, weights)
    else:
        verification = verify_stores(RunFolder.open(run), recompute=recompute, stores=stores, weights=weights)
    for line in verification.lines:
        typer.echo(line)
    if verification.damaged:
        raise typer.Exit(3)
