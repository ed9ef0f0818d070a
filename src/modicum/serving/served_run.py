"""A finished run in memory, which predicts uploads as ``modicum predict`` does."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from modicum.engine.devices import chosen_device
from modicum.engine.inference.dense_output import TABLE
from modicum.engine.inference.predict_run import PredictionSettings, check_predicts, predict_run
from modicum.engine.model import load_method
from modicum.engine.run_folder import RunFolder
from modicum.serving.answers import Cell, ImageAnswer, Wanted
from modicum.serving.pictures import Explainer, dense_pictures, map_files, preview_of
from modicum.serving.uploads import Upload, broken_line
from modicum.tasks import BoxListTask, DenseTask

FORMATS = ("PNG", "JPEG", "TIFF", "DICOM", "NIfTI")
SINGLE = ("png", "jpeg", "tiff")
"""Formats whose files say nothing of each other: of DICOM images, those of a series become one object."""


class ServedRun:
    """A run that answers.

    Args:
        path: the run folder.
        device: where to compute; that of the training by default.
        batch_size: images in one forward pass; that of the training by default.

    Raises:
        InputError: the run has not finished, is damaged, or predicts nothing by itself.
    """

    def __init__(self, path: Path, device: str | None = None, batch_size: int | None = None) -> None:
        self.folder = RunFolder.open(path)
        self.name = str(self.folder.name)
        self._loaded = load_method(self.folder)
        self.recipe, self.task, self.method = self._loaded
        check_predicts(self.folder, self.task)
        self.dense = isinstance(self.task, DenseTask)
        self.decides_together = self.method.decides_over == "set"
        self._device = str(chosen_device(device or self.recipe.device))
        self.batch_size = batch_size or self.recipe.training.batch_size
        self._explainer = None if self.dense else Explainer.of(*self._loaded, self._device)
        self.maps = self._maps()

    def _maps(self) -> str | None:
        """What ``maps`` of a request gives: a word, or None where there is nothing."""
        if self.dense:
            return "probability of each class" if self._masks else "change of each pixel"
        if callable(getattr(self.method.predictor(), "maps", None)):
            return "maps of the method"
        if isinstance(self.task, BoxListTask) or self.decides_together:
            return None
        return "where the model looked"

    @property
    def _masks(self) -> bool:
        return isinstance(self.task, DenseTask) and self.task.output_kind == "label_map"

    def shares(self, upload: Upload) -> bool:
        """Whether a file may be predicted together with those of other requests, without any effect on its answer."""
        return not self.decides_together and (not self.dense or upload.format in SINGLE)

    def describe(self) -> dict[str, Any]:
        """The run in a few words, for clients."""
        facts = self.task.to_dict()
        height, width = self.recipe.image.size
        return {
            "name": self.name,
            "task": self.task.name,
            "kind": str(facts.get("kind", "")),
            "classes": [str(name) for name in facts.get("classes", ())],
            "method": self.recipe.method,
            "backbone": self.method.backbone_name,
            "takes": list(FORMATS),
            "image_size": [height, width],
            "answer": "pictures" if self.dense else "boxes" if isinstance(self.task, BoxListTask) else "rows",
            "maps": self.maps,
            "decided_over": "request" if self.decides_together else "image",
            "caution": self.method.caution or None,
            "thresholds": {} if self.dense else thresholds_of(facts),
        }

    def predict(self, uploads: Sequence[Upload], wanted: Wanted, scratch: Path) -> list[ImageAnswer]:
        """Answers for files, in their order; one that cannot be read has an error.

        Args:
            uploads: files that passed :func:`~modicum.serving.uploads.checked`.
            wanted: what to compute.
            scratch: an empty folder for what is written meanwhile.

        Raises:
            InputError: the run cannot predict them.
        """
        scratch.mkdir(parents=True)
        out = scratch / ("out" if self.dense else "predictions.parquet")
        settings = PredictionSettings(
            batch_size=self.batch_size, device=self._device, as_png=self.dense and not wanted.file
        )
        by_run = wanted.maps and self.maps in ("maps of the method", "change of each pixel")
        volumes = any(upload.format == "nifti" for upload in uploads)
        if by_run and not (self.dense and volumes):
            settings = replace(settings, maps=scratch / "maps")
        if wanted.maps and self._masks and not volumes:
            settings = replace(settings, probabilities=True)
        given: list[str | Path] = [str(upload.path) for upload in uploads]
        predict_run(self.folder, None, given, out, settings, loaded=self._loaded)
        if self.dense:
            table = pd.read_csv(out / TABLE, dtype={"image": str, "file": str, "error": str})
        else:
            table = pd.read_parquet(out)
        answers = []
        for upload in uploads:
            answers.append(self._answer(upload, _rows_of(table, upload), wanted, settings, out))
        return answers

    def _answer(
        self,
        upload: Upload,
        rows: list[dict[str, Cell]],
        wanted: Wanted,
        settings: PredictionSettings,
        out: Path,
    ) -> ImageAnswer:
        errors = [str(row["error"]) for row in rows if row.get("error") is not None]
        if errors or not rows:
            return ImageAnswer(upload.name, error=broken_line(upload.name, (errors or ["no answer"])[0]))
        pictures = []
        if wanted.preview:
            pictures.append(preview_of(upload, self.recipe, self.task))
        if self.dense:
            files = list(dict.fromkeys(str(row["file"]) for row in rows))
            pictures += dense_pictures(out, files, self._masks, wanted, settings)
        elif wanted.maps and settings.maps is not None:
            pictures += map_files(settings.maps, str(rows[0]["map"]), upload)
        elif wanted.maps and self.maps is not None and self._explainer is not None:
            pictures += self._explainer.pictures(upload)
        kept = [{name: cell for name, cell in row.items() if name not in ("error", "map")} for row in rows]
        notes = [self.method.caution] if self.method.caution else []
        if upload.slices > 1 and not self.dense:
            notes.append(f"one of its {upload.slices} slices, the middle one, stands for all")
        return ImageAnswer(upload.name, kept, pictures, notes)


def thresholds_of(facts: Mapping[str, Any]) -> dict[str, list[float]]:
    """By which values of which columns a task decides, as far as it decides by any.

    Args:
        facts: of a task's ``to_dict``.
    """
    if facts.get("thresholds"):
        return {"score": list(facts["thresholds"])}
    value = (facts.get("threshold") or {}).get("value")
    if value is not None:
        return {"score": [float(value)]}
    classes = {"multi-label": facts.get("classes", ()), "binary": facts.get("classes", ())[-1:]}
    names = classes.get(str(facts.get("kind")), ())
    chosen = (facts.get("operating_points") or {}).get("thresholds") or [0.5] * len(names)
    return {f"p_{name}": [float(value)] for name, value in zip(names, chosen, strict=False)}


def _rows_of(table: pd.DataFrame, upload: Upload) -> list[dict[str, Cell]]:
    """The rows of one file: of a volume, those of its slices, called by what follows the name."""
    path = str(upload.path)
    names = table["image"].astype(str)
    some = table[(names == path) | names.str.startswith(f"{path}#")]
    rows = []
    for row in some.to_dict("records"):
        part = str(row.pop("image")).removeprefix(path)
        cells: dict[str, Cell] = {"slice": part} if part else {}
        rows.append(cells | {str(name): _cell(value) for name, value in row.items()})
    return rows


def _cell(value: Any) -> Cell:
    """A JSON value; what is missing or not finite is null."""
    if hasattr(value, "item"):
        value = value.item()
    if value is None or value is pd.NA or (isinstance(value, float) and not abs(value) < float("inf")):
        return None
    return value if isinstance(value, bool | int | float) else str(value)
