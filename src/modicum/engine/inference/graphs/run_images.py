"""A run's own validation and test images, to compare a graph with its network and to measure what int8 costs."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from modicum.data.manifest import Manifest
from modicum.data.prepared import StoreSettings, expand, read_prepared
from modicum.engine.inputs.batches import to_unit_range
from modicum.engine.inputs.preparation import read_manifest, store_settings
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import RunFolder
from modicum.errors import BrokenImageError, InputError
from modicum.tasks import Task


@dataclass(frozen=True)
class Sample:
    """Images that two networks are compared on.

    Attributes:
        images: ``[n, c, h, w]`` in ``[0, 1]``.
        origin: where they are from, in words.
        reason: why they are made ones, where they are.
    """

    images: Float[Tensor, "n c h w"]
    origin: str
    reason: str = ""


def sample_of_run(folder: RunFolder, recipe: Recipe, task: Task, count: int) -> Sample:
    """The first validation and test images of a run, where they are still readable; else made ones (seed 0).

    Args:
        folder: of the run.
        recipe: of the run.
        task: of the run.
        count: of images.
    """
    try:
        if task.adjacent_slices:
            raise InputError("slices are seen together")
        manifest = held_out_rows(folder, recipe)
        settings = network_settings(recipe, task)
        images = prepared_images(manifest, settings, count)
    except (InputError, BrokenImageError, OSError) as error:
        reason = error.problem if isinstance(error, InputError) else type(error).__name__
        return Sample(made_images(count, task.channels, recipe.image.size), "made", reason)
    splits = " and ".join(sorted(set(manifest.table["split"].head(len(images))), reverse=True))
    return Sample(images, f"{splits} of the run")


def network_settings(recipe: Recipe, task: Task) -> StoreSettings:
    """How images are prepared for a run's network; some trainings store them larger than it sees them."""
    stored = store_settings(recipe.image, recipe.task, recipe.options)
    height, width = recipe.image.size
    return replace(stored, channels=task.channels_alone, height=height, width=width)


def held_out_rows(folder: RunFolder, recipe: Recipe) -> Manifest:
    """The rows of a run's data that were in the splits ``val`` and ``test`` of its training, those of ``val`` first.

    Raises:
        InputError: the data are not where they were, or hold none of them any more.
    """
    saved = Manifest.read_saved(folder.manifest, Path()).table
    if "split" not in saved:
        raise InputError("the run has no table with a split", "fit again")
    split = dict(zip(saved["image"], saved["split"], strict=True))
    manifest = read_manifest(recipe.data, recipe.task, recipe.options)
    of_row = [split.get(name) for name in manifest.table["image"]]
    manifest = manifest.with_columns(split=[one if one in ("val", "test") else None for one in of_row])
    order = [row for part in ("val", "test") for row, one in enumerate(of_row) if one == part]
    if not order:
        raise InputError(f"{manifest.source} has no validation or test images of the run", "restore the data")
    return manifest.subset(np.array(order))


def prepared_images(manifest: Manifest, settings: StoreSettings, count: int) -> Float[Tensor, "n c h w"]:
    """The first images of a manifest as a network sees them, each prepared as ``modicum predict`` does.

    Raises:
        BrokenImageError: one cannot be read.
    """
    refs = manifest.refs()[:count]
    pixels = np.empty((len(refs), settings.height, settings.width, settings.channels), dtype=settings.dtype)
    for number, ref in enumerate(refs):
        expand(read_prepared(ref, settings)[1], pixels[number])
    return to_unit_range(torch.from_numpy(pixels))


def made_images(count: int, channels: int, size: tuple[int, int]) -> Float[Tensor, "n c h w"]:
    """Noise over slopes of grey, with seed 0."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand((count, channels, *size), generator=generator)
    slope = torch.linspace(0, 1, size[1]).expand(size)
    return 0.5 * noise + 0.5 * slope * torch.rand((count, channels, 1, 1), generator=generator)
