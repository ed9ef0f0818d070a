"""What a run's training images looked like, and which images that it predicts are unlike them."""

from modicum.engine.inference.guards.guard import COLUMN, REFUSED, ImageGuard, Seen, unlike_note
from modicum.engine.inference.guards.keeping import (
    UnlikeFn,
    UnlikeRows,
    guard_of_run,
    keep_training_images,
    stored_images,
    unlike_rows,
)

__all__ = [
    "COLUMN",
    "REFUSED",
    "ImageGuard",
    "Seen",
    "UnlikeFn",
    "UnlikeRows",
    "guard_of_run",
    "keep_training_images",
    "stored_images",
    "unlike_note",
    "unlike_rows",
]
