"""Predicts images with the model of a run: numbers into a table, pictures into a folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from modicum.data.image import ImageRef
from modicum.data.layouts.given_images import FACTS, FIELD, GivenImages, GivenReading, given_images
from modicum.engine.devices import chosen_device
from modicum.engine.inference.behind import earlier_outputs
from modicum.engine.inference.box_files import check_box_file
from modicum.engine.inference.box_prediction import BoxPredictor
from modicum.engine.inference.dense_jobs import as_picture, planned, without_own_output
from modicum.engine.inference.dense_maps import DenseMaps
from modicum.engine.inference.dense_output import PSEUDONYM, DenseOutput
from modicum.engine.inference.evaluation import dense_predictor
from modicum.engine.inference.fields_of_view import FIELDS, fields_of_run
from modicum.engine.inference.guards import ImageGuard, guard_of_run
from modicum.engine.inference.image_text import ImageTextRun
from modicum.engine.inference.predicted_images import check_not_over_images, good_enough, without_earlier_maps
from modicum.engine.inference.prediction import PredictionSummary, TablePredictor
from modicum.engine.inference.prediction_sets import check_asked_sets, sets_of_run
from modicum.engine.inference.predictor_calls import map_names_of
from modicum.engine.inference.table_predictor import table_predictor
from modicum.engine.inference.zero_shot import prompt_classifier, prompted_task
from modicum.engine.inputs.preparation import store_settings
from modicum.engine.known_rows import rows_of
from modicum.engine.model import finished_model, load_method
from modicum.engine.recipe.settings import DataSettings, Recipe
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError
from modicum.methods import Method
from modicum.methods.predictor import TilesItself
from modicum.output_paths import check_output
from modicum.progress import say
from modicum.tasks import BoxListTask, DenseTask, ImageLevelTask, Task, task_class
from modicum.tasks.classification.conformal import sets_note
from modicum.wording import count_of


@dataclass(frozen=True)
class PredictionSettings:
    """How images are predicted; see :meth:`modicum.run.Run.predict` for what each means."""

    batch_size: int | None = None
    device: str | None = None
    native: bool = False
    tile: int | None = None
    overlap: float = 0.25
    pseudonym: str = PSEUDONYM
    maps: Path | None = None
    probabilities: bool = False
    prompts: Mapping[str, Sequence[str]] | None = None
    scored_by: str | None = None
    quality: str | None = None
    drop: tuple[str, ...] = ()
    after: str | None = None
    answers: Mapping[str, Any] = field(default_factory=dict)
    prompt_file: Path | None = None
    """Where the prompts were read, if in a file."""
    as_png: bool = False
    """Of single DICOM images: pictures are written as PNG, not as derived DICOM images."""
    strict: bool = False
    """Whether images unlike those of the training get no answer."""
    conformal: float | None = None
    """Share of images whose prediction set may miss the true class; None for no sets."""
    conformal_score: str | None = None


def predict_run(
    folder: RunFolder,
    weights: str | None,
    given: Sequence[str | Path],
    out: Path | None,
    settings: PredictionSettings,
    reading: GivenReading = GivenReading(),  # noqa: B008 - a value
    loaded: tuple[Recipe, Task, Method] | None = None,
) -> PredictionSummary:
    """Predicts images, folders of images, or the images of a data set; see :meth:`modicum.run.Run.predict`.

    Args:
        folder: of the run.
        weights: where those of the frozen backbone are, see :func:`~modicum.engine.model.load_method`.
        given: what to predict.
        out: where predictions go.
        settings: how.
        reading: how data sets are read.
        loaded: what ``load_method`` gives of the run, where it is in memory already.

    Raises:
        InputError: nothing to predict, predictions would go over what was read, or the run cannot be used. Broken
            images are rows with an ``error``.
    """
    recipe = Recipe.read(folder.recipe) if loaded is None else loaded[0]
    dense = issubclass(task_class(recipe.task), DenseTask)
    place = out or Path("predictions" if dense else "predictions.csv")
    check_settings(recipe, dense, place, settings)
    images = given_images(given, _as_the_run_reads(reading, recipe.data))
    for note in images.notes:
        say(note)
    images = without_earlier_maps(images, given, settings.maps)
    read = [
        *images.tables,
        *folder.files(),
        *([] if settings.prompt_file is None else [settings.prompt_file]),
    ]
    if not dense:
        check_output("--out", place, read)
    images = good_enough(images, place, settings.quality, settings.drop, settings.device, read)
    guard = guard_of_run(folder, settings.strict)
    if guard is None and settings.strict:
        raise InputError(
            f"--strict: run '{folder.name}' does not say what its training images looked like",
            "fit it again with this version, or leave --strict out",
        )
    summary = _predicted(folder, weights, given, images, place, settings, guard, loaded)
    if guard is not None and (note := guard.note()):
        say(note)
    return summary


def _predicted(
    folder: RunFolder,
    weights: str | None,
    given: Sequence[str | Path],
    images: GivenImages,
    place: Path,
    settings: PredictionSettings,
    guard: ImageGuard | None,
    loaded: tuple[Recipe, Task, Method] | None,
) -> PredictionSummary:
    """Predicts the images that were found, as the run's task asks."""
    if settings.prompts is not None:
        prompted = replace(_prompted(folder, weights, settings.prompts, settings), guard=guard)
        return prompted.write(images.refs, rows_of(images.names, images.facts), place)
    recipe, task, method = loaded or load_method(folder, weights, settings.answers)
    check_predicts(folder, task)
    if method.caution:
        say(f"caution: {method.caution}")
    if isinstance(task, DenseTask):
        output = _dense_output(folder, recipe, task, method, place, settings)
        output.predictor = replace(output.predictor, guard=guard)
        return _predict_dense(output, finished_model(folder), given, images, settings)
    if isinstance(task, BoxListTask):
        if settings.maps is not None:
            raise InputError(f"--maps with predictions that are boxes ({task.name})", "leave --maps out")
        predictor = replace(_box_predictor(recipe, task, method, settings), guard=guard)
        return predictor.write(images.refs, images.names, place)
    assert isinstance(task, ImageLevelTask)
    table = table_predictor(recipe, task, method, settings.batch_size, settings.device, settings.maps)
    sets = None
    if settings.conformal is not None:
        sets = sets_of_run(folder, task, settings.conformal, settings.conformal_score)
        say(sets_note(sets))
    table = replace(table, guard=guard, sets=sets)
    return table.write(images.refs, rows_of(images.names, images.facts), place)


def _predict_dense(
    output: DenseOutput,
    model: Mapping[str, Any],
    given: Sequence[str | Path],
    images: GivenImages,
    settings: PredictionSettings,
) -> PredictionSummary:
    """Writes pictures, from the images or from what another run makes of them, and tells what to know of them."""
    task, place = output.predictor.task, output.out
    files = zip(images.refs, images.facts[FIELD], strict=True)
    fields = {ref: file for ref, file in files if isinstance(file, ImageRef)}
    output.predictor = replace(output.predictor, regions=fields_of_run(model, fields, task))
    names, refs = without_own_output(given, images.names, images.refs, place)
    jobs = planned(given, names, refs)
    if settings.as_png:
        jobs = [as_picture(job) for job in jobs]
    files_written = [file for job in jobs for file in output.files(job)]
    check_not_over_images(place, files_written, images)
    with TemporaryDirectory(prefix="modicum-") as temporary:
        if settings.after is not None:
            if (volume := next((job for job in jobs if job.whole), None)) is not None:
                raise InputError(f"--after: '{volume.name}' is a volume", "give its slices one by one")
            earlier = earlier_outputs(
                settings.after,
                task,
                [job.name for job in jobs],
                [job.refs[0] for job in jobs],
                output.predictor.device,
                Path(temporary),
            )
            check_not_over_images(place, files_written, images, list(earlier.files.values()))
            output.predictor = replace(output.predictor, earlier=earlier)
        summary = output.write(jobs)
    if unlike := output.predictor.unlike[0]:
        say(f"{count_of(unlike, 'image')} unlike all that the run learned from: look at them before use")
    regions = output.predictor.regions
    if regions is not None and (note := regions.note(FIELDS in model or task.finds_region)):
        say(note)
    return summary


def check_settings(recipe: Recipe, dense: bool, place: Path, settings: PredictionSettings) -> None:
    """What can be said before the images are listed and the networks are loaded."""
    task = recipe.task
    if settings.conformal is not None and settings.prompts is not None:
        raise InputError(
            "--conformal with --prompts: no validation image was answered by these prompts", "leave one out"
        )
    check_asked_sets(task, settings.conformal, settings.conformal_score)
    if not dense and (settings.native or settings.tile is not None):
        raise InputError(f"--native and --tile are for pictures, not for task '{task}'", "leave them out")
    if not dense and settings.probabilities:
        raise InputError(
            f"--probabilities is for masks; those of task '{task}' are in the table", "leave it out"
        )
    if issubclass(task_class(task), BoxListTask):
        check_box_file(place)
    elif not dense:
        _check_table(place)
    if dense and settings.maps is not None and output_kind(task) != "image":
        raise InputError(f"--maps with predictions that are pictures ({task})", "leave --maps out")
    if settings.after is not None and output_kind(task) != "image":
        raise InputError(f"--after is for runs that make images, not for task '{task}'", "leave it out")
    if dense and (place.suffix.lower() in {".csv", ".parquet"} or place.is_file()):
        raise InputError(
            f"--out '{place}' is a file, and predictions of task '{task}' are pictures", "name a folder"
        )
    check_output("--out", place, folder=dense)
    if settings.drop and settings.quality is None:
        raise InputError("--drop without --quality", "name the run that grades quality: --quality run:FOLDER")
    if settings.maps is not None:
        check_output("--maps", settings.maps, folder=True)
    if settings.tile is not None and settings.tile < 16:
        raise InputError(f"--tile is {settings.tile}", "give a side in pixels from 16 on")
    if not 0 <= settings.overlap < 1:
        raise InputError(
            f"--overlap is {settings.overlap:g}", "give a share of the tile from 0 to below 1, such as 0.25"
        )
    if settings.batch_size is not None and settings.batch_size < 1:
        raise InputError(f"--batch-size is {settings.batch_size}", "give a number of images from 1 on")
    chosen_device(settings.device or recipe.device)


def output_kind(task: str) -> str | None:
    """What files of a dense task hold; None for other tasks."""
    found = task_class(task)
    return found.output_kind if issubclass(found, DenseTask) else None


def _check_table(place: Path) -> None:
    if place.suffix.lower() not in {".csv", ".parquet"}:
        raise InputError(f"--out '{place}' has an unknown suffix", "end it with .csv or .parquet")
    if not place.parent.is_dir():
        raise InputError(f"--out '{place}': folder '{place.parent}' does not exist", "make it first")


def _as_the_run_reads(reading: GivenReading, data: DataSettings) -> GivenReading:
    """Names of columns and of pairs as in the training, where the data have them and nothing else is asked for."""
    columns = {role: name for role, name in data.columns.items() if role in ("image", FIELD, *FACTS)}
    return replace(
        reading,
        usual_columns=columns,
        usual_pairs=data.pairs,
        align_geometry=reading.align_geometry or data.align_geometry,
    )


def _prompted(
    folder: RunFolder,
    weights: str | None,
    prompts: Mapping[str, Sequence[str]],
    settings: PredictionSettings,
) -> TablePredictor:
    """Predicts the classes of prompts."""
    if settings.maps is not None:
        raise InputError(
            "--maps with --prompts", "leave one out; modicum retrieve shows what a sentence reads"
        )
    run = ImageTextRun.open(folder, weights, settings.device, settings.batch_size)
    task = prompted_task(prompts)
    return TablePredictor(
        prompt_classifier(run, prompts, task.classes, settings.scored_by),
        task,
        run.settings,
        run.batch_size,
        run.recipe.training.precision,
        run.device,
        run.recipe.seed,
    )


def check_predicts(folder: RunFolder, task: Task) -> None:
    """Raises InputError where a run has learned an encoder only."""
    if not isinstance(task, DenseTask | ImageLevelTask | BoxListTask):
        raise InputError(
            f"run '{folder.name}' has learned an encoder, which predicts nothing by itself",
            f"learn from it: modicum fit DATA --backbone run:{folder.path}"
            + ("; or say what to look for: --prompts FILE" if task.scored_in_pairs else ""),
        )


def _box_predictor(
    recipe: Recipe, task: BoxListTask, method: Method, settings: PredictionSettings
) -> BoxPredictor:
    return BoxPredictor(
        method.predictor(),
        task,
        store_settings(recipe.image, recipe.task, recipe.options),
        settings.batch_size or recipe.training.batch_size,
        recipe.training.precision,
        chosen_device(settings.device or recipe.device),
        recipe.seed,
    )


def _dense_output(
    folder: RunFolder,
    recipe: Recipe,
    task: DenseTask,
    method: Method,
    place: Path,
    settings: PredictionSettings,
) -> DenseOutput:
    device = chosen_device(settings.device or recipe.device)
    network = method.predictor() if settings.after is None else method.predictor_behind()
    tile = _tile(settings.tile, settings.native, recipe.image.size, method.tile())
    if tile is not None and isinstance(network, TilesItself):
        overlap = int(settings.overlap * tile[0]), int(settings.overlap * tile[1])
        network, tile = network.with_tiles(tile, overlap), None
    predictor = replace(
        dense_predictor(network, task, recipe, device, method.tile()),
        batch_size=settings.batch_size or recipe.training.batch_size,
        native=settings.native,
        tile=tile,
        overlap=settings.overlap,
        with_maps=settings.maps is not None,
    )
    made_by = f"{folder.name} ({recipe.method})"
    maps = None
    if settings.maps is not None:
        maps = DenseMaps(settings.maps, map_names_of(network), predictor.settings)
    return DenseOutput(
        predictor,
        place,
        made_by,
        settings.pseudonym,
        settings.probabilities,
        {} if settings.after is None else {"after": settings.after},
        maps,
        method.caution,
    )


def _tile(
    tile: int | None, native: bool, trained: tuple[int, int], own_tile: tuple[int, int] | None
) -> tuple[int, int] | None:
    """Height and width of tiles: as given; else the method's own; at the files' own size, as in training."""
    if tile is None:
        return own_tile or (trained if native else None)
    return tile, tile
