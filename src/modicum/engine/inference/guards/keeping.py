"""Measures the training images at the end of a training, from the store of decoded images, and keeps the result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from modicum.data.stores.image_store import ImageStore
from modicum.engine.devices import autocast
from modicum.engine.inference.guards.character import ImageCharacter, character_of
from modicum.engine.inference.guards.embedding import EmbeddingTap
from modicum.engine.inference.guards.file import read_known, write_known
from modicum.engine.inference.guards.guard import ImageGuard
from modicum.engine.inference.guards.training_images import known_from
from modicum.engine.inference.predictor_calls import draws_answers
from modicum.engine.inputs.batches import to_unit_range
from modicum.engine.inputs.preparation import PreparedData
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import RunFolder
from modicum.progress import bar, say
from modicum.tasks import Task


@dataclass(frozen=True)
class UnlikeRows:
    """Rows that were compared with the training images.

    Attributes:
        reasons: of each row, as the column of a table has them; empty where it is like the training images.
        counts: how many are unlike, and why, as ``metrics.json`` has it.
    """

    reasons: Sequence[str]
    counts: Mapping[str, Any]


UnlikeFn = Callable[[np.ndarray], UnlikeRows]
"""From rows to how they compare with the training images."""
MOST_MEASURED = 2000
"""Training images whose tones and colours are measured, evenly spaced over all."""
AT_ONCE = 2048
"""Images that are compared together: what is known of them is a kilobyte each, and evaluations may have millions."""
MOST_TRAIN, MOST_VAL = 256, 256
"""Images that the backbone is asked about: of the training, evenly spaced, and for the threshold of validation."""


@dataclass(frozen=True)
class StoredImages:
    """Images of a store by row, to be compared.

    Attributes:
        store: decoded images.
        positions: of each row in the store.
        network: the predictor.
        device: where it computes.
        precision: the run's precision setting.
        batch_size: images in one forward pass.
        in_parts: whether the network sees images in tiles, at another size than they are stored, or adjacent slices too,
            which are not here: no features.
        known_features: of rows that the network was asked about already.
    """

    store: ImageStore
    positions: np.ndarray
    network: nn.Module
    device: torch.device
    precision: str
    batch_size: int
    in_parts: bool = False
    known_features: dict[int, np.ndarray] = field(default_factory=dict)

    def characters(self, rows: np.ndarray) -> list[ImageCharacter]:
        """What rows look like."""
        found = []
        for row in rows:
            position = int(self.positions[row])
            facts = self.store.facts[position]
            size, spacing = ((1, 1), None) if facts is None else ((facts.height, facts.width), facts.spacing)
            found.append(character_of(self.store.get([position])[0], size, spacing))
        return found

    @torch.no_grad()
    def features(
        self, rows: np.ndarray, advance: Callable[[int], None], keep: bool = True
    ) -> np.ndarray | None:
        """What the network's backbone says of rows ``[n, d]`` when it predicts them; None where it has none.

        Args:
            rows: to ask about.
            advance: told how many more were asked about.
            keep: whether the answers are known from then on.
        """
        if not EmbeddingTap(self.network).available or draws_answers(self.network) or self.in_parts:
            return None
        asked = [int(row) for row in rows]
        found = {row: self.known_features[row] for row in asked if row in self.known_features}
        missing = [row for row in dict.fromkeys(asked) if row not in found]
        self.network.to(self.device).eval()
        with EmbeddingTap(self.network) as tap:
            for first in range(0, len(missing), self.batch_size):
                some = missing[first : first + self.batch_size]
                stored = torch.from_numpy(self.store.get(self.positions[some]))
                images = to_unit_range(stored.to(self.device))
                with autocast(self.precision, self.device):
                    self.network(images)
                    vectors = tap.take(images)
                if vectors is None:
                    return None
                found.update(zip(some, vectors, strict=True))
                advance(len(some))
        if keep:
            self.known_features.update(found)
        return np.stack([found[row] for row in asked]) if asked else None


def keep_training_images(
    folder: RunFolder,
    prepared: PreparedData,
    recipe: Recipe,
    task: Task,
    network: nn.Module,
    device: torch.device,
    tile: tuple[int, int] | None = None,
    extracted: bool = False,
) -> UnlikeFn | None:
    """Writes what the training images looked like; returns what compares rows with them, None without any.

    Nothing random is drawn, and no weight changes.

    Args:
        folder: of the run.
        prepared: its data.
        recipe: its settings.
        task: what was learned.
        network: the predictor, with the selected weights.
        device: where to compute.
        tile: of larger images, see :meth:`~modicum.methods.Method.tile`.
        extracted: whether a frozen network was asked once about each image, into a store. Then some training and
            validation images are shown to it again, and no tested ones: their features are not compared here.
    """
    train, val = prepared.rows("train"), prepared.rows("val")
    if not len(train):
        return None
    images = stored_images(prepared.store, prepared.positions, recipe, task, network, device, tile)
    measured = _evenly(train, MOST_MEASURED)
    some_train, some_val = _evenly(train, MOST_TRAIN), _evenly(val, MOST_VAL)
    with bar("what the training images look like", len(some_train) + len(some_val)) as progress:
        of_train = images.features(some_train, progress.advance)
        of_val = images.features(some_val, progress.advance)
    features = None if of_train is None or of_val is None else (of_train, of_val)
    groups = _patients(prepared, measured)
    known = known_from(
        images.characters(measured), images.characters(_evenly(val, MOST_MEASURED)), groups, features
    )
    write_known(folder, known)
    return partial(unlike_rows, ImageGuard(known), replace(images, in_parts=True) if extracted else images)


def stored_images(
    store: ImageStore,
    positions: np.ndarray,
    recipe: Recipe,
    task: Task,
    network: nn.Module,
    device: torch.device,
    tile: tuple[int, int] | None = None,
) -> StoredImages:
    """The images of a run's store, as its predictor sees them."""
    training = recipe.training
    # Some stages are shown crops of larger stored images, which their predictor never sees whole.
    larger = (store.settings.height, store.settings.width) != tuple(recipe.image.size)
    in_parts = tile is not None or task.adjacent_slices > 0 or larger
    return StoredImages(store, positions, network, device, training.precision, training.batch_size, in_parts)


def guard_of_run(folder: RunFolder, strict: bool = False) -> ImageGuard | None:
    """The guard of a finished run; None, with a note, for one of an earlier version, and for one that has not finished.

    Raises:
        InputError: its files are damaged.
    """
    known = read_known(folder)
    if known is None:
        if not folder.weights.is_file():
            return None  # it has not finished, which is said where its weights are asked for
        say(
            f"run '{folder.name}' does not say what its training images looked like (it is of an earlier version): "
            "images unlike them are not flagged"
        )
        return None
    return ImageGuard(known, strict)


def unlike_rows(guard: ImageGuard, images: StoredImages, rows: np.ndarray) -> UnlikeRows:
    """Which rows are unlike the training images, and how many."""
    counting = ImageGuard(guard.known)
    reasons: list[str] = []
    with bar("comparing with the training images", len(rows)) as progress:
        for first in range(0, len(rows), AT_ONCE):
            some = rows[first : first + AT_ONCE]
            kept = guard.known.features
            features = None if kept is None else images.features(some, progress.advance, False)
            if features is not None and kept is not None and features.shape[1] != len(kept.mean):
                features = None
            reasons += counting.judge(images.characters(some), features)
            if features is None:
                progress.advance(len(some))
    return UnlikeRows(reasons, counting.counts)


def _evenly(rows: np.ndarray, most: int) -> np.ndarray:
    """As many rows as there are, up to ``most``, evenly spaced."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def _patients(prepared: PreparedData, rows: np.ndarray) -> list[object]:
    """The patient of each row; a row without one stands for itself."""
    if "patient" not in prepared.manifest.table:
        return list(rows.tolist())
    patients = prepared.manifest.table["patient"].iloc[rows]
    return [
        row if value is None or value != value or value == "" else str(value)
        for row, value in zip(rows.tolist(), patients, strict=True)
    ]
