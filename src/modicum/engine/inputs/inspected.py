"""What ``fit`` would refuse of a data set, found by the code that refuses it, without training."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from modicum.data.checks.data_warnings import DataWarning
from modicum.data.image_facts import ImageFacts
from modicum.data.manifest import Manifest
from modicum.engine.inputs.auxiliary_images import with_auxiliary_images
from modicum.engine.inputs.preparation import PreparedData, task_for, with_parts
from modicum.engine.recipe.settings import DataSettings, Recipe
from modicum.errors import BrokenImageError, InputError
from modicum.progress import quietly
from modicum.tasks import task_class, tasks_of_columns


@dataclass
class Inspected:
    """What fit would say: what stops it, and notes."""

    warnings: list[DataWarning] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Scanned:
    """In place of a store of the images, whose pixels nothing asks for here."""

    facts: Sequence[ImageFacts]

    def with_channels(self, channels: int) -> "_Scanned":
        """Itself: there are no pixels."""
        return self


def inspected(manifest: Manifest, facts: Sequence[ImageFacts], workers: int) -> Inspected:
    """Looks at everything beside the images as a training would with its usual settings.

    Each task that the columns allow (classes, masks, targets, reports) is looked at by itself.

    Args:
        manifest: the images.
        facts: of those that can be read.
        workers: processes that decode masks and targets.
    """
    inspection = Inspected()
    by_name = {fact.ref: fact for fact in facts}
    names = [str(ref) for ref in manifest.refs()]
    manifest = manifest.subset(np.array([name in by_name for name in names], dtype=bool))
    if not len(manifest):
        return inspection
    readable = [by_name[str(ref)] for ref in manifest.refs()]
    for task, options in tasks_of_columns(list(map(str, manifest.table.columns))).items():
        try:
            with quietly():
                _look(manifest, readable, task, options, workers, inspection)
        except BrokenImageError as error:
            inspection.warnings.append(DataWarning(str(error), "repair or remove the file", stops=True))
        except InputError as error:
            if error.problem not in {warning.text for warning in inspection.warnings}:
                inspection.warnings.append(
                    DataWarning(error.problem, error.remedy or "correct the data", stops=True)
                )
    inspection.notes = list(dict.fromkeys(inspection.notes))
    return inspection


def _look(
    manifest: Manifest,
    facts: Sequence[ImageFacts],
    task_name: str,
    options: dict[str, Any],
    workers: int,
    inspection: Inspected,
) -> None:
    """One task. Raises what ``fit`` raises."""
    usual = task_class(task_name).Options(**options).model_dump(mode="json")
    data = DataSettings(source=manifest.source)  # type: ignore[call-arg]
    recipe = Recipe(method="", task=task_name, options=usual, data=data)  # type: ignore[call-arg]
    manifest = with_parts(manifest, recipe)
    task = task_for(manifest, recipe)
    inspection.notes += task.notes
    images: Any = _Scanned(facts)
    prepared = PreparedData(manifest, images, np.arange(len(manifest)), [])
    with TemporaryDirectory(prefix="modicum-inspect-") as folder:
        stores = Path(folder)
        inspection.notes += with_auxiliary_images(prepared, task, recipe, stores, workers, None).notes
