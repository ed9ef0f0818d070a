"""Checks of what a trained method gives: what is saved, predicted, explained and counted."""

import json

import numpy as np
import pandas as pd
import torch

from modicum.errors import InputError
from modicum.methods.base import FitStage, Method
from modicum.methods.checks.outcome import Broken, NotApplicable
from modicum.methods.checks.trial import Trial
from modicum.tasks import BoxListTask, ImageLevelTask

NOT_COMPARED = ("row", "prediction", "unlike_training")
"""Columns of predictions: the row of the data that was evaluated; and what is a tie may be broken either way."""
CLOSE = 1e-4
"""Largest difference of what is computed in another order."""


_REMARKS = ("error", "unlike_training")
"""Columns of texts, which are empty where there is nothing to say."""


def check_saved(trial: Trial) -> None:
    """What is saved is what was learned: a run that is opened has the same tensors."""
    _, seen = trial.first
    learned, opened = _tensors(seen.method), _tensors(trial.opened)
    for name, value in learned.items():
        other = opened.get(name)
        if other is None or other.shape != value.shape or not torch.equal(other, value):
            raise Broken(
                f"tensor '{name}' of the predictor is another one when the run is opened",
                "make it part of the stage that learns it (a registered submodule, parameter or persistent buffer), and "
                "keep it in persistent_modules()",
            )


def _tensors(method: Method) -> dict[str, torch.Tensor]:
    """What predicts, and what was fitted, on the CPU."""
    tensors = dict(method.predictor().state_dict())
    for stage in method.stages():
        if isinstance(stage, FitStage):
            tensors |= {f"{stage.name}.{name}": tensor for name, tensor in stage.fitted().items()}
    return {name: tensor.detach().cpu() for name, tensor in tensors.items()}


def check_evaluates(trial: Trial) -> None:
    """The predictor of a run that is opened answers as the stage did in evaluation mode when it had learned."""
    _needs_scores(trial)
    first, opened = (pd.read_csv(folder / "predictions.csv").set_index("image") for folder in trial.evaluated)
    if missing := [name for name in first if name not in opened]:
        raise Broken(
            f"column '{missing[0]}' of the predictions is not there again", "decide the same columns"
        )
    opened = opened.loc[first.index]
    for name in (name for name in first if name not in NOT_COMPARED):
        numbers = pd.api.types.is_numeric_dtype(first[name])
        far = (
            ~np.isclose(first[name], opened[name], atol=CLOSE, rtol=CLOSE, equal_nan=True)
            if numbers and pd.api.types.is_numeric_dtype(opened[name])
            else (first[name].astype(str) != opened[name].astype(str)).to_numpy() & ~numbers
        )
        if far.any():
            image = first.index[far][0]
            raise Broken(
                f"'{name}' of {image} was {first[name][image]} after training, and the predictor of the opened run says "
                f"{opened[name][image]}",
                "give the same outputs in the last scored stage's forward and in predictor(), and nothing random",
            )


def check_batches(trial: Trial) -> None:
    """The answer to an image does not depend on the images beside it, or is declared to."""
    _needs_table(trial)
    if trial.method.decides_over == "set":
        raise NotApplicable("decides_over is 'set'")
    together, alone = _predicted(trial, 3), _predicted(trial, 1)
    if isinstance(trial.opened.context.task, BoxListTask):
        _check_same_boxes(together, alone)
        return
    first = together.iloc[0]
    for name in (str(name) for name in alone if pd.api.types.is_numeric_dtype(alone[name])):
        if not np.isclose(first[name], alone[name].iloc[0], atol=CLOSE, rtol=CLOSE, equal_nan=True):
            raise Broken(
                f"'{name}' of an image is {first[name]:.6g} in a batch of three and {alone[name].iloc[0]:.6g} alone",
                "compute each row by itself in evaluation mode, or set decides_over = 'set' and decide there",
            )


def _check_same_boxes(together: pd.DataFrame, alone: pd.DataFrame) -> None:
    """Raises Broken where the boxes of the first image are others in a batch."""
    first = together[together["image"] == alone["image"].iloc[0]]
    edges = ["x0", "y0", "x1", "y1", "score"]
    same = len(first) == len(alone) and np.allclose(
        first[edges], alone[edges], atol=CLOSE * 10, rtol=CLOSE * 10, equal_nan=True
    )
    if not same:
        raise Broken(
            f"{len(first)} boxes of an image in a batch of three are not the {len(alone)} that are found in it alone",
            "compute each row by itself in evaluation mode",
        )


def check_single_image(trial: Trial) -> None:
    """A single image gets an answer, without anything known of its patient."""
    _needs_table(trial)
    table = _predicted(trial, 1)
    if isinstance(trial.opened.context.task, BoxListTask):
        return  # that it has no box is an answer too
    numbers = [str(name) for name in table if str(name).startswith("p_")] or [
        str(name) for name in table if pd.api.types.is_numeric_dtype(table[name]) and name not in _REMARKS
    ]
    odd = [name for name in numbers if not np.isfinite(table[name].iloc[0])]
    if odd:
        raise Broken(
            f"'{odd[0]}' of a single image is {table[odd[0]].iloc[0]}", "give it a number, in decide() too"
        )


def _predicted(trial: Trial, count: int) -> pd.DataFrame:
    """The table of predictions of so many images."""
    run, _ = trial.first
    out = trial.folder / f"predicted{count}.csv"
    try:
        run.predict(trial.images(count), out, device="cpu")
    except Exception as error:
        raise Broken(
            f"predicting {count} image(s) ended in {type(error).__name__}: {error}",
            "see run.predict(image) of a small run",
        ) from error
    return pd.read_csv(out)


def check_attribution(trial: Trial) -> None:
    """Examples show where the model looked, or are shown without a map."""
    _needs_scores(trial)
    run, _ = trial.first
    file = run.path / "evaluations" / str(trial.split) / "examples" / "examples.json"
    examples = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    if not examples or any("map" not in example for example in examples):
        raise NotApplicable("examples of this task have no maps of where the model looked")
    for example in examples:
        if example["map"] is not None and not (file.parent / str(example["overlay"])).is_file():
            raise Broken(
                "an example names a map that is not there", "let explain() give a map and its name, or None"
            )
    explain = getattr(trial.opened.predictor(), "explain", None)
    if all(example["map"] is None for example in examples):
        if explain is not None:
            raise Broken(
                "its predictor has explain(), and no example has a map",
                "give a map for answers, or no explain()",
            )
        raise NotApplicable("the predictor cannot be explained by gradients, and examples say so")


@torch.no_grad()
def check_export(trial: Trial) -> None:
    """What predicts is exported to one file, which answers as the predictor does, without the run."""
    import modicum

    context, predictor = trial.opened.context, trial.opened.predictor().eval()
    try:
        file = trial.first[0].export(trial.folder / "exported.safetensors", form="predictor")
        exported = modicum.load_exported(file)
    except InputError as error:
        raise NotApplicable(error.problem) from error
    except Exception as error:
        raise Broken(
            f"its export ended in {type(error).__name__}: {error}",
            "let the method be made from its config and context alone, with has_data=False too",
        ) from error
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, context.task.channels, *context.image_size, generator=generator)
    seeds = (torch.arange(2),) if getattr(predictor, "draws", False) else ()
    first, second = predictor(images, *seeds), exported(images, *seeds)
    if first.shape != second.shape or not torch.allclose(
        first, second, atol=CLOSE, rtol=CLOSE, equal_nan=True
    ):
        raise Broken(
            "the exported predictor gives other outputs",
            "keep all that the predictor computes with in parameters or persistent buffers",
        )


def check_memory(trial: Trial) -> None:
    """The memory of its training is predicted, or one line says why it cannot be."""
    import modicum

    settings = {
        key: value
        for key, value in trial.settings.items()
        if key not in ("backbone", "image_size", "batch_size") and value is not None
    }
    backbone = trial.first[0].recipe.backbone.name
    size, batch = trial.settings["image_size"], trial.settings["batch_size"]
    try:
        prediction = modicum.predict_memory(
            trial.name, backbone, size, batch, device="cpu", settings=settings
        )
    except InputError as error:
        if "\n" in str(error):
            raise Broken(f"the reason has several lines: {error.problem!r}", "say it in one") from error
        raise NotApplicable(error.problem) from error
    except Exception as error:
        raise Broken(
            f"its dry run ended in {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            "a learning step must not depend on values of tensors (they are not computed in a dry run)",
        ) from error
    if prediction.needed_bytes <= 0:
        raise Broken("its dry run takes no memory", "let its stages own the networks that they train")


def _needs_scores(trial: Trial) -> None:
    if trial.split is None:
        raise NotApplicable("the run has no evaluation: there are no images to validate or test on")


def _needs_table(trial: Trial) -> None:
    if not isinstance(trial.opened.context.task, ImageLevelTask | BoxListTask):
        raise NotApplicable(
            f"predictions of task '{trial.opened.context.task.name}' are no numbers of one image"
        )
