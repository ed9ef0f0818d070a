"""Report sections on training: learning curves, memory, time, parameters."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum.engine.run_folder import memory_kind
from modicum.report.figures import inline_svg
from modicum.report.files import RunFiles, as_mapping, number
from modicum.report.losses import loss_names, losses_block
from modicum.report.sections import Block
from modicum.report.words import bytes_text, duration, metric_text, metric_title, percent, plural, short_count

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def training_blocks(run: RunFiles) -> list[Block]:
    """For each stage, a block for its loss (or losses) and one for its validation metric."""
    cards: list[Block] = []
    stages = list(dict.fromkeys(str(record.get("stage", "")) for record in run.history))
    for index, stage in enumerate(stages):
        records = [record for record in run.history if str(record.get("stage", "")) == stage]
        suffix = f", stage “{stage}”" if len(stages) > 1 else ""
        cards += _stage_blocks(_selection(run, stage), records, suffix, f"stage{index}")
    return cards


def _selection(run: RunFiles, stage: str) -> Mapping[str, Any]:
    """How a stage's weights were chosen; earlier versions tell it of the last stage alone."""
    stages = as_mapping(run.metrics.get("stages"))
    if not stages:
        return as_mapping(run.metrics.get("selection"))
    return as_mapping(as_mapping(stages.get(stage)).get("selection"))


def _stage_blocks(
    selection: Mapping[str, Any], records: Sequence[dict[str, Any]], suffix: str, prefix: str
) -> list[Block]:
    epochs = sorted((r for r in records if r.get("kind") == "epoch"), key=lambda r: r["step"])
    steps = sorted((r for r in records if r.get("kind") == "step"), key=lambda r: r["step"])
    ends = [0.0, *(float(record["step"]) for record in epochs)]
    # Epochs are numbered by completed epochs, so that the first ends at 1 even if the log counts from 0.
    done = [float(record.get("epoch", i)) for i, record in enumerate(epochs)]
    shift = 1.0 - min(done) if done and min(done) < 1 else 0.0
    at = [0.0, *(value + shift for value in done)]
    lines: list[tuple[str, list[float], list[float]]] = []
    for split, name in (("train", "training"), ("val", "validation")):
        points = [
            (x, number(as_mapping(r.get(split)).get("loss"))) for x, r in zip(at[1:], epochs, strict=True)
        ]
        lines.append((name, *_defined_points(points)))
    faint = _step_losses(steps, ends, at) if len(epochs) else ([], [])
    cards = []
    several = len(loss_names(epochs)) > 1
    if several:
        cards.append(losses_block(epochs, steps, at, suffix, prefix))
    elif any(len(x) for _, x, _ in lines):
        figure = learning_figure(lines, faint=faint, best=None, ylabel="loss", xlabel="epoch")
        svg = inline_svg(figure, f"{prefix}-loss", "Training and validation loss over epochs")
        legend = [_key(name, f"s{i}") for i, (name, x, _) in enumerate(lines) if x]
        cards.append(
            Block("figure.html.j2", f"Loss{suffix}", {"svg": svg, "legend": legend, "metric": ""}, "half")
        )
    metric = _shown_metric(selection, epochs)
    points = [(x, number(as_mapping(r.get("val")).get(metric))) for x, r in zip(at[1:], epochs, strict=True)]
    x, y = _defined_points(points)
    if metric and x:
        best = _best(selection, metric, x, y, epochs, at)
        title = metric_title(metric)
        figure = learning_figure(
            [("validation", x, y)], faint=([], []), best=best, ylabel=title, xlabel="epoch"
        )
        legend = [_key("validation", "s0")]
        if best is not None:
            legend.append(
                _key(f"best: {metric_text(metric, best[1])} after epoch {best[0]:g}, kept", "s1", dot=True)
            )
        svg = inline_svg(figure, f"{prefix}-metric", f"{title} on the validation set over epochs")
        values = {"svg": svg, "legend": legend, "metric": ""}
        width = "full" if several else "half"
        cards.append(Block("figure.html.j2", f"{title} on the validation set{suffix}", values, width))
    return cards


def _key(name: str, swatch: str, dot: bool = False) -> dict[str, Any]:
    return {"name": name, "swatch": swatch, "dash": "", "text": "", "interval": "", "dot": dot}


def _defined_points(points: Sequence[tuple[float, float | None]]) -> tuple[list[float], list[float]]:
    defined = [(x, y) for x, y in points if y is not None]
    return [x for x, _ in defined], [y for _, y in defined]


def _step_losses(
    steps: Sequence[dict[str, Any]], ends: Sequence[float], at: Sequence[float]
) -> tuple[list[float], list[float]]:
    """The sum of a step's losses, over fractions of epochs; at most 400 points, each the mean of its neighbours."""
    points = []
    for record in steps:
        losses = [number(value) for value in as_mapping(record.get("losses")).values()]
        finite = [value for value in losses if value is not None]
        if finite and record["step"] <= ends[-1]:
            points.append((float(np.interp(record["step"], ends, at)), sum(finite)))
    group = -(-len(points) // 400) or 1
    groups = [points[i : i + group] for i in range(0, len(points), group)]
    means = [np.mean(part, axis=0) for part in groups]
    return [float(x) for x, _ in means], [float(y) for _, y in means]


def _shown_metric(selection: Mapping[str, Any], epochs: Sequence[dict[str, Any]]) -> str:
    """The metric that selected the weights, else the first that validation gave and training did not."""
    names = list(dict.fromkeys(str(name) for r in epochs for name in as_mapping(r.get("val"))))
    chosen = selection.get("metric")
    if chosen in names:
        return str(chosen)
    losses = {"loss", *loss_names(epochs)}
    return next((name for name in names if name not in losses and "/" not in name), "")


def _best(
    selection: Mapping[str, Any],
    metric: str,
    x: Sequence[float],
    y: Sequence[float],
    epochs: Sequence[dict[str, Any]],
    at: Sequence[float],
) -> tuple[float, float] | None:
    """Where the kept weights are: by the step that the run names, else nowhere."""
    if selection.get("metric") != metric:
        return None
    for epoch, record in zip(at[1:], epochs, strict=True):
        if record["step"] == selection.get("step") and epoch in x:
            return epoch, y[list(x).index(epoch)]
    return None


def learning_figure(
    lines: Sequence[tuple[str, Sequence[float], Sequence[float]]],
    *,
    faint: tuple[Sequence[float], Sequence[float]],
    best: tuple[float, float] | None,
    xlabel: str,
    ylabel: str,
) -> "Figure":
    """Plots lines over epochs, with single steps faintly behind, and a mark at the best."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from modicum.tasks.classification.plots import COLOURS, plot_style

    with plot_style():
        figure = Figure(figsize=(5.6, 3.5), layout="constrained")
        axes = figure.subplots()
        if len(faint[0]):
            axes.plot(*faint, color=COLOURS[0], linewidth=0.9, alpha=0.28)
        for index, (name, x, y) in enumerate(lines):
            few = len(x) <= 40
            axes.plot(
                x,
                y,
                color=COLOURS[index],
                linewidth=2.2,
                marker="o" if few else None,
                markersize=3.6,
                label=name,
            )
        if best is not None:
            axes.axvline(best[0], color=COLOURS[1], linewidth=1.2, dashes=(3, 3))
            axes.plot(*best, color=COLOURS[1], marker="o", markersize=8, gid="best")
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        return figure


def cost_values(run: RunFiles) -> dict[str, Any]:
    """Values of the cost card: memory by use, parameters and time; empty if none is known."""
    memory, time, parameters = (as_mapping(run.metrics.get(key)) for key in ("memory", "time", "parameters"))
    parts = []
    for key, name in (
        ("weights", "weights"),
        ("gradients", "gradients"),
        ("optimizer", "optimiser"),
        ("activations", "activations"),
    ):
        amount = number(memory.get(f"{key}_bytes"))
        if amount:
            parts.append((name, amount))
    peak = number(memory.get("peak_bytes")) or 0.0
    held = sum(amount for _, amount in parts)
    if parts and peak > 1.02 * held:
        parts.append(("other", peak - held))
    whole = sum(amount for _, amount in parts) or 1.0
    bars = [
        {"name": name, "text": bytes_text(amount), "share": f"{100 * amount / whole:.2f}", "swatch": f"s{i}"}
        for i, (name, amount) in enumerate(parts)
    ]
    wait = number(time.get("data_wait_share"))
    rows = [
        ("Learnable parameters", short_count(parameters.get("learnable")), _share(parameters)),
        ("All parameters", short_count(parameters.get("total")), ""),
        ("Training", duration(time.get("train_seconds")), "the loop alone"),
        ("Everything", duration(time.get("fit_seconds")), "reading, training, evaluating"),
        ("Speed", f"{number(time.get('images_per_second')) or 0:.3g} images/s", "in training"),
        ("Waiting for data", "–" if wait is None else f"{percent(100 * wait)} %", "of the training time"),
        _passes(time),
        *_stage_rows(run),
    ]
    shown_rows = [row for row in rows if not row[1].startswith("–") and row[1] != "0 images/s"]
    measured = (
        "measured by the GPU's allocator"
        if memory_kind(memory) == "measured"
        else "estimated tensor by tensor"
    )
    return (
        {
            "bars": bars,
            "peak": bytes_text(memory.get("peak_bytes")),
            "device": str(memory.get("device") or ""),
            "measured": measured,
            "rows": shown_rows,
        }
        if bars or shown_rows
        else {}
    )


def _passes(time: Mapping[str, Any]) -> tuple[str, str, str]:
    epochs, steps = short_count(time.get("epochs")), short_count(time.get("steps"))
    if number(time.get("steps")) == 0 and number(time.get("epochs")):
        return "Passes", epochs, "over the training images, without gradients"
    return "Epochs, steps", f"{epochs}, {steps}", ""


def _stage_rows(run: RunFiles) -> list[tuple[str, str, str]]:
    """Of a run with several stages: how long each took, and how its weights were chosen or where they are from."""
    stages = as_mapping(run.metrics.get("stages"))
    if len(stages) < 2:
        return []
    rows = []
    for name, entry in stages.items():
        facts, source = as_mapping(entry), as_mapping(as_mapping(entry).get("source"))
        spent, selection = as_mapping(facts.get("time")), as_mapping(facts.get("selection"))
        value = duration(spent.get("train_seconds")) if spent else "taken as it is"
        remarks = [f"from run {source['run']}"] if source.get("run") else []
        if epochs := number(spent.get("epochs")):
            unit = "epoch" if number(spent.get("steps")) else "pass"
            remarks.append(plural(int(epochs), unit, "passes" if unit == "pass" else ""))
        if metric := selection.get("metric"):
            best = metric_text(str(metric), selection.get("value"))
            remarks.append(f"{metric_title(str(metric))} {best} after epoch {selection.get('epoch')}, kept")
        rows.append((f"Stage {name}", value, ", ".join(remarks)))
    return rows


def _share(parameters: "Any") -> str:
    share = number(parameters.get("learnable_percent"))
    return "" if share is None else f"{percent(share)} % of all"
