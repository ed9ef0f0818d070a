"""``modicum predict`` with an exported graph in place of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from modicum.errors import InputError
from modicum.wording import count_of

_OF_RUNS = (
    "device",
    "native",
    "tile",
    "maps",
    "probabilities",
    "prompts",
    "scored_by",
    "after",
    "quality",
    "drop",
    "weights",
)


def predict_exported(
    file: Path,
    given: Sequence[str],
    out: Path | None,
    batch_size: int | None,
    split: str | None,
    reading: Mapping[str, Any],
    options: Mapping[str, Any],
) -> None:
    """Predicts with a graph; exit code 3 if some images are broken.

    Args:
        file: the graph.
        given: what is predicted.
        out: the table.
        batch_size: images in one pass.
        split: rows of a data set to take.
        reading: how data sets are read.
        options: of the command; those that only a run has are refused.

    Raises:
        InputError: the file cannot be used, or an option needs the run.
    """
    from modicum.data.layouts.given_images import GivenReading
    from modicum.engine.inference.graphs.predict_graph import predict_graph

    for name in _OF_RUNS:
        if options.get(name):
            raise InputError(f"--{name.replace('_', '-')} with an exported file", "predict with the run")
    if options.get("settings_given"):
        raise InputError("--set with an exported file", "set it before the export")
    done = predict_graph(
        file, given, out, batch_size=batch_size, reading=GivenReading(split=split, **reading)
    )
    typer.echo(f"{count_of(done.predicted, 'image')} predicted, {done.broken} broken: {done.out}")
    if done.broken:
        raise typer.Exit(3)
