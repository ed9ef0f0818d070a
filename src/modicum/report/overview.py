"""The first screen: the main score, a sentence, a few facts, and cautions."""

from collections.abc import Mapping
from typing import Any

from modicum.engine.run_folder import memory_kind
from modicum.report.files import Evaluation, RunFiles, as_mapping, number
from modicum.report.sections import TaskSections, whisker
from modicum.report.words import (
    METHODS,
    bytes_text,
    count,
    duration,
    is_share,
    long_meaning,
    metric_interval,
    metric_text,
    metric_title,
    percent,
    plural,
    short_count,
)
from modicum.tasks.metric import no_better_than_baselines
from modicum.tasks.metric_tables import metric_named

_SMALL_ERRORS = 0.5
"""Upper end of the axis for errors that are a share of the scale."""


def subtitle(run: RunFiles, sections: TaskSections) -> list[str]:
    """Task, method, backbone and image size, as short texts."""
    method = run.metrics.get("method") or run.recipe.get("method")
    planned = as_mapping(run.recipe.get("backbone")).get("name") if sections.backbone else None
    # A recipe always names a backbone; only a finished run records whether its network has one.
    backbone = run.metrics.get("backbone", planned)
    size = as_mapping(run.recipe.get("image")).get("size")
    parts = [sections.about(run)]
    if isinstance(method, str):
        parts.append(METHODS.get(method, method))
    if isinstance(backbone, str):
        parts.append(backbone)
    if isinstance(size, list | tuple) and len(size) == 2:
        parts.append(f"{size[1]} × {size[0]} px")
    return [part for part in parts if part]


def hero(run: RunFiles) -> dict[str, Any]:
    """Values of the main score; empty if nothing was evaluated."""
    main = run.main
    if main is None:
        return {}
    metric = main_metric(run, main)
    entry = main.metrics[metric]
    confidence = number(main.info.get("confidence")) or 0.95
    low, value = number(entry.get("low")), number(entry.get("value"))
    least = min(end for end in (low, value, 1.0) if end is not None)
    described = metric_named(metric, run.task_name)
    start = (
        described.chance
        if described.chance is not None and least >= described.chance
        else -1
        if least < 0
        else 0
    )
    most = max(end for end in (number(entry.get("high")), value, 0.0) if end is not None)
    end = _SMALL_ERRORS if described.higher_is_better is False and most <= _SMALL_ERRORS else 1.0
    reason = str(entry.get("reason") or "")
    return {
        "score": metric_text(metric, entry.get("value")),
        "title": metric_title(metric),
        "meaning": long_meaning(metric, run.task_name),
        "set": main.title,
        "interval": metric_interval(metric, entry),
        "confidence": f"{100 * confidence:g}",
        "mark": whisker(entry, start, end) if is_share(metric) else None,
        "start": f"{start:g}".replace("-", "−"),
        "end": f"{end:g}",
        "reason": reason[:1].upper() + reason[1:],
    }


def main_metric(run: RunFiles, evaluation: Evaluation) -> str:
    """The metric that selected the weights if this evaluation has it, otherwise its first."""
    chosen = str(as_mapping(run.metrics.get("selection")).get("metric", ""))
    return chosen if chosen in evaluation.metrics else next(iter(evaluation.metrics))


def tiles(run: RunFiles) -> list[dict[str, str]]:
    """Images, parameters, memory and time, each as value, name and remark."""
    values = []
    main = run.main
    images = number(main.info.get("images")) if main else None
    if main and images is not None:
        patients = number(main.info.get("patients"))
        remark = f"of {plural(int(patients), 'patient')}" if patients else "patients not known"
        values.append({"value": count(images), "name": f"images in the {main.title}", "remark": remark})
    parameters = as_mapping(run.metrics.get("parameters"))
    if number(parameters.get("learnable")) is not None:
        remark = f"{percent(parameters.get('learnable_percent'))} % of {short_count(parameters.get('total'))}"
        values.append(
            {
                "value": short_count(parameters.get("learnable")),
                "name": "learnable parameters",
                "remark": remark,
            }
        )
    memory = as_mapping(run.metrics.get("memory"))
    if number(memory.get("peak_bytes")) is not None:
        on_gpu = memory_kind(memory) == "measured"
        remark = "measured on the GPU" if on_gpu else "estimated, on a CPU"
        values.append(
            {"value": bytes_text(memory.get("peak_bytes")), "name": "peak memory", "remark": remark}
        )
    time = as_mapping(run.metrics.get("time"))
    if number(time.get("fit_seconds")) is not None:
        epochs = number(time.get("epochs")) if number(time.get("steps")) != 0 else None
        remark = f"{plural(int(epochs), 'epoch')} of training" if epochs else "from files to weights"
        values.append({"value": duration(time.get("fit_seconds")), "name": "to make it", "remark": remark})
    return values


def cautions(run: RunFiles, sections: TaskSections) -> list[str]:
    """Cautions about the headline."""
    sentences = []
    main = run.main
    if not run.finished:
        epochs = plural(sum(record.get("kind") == "epoch" for record in run.history), "epoch")
        state = str(run.status.get("state") or "unknown")
        sentences.append(
            f"Not finished (state: {state}), {epochs} so far. Everything here is of an unfinished model."
        )
    if main is None:
        sentences.append("Nothing was evaluated yet, so there is no score to show.")
    else:
        if main.name == "val":
            sentences.append(
                "There is no test set. These images also selected the weights, so the scores are a little optimistic."
            )
        if main.seen:
            sentences.append(
                f"{plural(main.seen, 'image')} of the {main.title} were in the training data: the scores are optimistic."
            )
        if main.info.get("resampling_unit") == "image":
            sentences.append(
                "Intervals treat images as independent, because patients are not known. "
                "With several images of a patient they are too narrow."
            )
        entry = main.metrics[main_metric(run, main)]
        if number(entry.get("low")) is not None and entry.get("low") == entry.get("high"):
            sentences.append(
                "The interval of the main score has no width. That is no certainty: these images are too few, "
                "or too easy, for resampling to show what others would bring."
            )
        values = {name: number(entry.get("value")) for name, entry in main.metrics.items()}
        metrics = [metric_named(name, run.task_name) for name in main.metrics if "/" not in name]
        worse = no_better_than_baselines(metrics, values)
        sentences += [f"{one[:1].upper()}{one[1:]}." for one in worse]
        sentences += sections.cautions(run, main)
    sentences += _near_chance(run)
    if run.damaged:
        sentences.append(f"Could not be read and is left out: {', '.join(sorted(set(run.damaged)))}.")
    return sentences


def _near_chance(run: RunFiles) -> list[str]:
    """Stages whose training ended at the loss of one that has learned nothing."""
    sentences = []
    for name, stage in as_mapping(run.metrics.get("stages")).items():
        near = as_mapping(as_mapping(as_mapping(stage).get("selection")).get("near_chance"))
        value, chance = number(near.get("value")), number(near.get("chance"))
        if value is not None and chance is not None:
            sentences.append(
                f"Stage “{name}” ended at a loss of {value:.3f}, and {chance:.3f} is chance: it has learned next to "
                "nothing."
            )
    return sentences


def versions(run: RunFiles) -> list[tuple[str, str]]:
    """Versions and machine, as rows of name and value."""
    rows: list[tuple[str, str]] = []

    def add(name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                add(str(key), inner)
        elif isinstance(value, list):
            for inner in value:
                add(name, inner)
        elif name.endswith("memory_bytes"):
            rows.append(("memory", bytes_text(value)))
        elif isinstance(value, str | int | float) and not isinstance(value, bool) and str(value):
            rows.append((name.replace("_", " "), str(value)))

    for key, value in run.environment.items():
        if key != "schema":
            add(str(key), value)
    return rows
