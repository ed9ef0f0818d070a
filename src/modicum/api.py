"""The Python face of modicum: ``load``, ``fit`` and ``Run``. The command line calls the same functions."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modicum.data.image import ImageRef
from modicum.data.layouts import load_manifest
from modicum.data.manifest import Manifest
from modicum.engine.devices import chosen_device
from modicum.engine.evaluation import evaluate_rows
from modicum.engine.fit import fit_recipe
from modicum.engine.model import load_method
from modicum.engine.prediction import PredictionSummary, predict_images
from modicum.engine.preparation import PreparedData, read_manifest, store_settings, stored
from modicum.engine.recipe import Recipe, overridden, validated
from modicum.engine.run_folder import RunFolder, read_json, write_json
from modicum.errors import InputError
from modicum.methods import method_class

STORES = ".stores"
_TABLE_NAMES = {"labels", "manifest", "data", "dataset", "index", "train", "metadata", "images"}


def load(source: str | Path, **options: Any) -> Manifest:
    """Reads any supported data set as a :class:`~modicum.data.manifest.Manifest`.

    Args:
        source: a table (CSV, TSV, Parquet), a folder, a MONAI datalist (JSON) or an array file (NPZ).
        options: ``columns``, ``images``, ``split_lists``, ``allow_outside``, ``missing``; see
            :func:`modicum.data.layouts.load_manifest`.
    """
    return load_manifest(source, **options)


def fit(
    data: str | Path | None = None,
    method: str = "full",
    *,
    name: str | None = None,
    runs: str | Path = "runs",
    resume: bool = False,
    overwrite: bool = False,
    stores: str | Path | None = None,
    workers: int | None = None,
    **settings: Any,
) -> "Run":
    """Trains a method on a data set, evaluates it and writes the report.

    Args:
        data: what :func:`load` reads. May be left out to go on with a run (``resume`` and ``name``).
        method: ``modicum methods`` lists them.
        name: of the run folder below ``runs``; made of data and method by default.
        runs: folder of all runs.
        resume: go on with an unfinished run of the same settings; a new run where there is none.
        overwrite: delete a run folder of that name first.
        stores: folder of decoded images and features, shared by runs; ``runs/.stores`` by default.
        workers: processes that decode images; one a core by default.
        settings: any setting of the recipe by its name: ``backbone="resnet18"``, ``weights="random"``,
            ``image_size=512``, ``label="grade"``, ``epochs=10``, ``lr=1e-3``, ...

    Returns:
        The finished run.

    Raises:
        InputError: something given cannot be used; found before training wherever possible.
        ResourceError: out of memory or disk.
        InterruptedRunError: stopped; go on with ``resume=True``.
    """
    if data is None:
        if not (resume and name):
            raise InputError("no data given", "name a table or folder, or pass --resume with --name of a run")
        folder = RunFolder.open(Path(runs) / name)
        recipe = Recipe.read(folder.recipe)
    else:
        recipe = make_recipe(data, method, settings)
        folder = RunFolder(Path(runs) / (name or run_name(data, method)))
    if overwrite and not resume and folder.recipe.is_file():
        _remove(folder)
    if resume and folder.status.get("state") == "finished":
        return Run(folder)
    fit_recipe(
        recipe,
        folder,
        resume=resume,
        stores=Path(stores) if stores else folder.path.parent / STORES,
        workers=_decoders(workers),
        fingerprint=_fingerprint,
    )
    run = Run(folder)
    if folder.metrics.is_file():  # only the first process of a distributed run writes
        run.report()
    return run


def make_recipe(data: str | Path, method: str, settings: Mapping[str, Any]) -> Recipe:
    """The resolved recipe of a run: general defaults, the method's, then the user's settings.

    Raises:
        InputError: an unknown method, an unknown setting (with a suggestion) or a value out of range.
    """
    found = method_class(method)
    values: dict[str, Any] = {
        "method": method,
        "data": {"source": str(data)},
        "training": dict(found.training),
        "config": {},
    }
    chosen = {key: value for key, value in settings.items() if value is not None}
    columns = dict(chosen.pop("columns", {}))
    for role in ("label", "labels", "patient", "image", "split", "eye", "domain"):
        if role in chosen:
            columns[role] = chosen.pop(role)
    if columns:
        values["data"]["columns"] = columns
    for short, key in {"image_size": "image.size", "backbone": "backbone.name"}.items():
        if short in chosen:
            chosen[key] = chosen.pop(short)
    overridden(values, found.Config, chosen)
    recipe: Recipe = validated(Recipe, values, "recipe")
    config = validated(found.Config, recipe.config, f"method {method}")
    return recipe.model_copy(update={"config": config.model_dump(mode="json")})


def run_name(data: str | Path, method: str) -> str:
    """The name of a run that was given none: the data's and the method's."""
    path = Path(data)
    stem = path.name if path.is_dir() else path.stem
    if stem.lower() in _TABLE_NAMES or not stem:
        stem = path.resolve().parent.name if not path.is_dir() else path.resolve().name
    return f"{stem}-{method}".lower().replace(" ", "-")


class Run:
    """A run folder, and what can be done with the model in it."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """An existing run. Raises :class:`InputError` where there is none."""
        return cls(RunFolder.open(path))

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

    def predict(
        self,
        images: str | Path | Sequence[str | Path],
        out: str | Path = "predictions.csv",
        *,
        batch_size: int | None = None,
        device: str | None = None,
    ) -> PredictionSummary:
        """Predicts images, folders of images, or the images of a table, into a CSV or Parquet file.

        Raises:
            InputError: nothing to predict, or the run cannot be used. Broken images are rows with an ``error``.
        """
        recipe, task, method = load_method(self.folder)
        given = [images] if isinstance(images, str | Path) else list(images)
        names, refs = images_of(given)
        return predict_images(
            method.predictor(),
            task,
            refs,
            names,
            store_settings(recipe.image),
            Path(out),
            batch_size=batch_size or recipe.training.batch_size,
            precision=recipe.training.precision,
            device=chosen_device(device or recipe.device),
        )

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
        **settings: Any,
    ) -> dict[str, Any]:
        """Evaluates the model on labelled data; writes ``evaluations/<name>/`` and refreshes the report.

        Args:
            data: what :func:`load` reads. Column names default to those the run was trained with.
            split: rows to take; ``test`` by default where the data has one, else all.
            name: of the evaluation.
            device: where to compute.
            skip_broken: set broken images aside instead of stopping.
            workers: processes that decode images.
            stores: folder of decoded images.
            settings: ``columns``, ``images``, ``split_lists``, ``allow_outside`` where they differ from the run's.

        Returns:
            The content of the evaluation's ``metrics.json``.
        """
        recipe, task, method = load_method(self.folder)
        given = {key: value for key, value in settings.items() if value is not None}
        update = {
            "source": str(data),
            "skip_broken": skip_broken,
            "images": None,
            "split_lists": None,
            **given,
        }
        manifest = read_manifest(recipe.data.model_copy(update=update))
        manifest, split = _rows_to_evaluate(manifest, split)
        title = name or (f"{manifest.name}-{split}" if split else manifest.name)
        place = self.folder.evaluation(title)
        manifest, store, positions = stored(
            manifest,
            recipe.image,
            Path(stores) if stores else self.path.parent / STORES,
            _decoders(workers),
            skip_broken,
            place / "broken.csv",
        )
        with self.folder.locked():
            content = evaluate_rows(
                method.predictor(),
                task,
                recipe,
                manifest,
                store,
                positions,
                _all_rows(manifest),
                chosen_device(device or recipe.device),
                place,
                manifest.name,
                split,
            )
            overall = self.metrics
            overall["evaluations"][title] = content
            write_json(self.folder.metrics, overall)
        self.report()
        return content

    def report(self) -> Path:
        """Writes ``report.html``, one self-contained page, and returns its path."""
        from modicum.report import build

        return build(self.path)


def images_of(given: Iterable[str | Path]) -> tuple[list[str], list[ImageRef]]:
    """Images, folders of images, and tables of images, as names for a table and references.

    Raises:
        InputError: a path does not exist, or there is no image at all.
    """
    from modicum.data.readers import list_images

    names: list[str] = []
    refs: list[ImageRef] = []
    for item in given:
        path = Path(item)
        if path.is_dir():
            found = list_images(path)
            names += [image.relative_to(path).as_posix() for image in found]
            refs += [ImageRef.parse(str(image), None) for image in found]
        elif path.suffix.lower() in {".csv", ".tsv", ".parquet", ".json"} and path.is_file():
            manifest = load_manifest(path, missing="keep", unlabelled="keep")
            names += [str(name) for name in manifest.table["image"]]
            refs += manifest.refs()
        else:
            ref = ImageRef.parse(str(item), None)
            if not ref.path.exists():
                raise InputError(f"image '{item}' does not exist", "check the path")
            names.append(str(item))
            refs.append(ref)
    if not refs:
        raise InputError("no images found", "name image files, a folder of them, or a table")
    return names, refs


def _rows_to_evaluate(manifest: Manifest, split: str | None) -> tuple[Manifest, str | None]:
    splits = set(manifest.table["split"].dropna()) if "split" in manifest.table else set()
    if split in {"all", ""} or (split is None and "test" not in splits):
        return manifest, None
    split = split or "test"
    if split not in splits:
        there = ", ".join(sorted(splits)) or "none"
        raise InputError(
            f"{manifest.source}: there is no split '{split}'", f"splits: {there}; or pass --split all"
        )
    return manifest.subset((manifest.table["split"] == split).to_numpy()), split


def _all_rows(manifest: Manifest) -> Any:
    import numpy as np

    return np.arange(len(manifest))


def _decoders(workers: int | None) -> int:
    import os

    return (os.cpu_count() or 1) if workers is None else workers


def _remove(folder: RunFolder) -> None:
    with folder.locked():
        pass  # raises where another process is using it
    shutil.rmtree(folder.path)


def _fingerprint(prepared: PreparedData) -> dict[str, Any]:
    from modicum.data.scan import ScanResult
    from modicum.planning.fingerprint import fingerprint

    facts = [prepared.store.facts[position] for position in prepared.positions]
    return fingerprint(prepared.manifest, ScanResult(facts, list(prepared.store.broken)))
