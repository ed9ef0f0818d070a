"""Makes or finds the outputs of an earlier enhancer, for a run that predicts or is evaluated behind it."""

from collections.abc import Sequence
from pathlib import Path

import torch

from modicum.data.image import ImageRef
from modicum.engine.inference.earlier_outputs import EarlierOutputs, keep, outputs_in
from modicum.engine.inference.evaluation import dense_predictor
from modicum.engine.model import load_method
from modicum.engine.recipe.settings import OF_RUN
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError
from modicum.progress import say
from modicum.tasks import DenseTask, Task


def earlier_outputs(
    after: str,
    task: Task,
    names: Sequence[str],
    refs: Sequence[ImageRef],
    device: torch.device,
    temporary: Path,
) -> EarlierOutputs:
    """What ``--after`` names: a folder of outputs, or those that another run makes now.

    Args:
        after: ``run:FOLDER``, or a folder.
        task: of the run behind.
        names: of the images, and
        refs: where they are.
        device: where to compute.
        temporary: folder for what another run makes; it must last as long as the outputs are read.

    Raises:
        InputError: there is no such run or folder, images without an output, or outputs of another kind.
    """
    if not isinstance(task, DenseTask) or task.output_kind != "image":
        raise InputError(f"--after is for runs that make images, not for task '{task.name}'", "leave it out")
    if task.adjacent_slices:
        raise InputError("--after: the run sees adjacent slices, which have no outputs", "leave --after out")
    if not after.startswith(OF_RUN):
        if RunFolder(Path(after)).recipe.is_file():
            raise InputError(f"--after '{after}' is a run folder", f"write --after {OF_RUN}{after}")
        return outputs_in(Path(after), names, refs)
    folder = RunFolder.open(Path(after.removeprefix(OF_RUN)))
    recipe, other, method = load_method(folder)
    if not isinstance(other, DenseTask) or other.output_kind != "image" or other.num_outputs != task.channels:
        raise InputError(
            f"--after run '{folder.name}' (task {other.name}) does not make images of {task.channels} channels",
            "name a run of task image-to-image whose outputs are like this run's images",
        )
    predictor = dense_predictor(method.predictor(), other, recipe, device, method.tile())
    files: dict[ImageRef, Path] = {}
    say(f"first run '{folder.name}' predicts, then this one from its outputs")
    for predicted in predictor.predict((ref, ref) for ref in refs):
        if predicted.activated is not None:
            files[predicted.name] = keep(temporary / f"{len(files):06d}", predicted.activated)
    return EarlierOutputs(files, f"run '{folder.name}'")
