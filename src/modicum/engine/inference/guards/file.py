"""``training_images.json`` and ``training_features.safetensors`` of a run folder: numbers, and nothing of a patient."""

from collections.abc import Mapping
from math import inf, isfinite
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modicum.engine.checkpoint import load_tensors, save_tensors
from modicum.engine.inference.guards.character import COLOUR_NAMES, TONE_NAMES
from modicum.engine.inference.guards.likeness import Gaussian
from modicum.engine.inference.guards.training_images import TrainingImages
from modicum.engine.run_folder import RunFolder, read_table, write_json
from modicum.errors import InputError

NAME, FEATURES = "training_images.json", "training_features.safetensors"
_DIGITS = 7


class _Gaussian(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)
    names: list[str]
    mean: list[float]
    axes: list[list[float]]
    variances: list[float]
    rest: float = Field(gt=0)


class _Kept(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, extra="allow")
    tones: _Gaussian
    colours: _Gaussian
    features_sha256: str | None = None
    thresholds: dict[str, float | None]
    sides: tuple[float, float]
    aspects: tuple[float, float]
    spacings: tuple[float, float] | None = None
    least_spread: float
    images: dict[str, int]
    rate: float


def write_known(folder: RunFolder, known: TrainingImages) -> None:
    """Writes what the training images looked like into a run folder."""
    digest = None
    if known.features is not None:
        kept = known.features
        arrays = {
            "mean": kept.mean,
            "axes": kept.axes,
            "variances": kept.variances,
            "rest": np.array([kept.rest]),
        }
        tensors = {name: torch.from_numpy(np.asarray(values, np.float32)) for name, values in arrays.items()}
        digest = save_tensors(folder.path / FEATURES, tensors)
    content = {
        "schema": 1,
        **known.facts,
        "sides": known.sides,
        "aspects": known.aspects,
        "spacings": known.spacings,
        "least_spread": known.least_spread,
        "thresholds": known.thresholds,
        "features_sha256": digest,
        "tones": _as_dict(known.tones, TONE_NAMES),
        "colours": _as_dict(known.colours, COLOUR_NAMES),
    }
    write_json(folder.path / NAME, content)


def read_known(folder: RunFolder) -> TrainingImages | None:
    """The inverse of :func:`write_known`; None for a run of an earlier version.

    Raises:
        InputError: a file is damaged.
    """
    path = folder.path / NAME
    if not path.is_file():
        return None
    content = read_table(path)
    try:
        kept = _Kept.model_validate(content)
        tones = _gaussian(kept.tones, len(TONE_NAMES))
        colours = _gaussian(kept.colours, len(COLOUR_NAMES))
    except (ValidationError, ValueError) as error:
        raise InputError(
            f"'{path}' is damaged ({type(error).__name__})", "restore the file, or fit again"
        ) from error
    features = None if kept.features_sha256 is None else _features(folder, kept.features_sha256)
    limits = {name: inf if value is None else value for name, value in kept.thresholds.items()}
    facts: dict[str, Any] = {
        key: content[key]
        for key in ("images", "rate", "quantiles", "in_colour", "with_spacing")
        if key in content
    }
    if missing := {"tones", "colours", "negative", *(["features"] if features is not None else [])} - set(
        limits
    ):
        raise InputError(
            f"'{path}' is damaged (no threshold of {min(missing)})", "restore the file, or fit again"
        )
    return TrainingImages(
        tones,
        colours,
        features,
        limits,
        kept.sides,
        kept.aspects,
        kept.spacings,
        kept.least_spread,
        facts,
    )


def _as_dict(gaussian: Gaussian, names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "names": list(names),
        "mean": gaussian.mean.round(_DIGITS).tolist(),
        "axes": gaussian.axes.round(_DIGITS).tolist(),
        "variances": [float(f"{value:.7g}") for value in gaussian.variances],
        "rest": gaussian.rest,
    }


def _gaussian(kept: _Gaussian, width: int) -> Gaussian:
    axes = np.array(kept.axes, dtype=np.float64).reshape(len(kept.variances), width)
    mean, variances = np.array(kept.mean), np.array(kept.variances)
    if mean.shape != (width,) or not (variances > 0).all():
        raise ValueError("shape")
    return Gaussian(mean, axes, variances, kept.rest)


def _features(folder: RunFolder, digest: str) -> Gaussian:
    tensors: Mapping[str, torch.Tensor] = load_tensors(folder.path / FEATURES, digest)
    try:
        mean, axes, variances = (tensors[name].double().numpy() for name in ("mean", "axes", "variances"))
        rest = float(tensors["rest"])
        fits = axes.shape == (len(variances), len(mean)) and (variances > 0).all() and rest > 0
    except (KeyError, ValueError, RuntimeError):
        fits = False
    if not fits or not isfinite(rest):
        raise InputError(f"'{FEATURES}' of run '{folder.name}' is damaged", "restore the file, or fit again")
    return Gaussian(mean, axes, variances, rest)
