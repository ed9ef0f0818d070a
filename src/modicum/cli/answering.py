"""Commands that ask a run for answers: predictions and evaluations."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from modicum.console.option_groups import Reading, reads_data
from modicum.console.options import (
    By,
    Data,
    Device,
    Drop,
    GroupTable,
    Quality,
    RunPath,
    Workers,
)
from modicum.errors import InputError

FrozenWeights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="Where the run's frozen backbone is now, if it has moved: a file or run:FOLDER; checked by its SHA-256.",
    ),
]
After = Annotated[
    str | None,
    typer.Option(
        help="Predict images from the outputs of another enhancer: run:FOLDER, or a folder of pictures."
    ),
]
AnswerSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="KEY=VALUE (repeatable): a setting of the method that only changes its answers, such as start=200 of led.",
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
Conformal = Annotated[
    float | None,
    typer.Option(
        help="Of classification: prediction sets that miss the true class on at most this share of images like the "
        "validation images, such as 0.1; in the column prediction_set."
    ),
]
ConformalScore = Annotated[
    str | None,
    typer.Option(
        help="Of these sets: aps (default; adaptive, never empty) or lac (smaller, less even over classes)."
    ),
]
Pseudonym = Annotated[str, typer.Option(help="Patient name and ID to write into DICOM files.")]


def _answers(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of ``--set`` of a command that has options of its own. Raises InputError where they are meant."""
    own = set(inspect.signature(predict).parameters) | {
        "images",
        "columns",
        "split_lists",
        "pairs",
        "image_folder",
    }
    for key in given:
        if key in own:
            raise InputError(
                f"--set {key}: '{key}' is a separate option", f"pass --{key.replace('_', '-')} instead"
            )
    return dict(given)


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
    after: After = None,
    settings_given: AnswerSettings = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Refuse images unlike those of the training (column unlike_training); exit code 3.",
        ),
    ] = False,
    conformal: Conformal = None,
    conformal_score: ConformalScore = None,
    pseudonym: Pseudonym = "predicted",
    quality: Quality = None,
    drop: Drop = None,
    weights: FrozenWeights = None,
    device: Device = None,
) -> None:
    """Predict images: writes a table with one row each, or images and a table; exit code 3 if some are broken or refused.

    A NIfTI file becomes a NIfTI file with the same geometry, a DICOM image a derived DICOM image, anything else
    PNG. Files of an earlier prediction are replaced. A table, or a folder with a table or of a known layout, means the
    images that it names, as for the other commands.

    [bold]Examples[/bold]

      modicum predict runs/images-linear new_images/ --out predictions.csv

      modicum predict runs/images-linear new_images/ --strict --conformal 0.1

      modicum predict runs/brains-reggan patient07_T1.nii.gz --out translated/

      modicum predict runs/brains-reggan series/ --native --tile 256 --overlap 0.25

      modicum predict runs/chest-prior new_images/ --prompts prompts.csv

      modicum predict runs/eyes-led photographs/ --after run:runs/eyes-cut --set start=200 --maps changes/

      modicum predict model.onnx new_images/ --out predictions.csv
    """
    from modicum.api import Run
    from modicum.engine.recipe.assignments import parse_assignments
    from modicum.wording import count_of

    settings = reading.settings
    if settings.pop("box_options", None) is not None:
        raise InputError("--box-options: predictions are made without boxes", "leave it out")
    if run.suffix in (".onnx", ".xml") and not run.is_dir():
        from modicum.cli.exported import predict_exported

        predict_exported(run, given, out, batch_size, split, settings, locals())
        return
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
        quality=quality,
        drop=drop or (),
        image_folder=settings.pop("images", None),
        prompts=prompts,
        scored_by=scored_by,
        after=after,
        strict=strict,
        conformal=conformal,
        conformal_score=conformal_score,
        **settings,
        **_answers(parse_assignments(settings_given or [])),
    )
    refused = f", {done.refused} refused" if strict else ""
    typer.echo(f"{count_of(done.predicted, 'image')} predicted, {done.broken} broken{refused}: {done.out}")
    if done.broken or done.refused:
        raise typer.Exit(3)


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
    after: After = None,
    judges: Annotated[
        list[str] | None,
        typer.Option(
            "--judge",
            help="Of predicted images: run:FOLDER (repeatable) of a run that segments or classifies, which is evaluated "
            "on images, outputs and targets.",
        ),
    ] = None,
    by: By = None,
    table: GroupTable = None,
    settings_given: AnswerSettings = None,
    conformal: Conformal = None,
    conformal_score: ConformalScore = None,
    weights: FrozenWeights = None,
    device: Device = None,
    workers: Workers = None,
) -> None:
    """Evaluate a run on labelled data: metrics with confidence intervals, added to the run and its report.

    [bold]Examples[/bold]

      modicum evaluate runs/images-linear other_hospital.csv --label grade

      modicum evaluate runs/images-linear other_hospital.csv --label grade --conformal 0.1

      modicum evaluate runs/images-linear other_hospital.csv --label grade --by sex --by age:40,60,80

      modicum evaluate runs/brains-reggan other_scanner.csv --target t2

      modicum evaluate runs/chest-prior labelled.csv --label finding --prompts prompts.csv

      modicum evaluate runs/eyes-led pairs.csv --judge run:runs/vessels --after run:runs/eyes-cut
    """
    from modicum.api import Run
    from modicum.console.summary import evaluation_summary, judge_summary
    from modicum.engine.recipe.assignments import parse_assignments

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
        after=after,
        judges=judges or (),
        conformal=conformal,
        conformal_score=conformal_score,
        answers=parse_assignments(settings_given or []),
        by=by or (),
        table=table,
        **reading.settings,
    )
    task = opened.recipe.task if prompts is None else "classification"
    for line in [*evaluation_summary(content, task), *judge_summary(content)]:
        typer.echo(line)
    typer.echo(f"report: {opened.folder.report}" if out is None else f"evaluation: {out}")
