"""What a run knows, fact by fact, each with the files of the run folder that it comes from. No paths, no patients."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath

from modicum.report.files import RunFiles, as_mapping, number
from modicum.report.flow import flow_of
from modicum.report.flow_picture import flow_text
from modicum.report.operating_points import points_of, points_text
from modicum.report.review.data_facts import DATA_FACTS
from modicum.report.review.item import Fact
from modicum.report.review.result_facts import RESULT_FACTS
from modicum.report.sections_by_task import sections_of
from modicum.report.words import METHODS, bytes_text, duration, percent, plural, short_count


def facts_of(run: RunFiles) -> dict[str, Fact | None]:
    """All facts by name; None for what the run does not know."""
    found: dict[str, Fact | None] = {}
    for name, fact in {**_FACTS, **DATA_FACTS, **RESULT_FACTS}.items():
        text, source = fact(run)
        found[name] = Fact(text, source) if text else None
    return found


def _technology(run: RunFiles) -> tuple[str, str]:
    method = str(run.metrics.get("method") or run.recipe.get("method") or "")
    return (f"deep learning: {METHODS.get(method, method)}" if method else ""), "recipe.yaml"


def _about(run: RunFiles) -> tuple[str, str]:
    if not run.task_name:
        return "", ""
    return f"a model that {sections_of(run.task_name).about(run)}", "model.json"


def _architecture(run: RunFiles) -> tuple[str, str]:
    parameters = as_mapping(run.metrics.get("parameters"))
    backbone = run.metrics.get("backbone") or as_mapping(run.recipe.get("backbone")).get("name")
    method, size = str(run.metrics.get("method") or ""), as_mapping(run.recipe.get("image")).get("size")
    parts = [f"method {method}"] if method else []
    parts += [f"backbone {backbone}"] if isinstance(backbone, str) else []
    parts += [f"input {size[1]} × {size[0]} pixels"] if isinstance(size, list) and len(size) == 2 else []
    if number(parameters.get("total")) is not None:
        learned, total = (short_count(parameters.get(key)) for key in ("learnable", "total"))
        parts.append(f"{learned} of {total} parameters learned")
    return "; ".join(parts), "recipe.yaml, metrics.json"


def _initial(run: RunFiles) -> tuple[str, str]:
    weights = as_mapping(run.recipe.get("backbone")).get("weights")
    if not isinstance(weights, str):
        return "", ""
    named = {"random": "random weights", "hub": "pre-trained weights of the backbone from timm's hub"}
    if weights in named:
        return named[weights], "recipe.yaml"
    kind, _, rest = weights.rpartition(":")
    # A file or an earlier run is named without its place, which says something of the machine.
    return f"weights {rest if kind == 'hf' else PurePath(rest).name}", "recipe.yaml"


def _training(run: RunFiles) -> tuple[str, str]:
    training = as_mapping(run.recipe.get("training"))
    names = {
        "optimizer": "optimiser",
        "lr": "learning rate",
        "weight_decay": "weight decay",
        "schedule": "schedule",
        "warmup_epochs": "warm-up epochs",
        "batch_size": "batch size",
        "epochs": "epochs",
        "loss": "loss",
        "precision": "precision",
    }
    parts = [f"{title} {training[key]}" for key, title in names.items() if training.get(key) is not None]
    if not parts:
        return "", ""
    time = as_mapping(run.metrics.get("time"))
    if number(time.get("fit_seconds")) is not None:
        parts.append(f"made in {duration(time.get('fit_seconds'))}")
    return f"{'; '.join(parts)}; seed {run.recipe.get('seed', 0)}", "recipe.yaml, metrics.json, history.jsonl"


def _augmentation(run: RunFiles) -> tuple[str, str]:
    augment = as_mapping(run.recipe.get("training")).get("augment")
    if not isinstance(augment, str):
        return "", ""
    return f"augmentation '{PurePath(augment).name}'", "recipe.yaml"


def _selection(run: RunFiles) -> tuple[str, str]:
    selection = as_mapping(run.metrics.get("selection"))
    metric, epoch = selection.get("metric"), number(selection.get("epoch"))
    if not metric:
        return ("the last weights were kept" if run.metrics else ""), "metrics.json"
    where = {"val": "the validation images", "test": "the test images"}.get(
        str(selection.get("split")), "validation"
    )
    best = "highest" if selection.get("mode") == "max" else "lowest"
    at = f", reached in epoch {int(epoch)}" if epoch is not None else ""
    return f"the weights with the {best} {metric} on {where}{at}", "metrics.json"


def _ensemble(run: RunFiles) -> tuple[str, str]:
    if not run.metrics:
        return "", ""
    if run.metrics.get("method") == "ensemble":
        members = as_mapping(run.recipe.get("config")).get("members")
        number_of = f" of {len(members)} runs" if isinstance(members, list) else ""
        how = "fused boxes" if run.metrics.get("task") == "detection" else "the mean of the predictions"
        return f"{how}{number_of}", "recipe.yaml"
    return "not applicable: one model", "recipe.yaml"


def _software(run: RunFiles) -> tuple[str, str]:
    packages = as_mapping(run.environment.get("packages"))
    parts = [f"{name} {version}" for name, version in packages.items() if version]
    python = run.environment.get("python")
    parts = [*([f"Python {python}"] if python else []), *parts]
    return ", ".join(parts), "environment.json"


def _machine(run: RunFiles) -> tuple[str, str]:
    memory = as_mapping(run.metrics.get("memory"))
    peak = number(memory.get("peak_bytes"))
    gpus = run.environment.get("gpus")
    device = plural(len(gpus), "GPU") if isinstance(gpus, list) and gpus else "CPU"
    return (
        f"{device}; peak memory of training {bytes_text(peak)}" if peak else ""
    ), "environment.json, metrics.json"


def _output(run: RunFiles) -> tuple[str, str]:
    if not run.task_name:
        return "", ""
    classes = ", ".join(f"“{name}”" for name in run.classes[:12])
    more = f" and {len(run.classes) - 12} more" if len(run.classes) > 12 else ""
    column = as_mapping(run.recipe_data.get("columns")).get("label")
    of = f", from column “{column}” of the data" if isinstance(column, str) else ""
    kind = f" ({run.kind})" if run.kind and run.metrics else ""
    named = f": {classes}{more}" if classes else ""
    return f"{run.task_name.replace('_', ' ')}{kind}{named}{of}", "model.json, recipe.yaml"


def _operating(run: RunFiles) -> tuple[str, str]:
    if run.task_name != "classification" or not run.task:
        return "", ""
    return points_text(run), "model.json"


def _updating(run: RunFiles) -> tuple[str, str]:
    temperature = number(points_of(run).get("temperature"))
    if temperature is None or temperature == 1:
        return ("no recalibration" if run.metrics else ""), "model.json"
    images = plural(int(number(points_of(run).get("images")) or 0), "validation image")
    return f"logits divided by {temperature:.3g}, chosen on {images}", "model.json"


def _imbalance(run: RunFiles) -> tuple[str, str]:
    training = as_mapping(run.recipe.get("training"))
    if not training:
        return "", ""
    weights, sampling = str(training.get("class_weights", "none")), str(training.get("sampling", "natural"))
    if weights == "none" and sampling == "natural":
        return f"no weights of classes, images drawn as they are; loss {training.get('loss')}", "recipe.yaml"
    return f"weights of classes: {weights}; sampling: {sampling}; loss {training.get('loss')}", "recipe.yaml"


def _weights(run: RunFiles) -> tuple[str, str]:
    return (
        (
            "weights.safetensors holds what was learned; `modicum export` writes one file that stands alone"
            if run.metrics
            else ""
        ),
        "weights.safetensors, model.json",
    )


def _predicting(run: RunFiles) -> tuple[str, str]:
    return (
        "`modicum predict RUN IMAGES`, or modicum.Run(...).predict in Python" if run.metrics else ""
    ), "recipe.yaml"


def _recipe(run: RunFiles) -> tuple[str, str]:
    return (
        "every setting is in recipe.yaml, which trains the same model again" if run.recipe_text else ""
    ), "recipe.yaml"


def _flow(run: RunFiles) -> tuple[str, str]:
    flow = flow_of(run)
    return (
        "" if flow is None else flow_text(flow)
    ), "manifest.csv, broken.csv, fingerprint.json, evaluations"


def _said(text: str, source: str = "recipe.yaml") -> Callable[[RunFiles], tuple[str, str]]:
    return lambda run: (text, source)


def _learned_share(run: RunFiles) -> tuple[str, str]:
    share = as_mapping(run.metrics.get("parameters")).get("learnable_percent")
    return (
        f"{percent(share)} % of the parameters were learned" if number(share) is not None else ""
    ), "metrics.json"


_FACTS: Mapping[str, Callable[[RunFiles], tuple[str, str]]] = {
    "technology": _technology,
    "about": _about,
    "architecture": _architecture,
    "initial": _initial,
    "training": _training,
    "augmentation": _augmentation,
    "selection": _selection,
    "ensemble": _ensemble,
    "software": _software,
    "machine": _machine,
    "output": _output,
    "operating": _operating,
    "updating": _updating,
    "imbalance": _imbalance,
    "weights": _weights,
    "predicting": _predicting,
    "recipe": _recipe,
    "flow": _flow,
    "learned_share": _learned_share,
    "research": _said("for research; not a medical device, not for decisions on patients", ""),
    "predictors": _said("the image alone"),
    "no_rater": _said("not applicable: the image is read by the model alone", ""),
    "unreadable": _said(
        "images that cannot be read are named with a reason and get no prediction", "modicum predict"
    ),
}


def known_facts() -> Sequence[str]:
    """Names of all facts that a run can have."""
    return [*_FACTS, *DATA_FACTS, *RESULT_FACTS]
