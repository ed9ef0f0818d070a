"""Checks that a run's stores are undamaged, and that their records can be recomputed."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from modicum.data.manifest import Manifest
from modicum.data.stores.image_store import ImageStore
from modicum.engine.devices import chosen_device
from modicum.engine.inputs.auxiliary_images import AuxiliaryReader, with_auxiliary_images
from modicum.engine.inputs.batches import Stored
from modicum.engine.inputs.data_changes import data_changes
from modicum.engine.inputs.extraction import Extraction, RecordReader, larger_records, own_records
from modicum.engine.inputs.preparation import prepare
from modicum.engine.model import backbone_facts, further_images, load_method
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError
from modicum.methods import ExtractStage
from modicum.wording import count_of


@dataclass
class Verification:
    """Result of a verification.

    Attributes:
        lines: a line for each store.
        damaged: records whose bytes have changed since they were written. They are noted, and recomputed by the next fit.
    """

    lines: list[str] = field(default_factory=list)
    damaged: int = 0


def verify_stores(
    folder: RunFolder, recompute: int = 0, stores: Path | None = None, weights: str | None = None
) -> Verification:
    """Reads all records of a run's stores and compares them with their checksums.

    Args:
        folder: a finished run, whose images are where they were.
        recompute: number of records of each feature store, drawn at random, that are recomputed and compared. Above 0 all
            image files are read too, and compared with those that were decoded.
        stores: folder of its stores; by default next to the run, or next to the comparison that it belongs to.
        weights: where those of the frozen backbone are now, if they have moved: a file, or ``run:FOLDER``.

    Raises:
        InputError: the run is unfinished, its stores or its frozen backbone are not there, or ``recompute`` is below 0.
    """
    if recompute < 0:
        raise InputError(f"--recompute {recompute} is below 0", "give a number of records")
    stores = _stores_of(folder, stores)
    recipe, task, method = load_method(folder, weights)
    prepared = prepare(recipe, folder, stores, 0, choose=partial(_rows_of_run, recipe, folder))
    prepared = with_auxiliary_images(prepared, task, recipe, stores, 0, None, further_images(recipe))
    verification = Verification()
    _verify_images("images", prepared.store, len(prepared.positions), recompute, verification)
    for column, (reader, positions) in prepared.auxiliary_images.items():
        assert isinstance(reader, AuxiliaryReader)
        _verify_images(column, reader.store, int((positions >= 0).sum()), recompute, verification)
    if changes := data_changes(folder, prepared):
        verification.lines.append(f"data: not those that the run was trained on: {'; '.join(changes)}")
    device = chosen_device(recipe.device)
    for stage in method.stages():
        if isinstance(stage, ExtractStage):
            extraction = Extraction(
                stage.to(device).eval(),
                prepared.store,
                prepared.positions,
                stores,
                backbone_facts(stage),
                recipe.training.batch_size,
                recipe.training.precision,
                device,
            )
            _verify_features(extraction, recompute, recipe.seed, verification)
    return verification


def _rows_of_run(recipe: Recipe, folder: RunFolder, manifest: Manifest) -> Manifest:
    """Without the images that were set aside by their quality before the training."""
    if recipe.data.quality is None or not folder.manifest.is_file():
        return manifest
    kept = set(Manifest.read_saved(folder.manifest, Path()).table["image"])
    return manifest.subset(manifest.table["image"].isin(kept).to_numpy(dtype=bool))


def _verify_images(
    name: str, store: ImageStore, records: int, recompute: int, verification: Verification
) -> None:
    damaged = store.verify()
    verification.damaged += damaged
    line = f"{name}: {count_of(records, 'record')}, {damaged} damaged"
    if recompute and (replaced := store.forget_replaced()):
        line += f"; {count_of(len(replaced), 'file')} replaced by another of the same size and time ({replaced[0].name})"
        verification.damaged += len(replaced)
    verification.lines.append(line)


def _stores_of(folder: RunFolder, given: Path | None) -> Path:
    """The folder of a run's stores; an empty folder would be filled with all images again."""
    place = folder.stores if given is None else given
    if any(place.glob("images-*")):
        return place
    raise InputError(
        f"run '{folder.name}' has no stores in '{place}'", "pass --stores with the folder they are in"
    )


def _verify_features(extraction: Extraction, recompute: int, seed: int, verification: Verification) -> None:
    name = extraction.stage.name
    records = own_records(extraction, skip_damaged=False) or larger_records(extraction, skip_damaged=False)
    if records is None:
        verification.lines.append(
            f"{name}: no store holds all of its records (computed for every batch, or deleted)"
        )
        return
    assert isinstance(records.read, RecordReader)
    store = records.read.store
    damaged = store.verify()
    store.report_damage(damaged)
    verification.damaged += len(damaged)
    line = f"{name}: {count_of(len(store), 'record')} in '{store.folder.name}', {len(damaged)} damaged"
    if recompute:
        line += _recomputed(extraction, records, recompute, seed, set(damaged))
    verification.lines.append(line)


def _recomputed(extraction: Extraction, records: Stored, count: int, seed: int, damaged: set[str]) -> str:
    keys = extraction.images.keys_of(extraction.positions)
    sound = np.flatnonzero([key not in damaged for key in keys])
    rows = np.random.default_rng(seed).permutation(sound)[:count]
    worst, differing = 0.0, 0
    for row in rows:
        again = extraction.records(extraction.positions[[row]], "identity").cpu()
        kept = torch.from_numpy(records.of(np.array([row]), None))
        differing += not torch.equal(again, kept)
        worst = max(worst, extraction.stage.difference(again, kept))
    return f"; {count_of(len(rows), 'record')} computed again: {differing} differ, by at most {worst:.3g}"
