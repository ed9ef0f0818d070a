"""Grades images by an earlier run before they are learned from or predicted, and sets those of low quality aside."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from modicum.data.image import ImageRef
from modicum.data.manifest import Manifest
from modicum.data.table_cells import as_written
from modicum.engine.devices import process_rank
from modicum.engine.inference.table_predictor import table_predictor
from modicum.engine.known_rows import rows_of
from modicum.engine.model import load_method
from modicum.engine.recipe.settings import OF_RUN, DataSettings
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError, did_you_mean
from modicum.progress import say
from modicum.tasks import ImageLevelTask
from modicum.wording import count_of, listed

WORDS = ("ungradable", "gradable", "outstanding")
"""Values of the column ``quality`` that a run may write beside its classes."""
_NAMED = 5


@dataclass(frozen=True)
class QualityGate:
    """An earlier run that grades images, and the grades that are set aside.

    Attributes:
        run: ``run:FOLDER``, or the folder.
        drop: classes of that run, or words of its column ``quality``; none for a list alone.
        device: where to compute.
    """

    run: str
    drop: tuple[str, ...] = ()
    device: str | None = None

    def keep(
        self, refs: Sequence[ImageRef], names: Sequence[str], facts: pd.DataFrame, out: Path
    ) -> np.ndarray:
        """Grades images, writes the table, says what was found; returns which images are kept.

        Images that cannot be read are kept: whoever uses them says so.

        Args:
            refs: the images.
            names: of the images, in the table.
            facts: columns ``patient``, ``eye`` and ``domain``, where they are known.
            out: the table (CSV); made anew.

        Raises:
            InputError: the run grades nothing, a grade to drop is none of its classes, or no image would be left.
        """
        folder = RunFolder.open(Path(self.run.removeprefix(OF_RUN)))
        recipe, task, method = load_method(folder)
        if not isinstance(task, ImageLevelTask):
            raise InputError(
                f"--quality {self.run}: task '{task.name}' of that run gives no class to an image",
                "name a run that grades quality, such as one of octa_quality",
            )
        known = [*map(str, task.to_dict().get("classes") or ()), *WORDS]
        for word in self.drop:
            if word not in known:
                raise InputError(
                    f"--drop {word}: run '{folder.name}' has no such class", did_you_mean(word, known)
                )
        say(f"quality: grades {count_of(len(refs), 'image')} by run '{folder.name}'")
        predictor = table_predictor(recipe, task, method, device=self.device)
        predictor.write(refs, rows_of(list(names), facts), out)
        table = pd.read_csv(out, dtype=str, keep_default_na=False)
        return self._judged(table, folder.name, out)

    def _judged(self, table: pd.DataFrame, run: str, out: Path) -> np.ndarray:
        grades = table["quality" if "quality" in table else "prediction"]
        graded = table["error"] == ""
        counts = grades[graded].value_counts()
        said = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        say(f"quality: {said} ({out})")
        low = np.zeros(len(table), dtype=bool)
        for column in ("prediction", "quality"):
            if column in table:
                low |= (graded & table[column].isin(self.drop)).to_numpy()
        if not low.any():
            return ~low
        if low.all():
            raise InputError(
                f"all {len(low)} images are {listed(self.drop)} by run '{run}'",
                "leave --drop out, or use better images",
            )
        names = [as_written(name) for name in table["image"][low]]
        say(f"quality: {count_of(int(low.sum()), 'image')} set aside ({listed(names, most=_NAMED)})")
        return ~low


def chosen_rows(data: DataSettings, device: str, manifest: Manifest, folder: RunFolder) -> Manifest:
    """The rows of a manifest whose images are good enough; all where no run grades them.

    The table of grades lies in the run folder, and a note says how many rows were set aside.
    """
    if data.quality is None:
        return manifest
    gate = QualityGate(data.quality, tuple(data.drop), device)
    if process_rank() == 0:
        return _good_rows(gate, manifest, folder.quality)
    with TemporaryDirectory() as place:  # another process of the same training
        return _good_rows(gate, manifest, Path(place) / folder.quality.name)


def _good_rows(gate: QualityGate, manifest: Manifest, out: Path) -> Manifest:
    names = [str(name) for name in manifest.table["image"]]
    kept = gate.keep(manifest.refs(), names, manifest.table, out)
    if kept.all():
        return manifest
    note = (
        f"{count_of(int((~kept).sum()), 'image')} of low quality ({listed(gate.drop)}) by "
        f"'{Path(gate.run.removeprefix(OF_RUN)).name}' were set aside ({out.name})."
    )
    left = manifest.subset(kept)
    return left.with_columns([note])
