"""A run folder, and what can be done with the model in it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from modicum.data.layouts.columns import split_of
from modicum.data.layouts.given_images import images_with_facts
from modicum.data.manifest import OTHER_SPLIT, SPLITS, Manifest
from modicum.data.processes import usable_cores
from modicum.engine.devices import chosen_device
from modicum.engine.inference.alignment import Alignment, align
from modicum.engine.inference.dense_jobs import planned, without_own_output
from modicum.engine.inference.dense_output import PSEUDONYM, DenseOutput
from modicum.engine.inference.evaluation import dense_predictor, evaluate_rows
from modicum.engine.inference.export import Form, export_run
from modicum.engine.inference.prediction import PredictionSummary, TablePredictor
from modicum.engine.inputs.auxiliary_images import with_auxiliary_images
from modicum.engine.inputs.preparation import PreparedData, read_manifest, store_settings, stored
from modicum.engine.known_rows import rows_of
from modicum.engine.model import load_method, pack_run
from modicum.engine.recipe.new_recipe import plain_name
from modicum.engine.recipe.settings import DataSettings, Recipe
from modicum.engine.run_folder import RunFolder, read_json, write_json
from modicum.engine.scoring import decide_fn, decided
from modicum.errors import InputError
from modicum.methods import Method
from modicum.progress import say
from modicum.tasks import DenseTask, ImageLevelTask, Task


class Run:
    """A run folder, and what can be done with the model in it.

    Args:
        folder: of the run.
        weights: where those of the frozen backbone are now, if they are not found where they were: a file, or
            ``run:FOLDER``. They are checked by their SHA-256.
    """

    def __init__(self, folder: RunFolder, weights: str | Path | None = None) -> None:
        self.folder = folder
        self.weights = None if weights is None else str(weights)

    def __repr__(self) -> str:
        return f"Run('{self.path}', {self.folder.status.get('state', 'empty')})"

    @classmethod
    def open(cls, path: str | Path, weights: str | Path | None = None) -> "Run":
        """An existing run; ``weights`` as for the class. Raises :class:`InputError` where there is none."""
        return cls(RunFolder.open(path), weights)

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def recipe(self) -> Recipe:
        """The resolved settings."""
        return Recipe.read(self.folder.recipe)

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of ``metrics.json``; see ``docs/run-folder.md``."""
        if not self.folder.metrics.is_file():
            raise InputError(f"run '{self.folder.name}' has no metrics yet", "finish it with --resume")
        return read_json(self.folder.metrics)

    def method(self) -> Method:
        """The method with what the run has learned, for code of one's own: its ``predictor()`` maps images
        ``[b, c, h, w]`` in ``[0, 1]`` to outputs, its ``stages()`` are there to be trained further.

        Raises:
            InputError: the run has not finished, or its files are damaged.
        """
        return load_method(self.folder)[2]

    def predict(
        self,
        images: str | Path | Sequence[str | Path],
        out: str | Path | None = None,
        *,
        batch_size: int | None = None,
        device: str | None = None,
        columns: Mapping[str, str] | None = None,
        allow_outside: bool = False,
        native: bool = False,
        tile: int | None = None,
        overlap: float = 0.25,
        pseudonym: str = PSEUDONYM,
        maps: str | Path | None = None,
    ) -> PredictionSummary:
        """Predicts images, folders of images, or the images of a data set.

        Numbers go into a CSV or Parquet file, a row an image; pictures (translations, masks) into a folder, beside a
        table: see :mod:`modicum.engine.inference.dense_output` for what becomes of which format.

        Args:
            images: files, folders, tables, data lists or array files; one or several.
            out: where the predictions go: a file (``predictions.csv``), or the folder of pictures (``predictions``).
                What is there by the same name is replaced.
            batch_size: images in one forward pass; that of the training by default.
            device: where to compute.
            columns: of a table: ``{"image": "file"}`` names the column with the paths; ``patient`` and ``eye`` reach
                methods that decide over several images.
            allow_outside: of a table: accept paths that leave its folder.
            native: of pictures: predict at the size of each file instead of the size in training, in tiles.
            tile: side of the tiles in pixels; that of the training by default.
            overlap: of neighbouring tiles, as a share of their side, from 0 to below 1.
            pseudonym: stands for the patient in DICOM files.
            maps: folder for the maps that the method makes of each image, where it makes some.

        Raises:
            InputError: nothing to predict, or the run cannot be used. Broken images are rows with an ``error``.
        """
        given = [images] if isinstance(images, str | Path) else list(images)
        names, refs, facts = images_with_facts(given, columns=columns, allow_outside=allow_outside)
        recipe, task, method = load_method(self.folder, self.weights)
        self._check_predicts(task)
        batch_size = batch_size or recipe.training.batch_size
        chosen = chosen_device(device or recipe.device)
        if isinstance(task, DenseTask):
            place = Path(out or "predictions")
            if maps is not None:
                raise InputError(
                    f"--maps with predictions that are pictures ({task.name})", "leave --maps out"
                )
            if place.suffix.lower() in {".csv", ".parquet"} or place.is_file():
                raise InputError(
                    f"--out '{place}' is a file, and predictions of task '{task.name}' are pictures",
                    "name a folder",
                )
            names, refs = without_own_output(given, names, refs, place)
            predictor = replace(
                dense_predictor(method.predictor(), task, recipe, chosen, method.tile()),
                batch_size=batch_size,
                native=native,
                tile=_tile(tile, native, recipe.image.size, method.tile()),
                overlap=_share(overlap),
            )
            output = DenseOutput(predictor, place, f"{self.folder.name} ({recipe.method})", pseudonym)
            return output.write(planned(given, names, refs))
        if native or tile is not None:
            raise InputError(
                f"--native and --tile are for pictures, not for task '{task.name}'", "leave them out"
            )
        assert isinstance(task, ImageLevelTask)
        table_predictor = TablePredictor(
            method.predictor(),
            task,
            store_settings(recipe.image, recipe.task, recipe.options),
            batch_size,
            recipe.training.precision,
            chosen,
            recipe.seed,
            partial(decided, method) if method.decides_over == "set" else None,
            None if maps is None else Path(maps),
        )
        return table_predictor.write(refs, rows_of(names, facts), Path(out or "predictions.csv"))

    def align(
        self,
        image: str | Path,
        target: str | Path,
        out: str | Path,
        *,
        field: str | Path | None = None,
        device: str | None = None,
        pseudonym: str = PSEUDONYM,
    ) -> Alignment:
        """Brings an image onto a picture of the other modality, by what the run has learned of registration.

        Args:
            image: what is moved: an image, a NIfTI volume (slice by slice), or the folder of a DICOM series.
            target: of the same kind and size.
            out: the moved image: PNG, NIfTI or DICOM as the image, a folder for a series.
            field: the displacements: NIfTI or NPZ, see :mod:`modicum.engine.inference.displacement_files`;
                beside ``out`` by default.
            device: where to compute.
            pseudonym: stands for the patient in DICOM files.

        Raises:
            InputError: the run has no registration, or the two do not fit each other.
            BrokenImageError: one of them cannot be read.
        """
        recipe, task, method = load_method(self.folder, self.weights)
        if not isinstance(task, DenseTask):
            raise InputError(
                f"task '{task.name}' has no registration", "align with a run that translates images"
            )
        predictor = dense_predictor(method.predictor(), task, recipe, chosen_device(device or recipe.device))
        predictor.network.to(predictor.device).eval()
        return align(
            predictor,
            image,
            target,
            Path(out),
            None if field is None else Path(field),
            made_by=f"{self.folder.name} ({recipe.method})",
            pseudonym=pseudonym,
        )

    def export(self, out: str | Path | None = None, *, form: Form = "auto", part: str | None = None) -> Path:
        """Writes what was learned as a file of weights with a card beside it; :func:`modicum.load_exported` opens it.

        Args:
            out: the file, ``.safetensors``; ``export.safetensors`` in the run folder by default.
            form: ``predictor``: all tensors of the network that predicts, frozen backbone included; ``merged``: the same
                as one plain timm network, for methods that allow it; ``auto``: merged where that is possible.
            part: a network that the method offers besides its predictor, for instance ``registration``.

        Raises:
            InputError: the run cannot be exported so.
        """
        to = None if out is None else Path(out)
        return export_run(self.folder, to, form=form, part=part, weights=self.weights)

    def pack(self) -> Path | None:
        """Puts the frozen backbone's weights into the run folder, so that it can be copied anywhere.

        Returns:
            The file; None where the run holds all of its weights anyway.

        Raises:
            InputError: the run has not finished, or the weights are not found.
        """
        return pack_run(self.folder, self.weights)

    def evaluate(
        self,
        data: str | Path,
        *,
        split: str | None = None,
        name: str | None = None,
        device: str | None = None,
        skip_broken: bool = False,
        workers: int | None = None,
        stores: str | Path | None = None,
        write_report: bool = True,
        **settings: Any,
    ) -> dict[str, Any]:
        """Evaluates the model on labelled data; writes ``evaluations/<name>/`` and refreshes the report.

        Args:
            data: what :func:`load` reads. Column names default to those the run was trained with.
            split: rows to take; ``test`` by default where the data has one, else all.
            name: of the evaluation; made of the data's name and the split by default.
            device: where to compute.
            skip_broken: set broken images aside instead of stopping.
            workers: processes that decode images.
            stores: folder of decoded images.
            write_report: whether to refresh ``report.html``.
            settings: ``columns``, ``pairs``, ``images``, ``split_lists``, ``allow_outside`` where they differ from the
                run's.

        Returns:
            The content of the evaluation's ``metrics.json``.
        """
        recipe, task, method = load_method(self.folder, self.weights)
        self._check_predicts(task)
        given = {key: value for key, value in settings.items() if value is not None}
        cores = usable_cores() if workers is None else workers
        recipe = recipe.model_copy(update={"data": _reading(recipe.data, data, skip_broken, given)})
        manifest = read_manifest(recipe.data, recipe.task)
        manifest, split = _rows_to_evaluate(manifest, split)
        title = _evaluation_name(name, manifest.name, split)
        place = self.folder.evaluation(title)
        kept, broken_csv = Path(stores) if stores else self.folder.stores, place / "broken.csv"
        manifest, store, positions = stored(
            manifest,
            store_settings(recipe.image, recipe.task, recipe.options),
            kept,
            cores,
            skip_broken,
            broken_csv,
        )
        if isinstance(task, DenseTask):  # what is compared with is checked as it is before a training
            prepared = PreparedData(manifest, store, positions, [])
            prepared = with_auxiliary_images(prepared, task, recipe, kept, cores, broken_csv)
            manifest, store, positions = prepared.manifest, prepared.store, prepared.positions
        with self.folder.locked():
            content = evaluate_rows(
                method.predictor(),
                task,
                recipe,
                manifest,
                store,
                positions,
                np.arange(len(manifest)),
                chosen_device(device or recipe.device),
                place,
                manifest.name,
                split,
                tile=method.tile(),
                decide=decide_fn(method, manifest),
            )
            content["seen"] = self._seen(store.facts[position].sha256 for position in positions)
            write_json(place / "metrics.json", content)
            overall = self.metrics
            overall["evaluations"][title] = content
            write_json(self.folder.metrics, overall)
        if seen := sum(content["seen"].values()):
            say(
                f"these scores are optimistic: {seen} of {content['images']} images were in the training data; "
                "evaluate images that the run has not seen"
            )
        if write_report:
            self.report()
        return content

    def _check_predicts(self, task: Task) -> None:
        if not isinstance(task, DenseTask | ImageLevelTask):
            raise InputError(
                f"run '{self.folder.name}' has learned an encoder, which predicts nothing by itself",
                f"learn from it: modicum fit DATA --backbone run:{self.path}",
            )

    def _seen(self, digests: Iterable[str]) -> dict[str, int]:
        """How many of these images the run learned from (``train``) or chose its weights by (``val``)."""
        table = Manifest.read_saved(self.folder.manifest, Path()).table
        if "sha256" not in table:  # a run of an older version
            return {}
        used = table[table["split"].isin(["train", "val"])]
        split_of = dict(zip(used["sha256"], used["split"], strict=True))
        return dict(Counter(split_of[digest] for digest in digests if digest in split_of))

    def report(self) -> Path:
        """Writes ``report.html``, one self-contained page, and returns its path."""
        from modicum.report import build

        return build(self.path)


def _reading(
    own: DataSettings, data: str | Path, skip_broken: bool, given: Mapping[str, Any]
) -> DataSettings:
    """How other data are read: as the run's own where nothing else is said and it applies."""
    # Boxes are learned from, and nothing is measured by them; a file of them would not know other images.
    columns = {role: column for role, column in own.columns.items() if role != "boxes"}
    changed = {"source": str(data), "skip_broken": skip_broken, "images": None, "split_lists": None}
    changed |= {"columns": columns, **given}
    if not Path(data).is_dir():
        changed.setdefault("pairs", None)  # a table names both itself
    elif changed.get("pairs", own.pairs) is not None:
        changed["columns"] = given.get("columns", {})
    return own.model_copy(update=changed)


def _tile(
    tile: int | None, native: bool, trained: tuple[int, int], own: tuple[int, int] | None
) -> tuple[int, int] | None:
    """Height and width of tiles: as given; else the method's own; at the files' own size, as in training."""
    if tile is None:
        return own or (trained if native else None)
    if tile < 16:
        raise InputError(f"--tile is {tile}", "give a side in pixels from 16 on")
    return tile, tile


def _share(overlap: float) -> float:
    if not 0 <= overlap < 1:
        raise InputError(
            f"--overlap is {overlap:g}", "give a share of the tile from 0 to below 1, such as 0.25"
        )
    return overlap


def _evaluation_name(asked: str | None, data: str, split: str | None) -> str:
    """The folder of an evaluation; never that of one that the training made."""
    if asked in SPLITS:
        raise InputError(
            f"evaluation name '{asked}' is the training's own",
            f"choose another --name, such as {data}-{asked}",
        )
    name = asked or (f"{data}-{split}" if split else data)
    return plain_name(f"data-{name}" if name in SPLITS or not name else name)


def _rows_to_evaluate(manifest: Manifest, split: str | None) -> tuple[Manifest, str | None]:
    table = manifest.table
    # Words that are none of the known splits can be asked for by name.
    columns = [name for name in ("split", OTHER_SPLIT) if name in table]
    splits = {word for name in columns for word in table[name].dropna()}
    if split in {"all", ""} or (split is None and "test" not in splits):
        return manifest, None
    split = split or "test"
    if split not in splits:
        split = split_of(split) or split
    if split not in splits:
        there = ", ".join(sorted(splits)) or "none"
        raise InputError(
            f"{manifest.source}: there is no split '{split}'", f"splits: {there}; or pass --split all"
        )
    return manifest.subset((table[columns] == split).any(axis=1).to_numpy(dtype=bool)), split
