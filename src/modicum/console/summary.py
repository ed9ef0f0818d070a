"""Summaries of a run or an evaluation in a few lines."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modicum.engine.inference.evaluation import headline
from modicum.engine.run_folder import RunFolder, memory_kind, read_json
from modicum.wording import count_of


def run_summary(path: Path) -> list[str]:
    """The lines that `modicum fit` prints at its end."""
    folder = RunFolder.open(path)
    if not folder.metrics.is_file():
        return []
    metrics = read_json(folder.metrics)
    parameters, memory, spent = metrics["parameters"], metrics["memory"], metrics["time"]
    network = f"{metrics['method']} on {metrics['backbone']}" if metrics["backbone"] else metrics["method"]
    lines = [
        f"{network}: {parameters['learnable']:,} of {parameters['total']:,} "
        f"parameters learned, peak training memory {memory['peak_bytes'] / 2**20:,.0f} MiB ({memory_kind(memory)}), "
        f"{spent['images_per_second']:.0f} images/s, {spent['fit_seconds']:.0f} s in all"
    ]
    for name, content in metrics["evaluations"].items():
        lines += [
            f"{name}: {line}" for line in evaluation_summary(content, metrics["selection"].get("metric"))
        ]
    return [*lines, f"report: {folder.report}"]


def evaluation_summary(content: Mapping[str, Any], first: str | None = None) -> list[str]:
    """The main metrics of an evaluation in one line."""
    wanted = [first, "dice", "auroc", "balanced_accuracy", "accuracy", "quadratic_kappa"]
    available = list(content["metrics"])
    names = [name for name in dict.fromkeys(wanted) if name and name in available]
    names += available[:3] if len(names) < 2 else []  # another task's: its own first
    names = list(dict.fromkeys(names))
    unit = count_of(content["images"], "image")
    if content["patients"] is not None:
        unit += f" of {count_of(content['patients'], 'patient')}"
    return [f"{', '.join(headline(content, name) for name in names)}; {unit}"]
