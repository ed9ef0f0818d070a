"""Summaries of a run or an evaluation in a few lines."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modicum.engine.inference.evaluation import headline
from modicum.engine.run_folder import RunFolder, memory_kind, read_json
from modicum.tasks.metric import no_better_than_baselines
from modicum.tasks.metric_tables import metric_named
from modicum.wording import count_of

_MOST_DOMAINS = 12
"""Of which a line each is printed; the report and ``metrics.json`` have all."""


def run_summary(path: Path) -> list[str]:
    """The lines that `modicum fit` prints at its end."""
    folder = RunFolder.open(path)
    if not folder.metrics.is_file():
        return []
    metrics = read_json(folder.metrics)
    parameters, memory, spent = metrics["parameters"], metrics["memory"], metrics["time"]
    network = f"{metrics['method']} on {metrics['backbone']}" if metrics["backbone"] else metrics["method"]
    if len(stages := metrics.get("stages", {})) > 1:
        network += f" in {len(stages)} stages"
    peak = "peak training memory" if parameters["learnable"] else "peak memory"
    mib = memory["peak_bytes"] / 2**20
    lines = [
        f"{network}: {parameters['learnable']:,} of {parameters['total']:,} parameters learned, "
        f"{peak} {'less than 1' if 0 < mib < 1 else f'{mib:,.0f}'} MiB ({memory_kind(memory)}), "
        f"{spent['images_per_second']:.0f} images/s, {spent['fit_seconds']:.0f} s in all"
    ]
    for name, content in metrics["evaluations"].items():
        lines += [
            f"{name}: {line}"
            for line in evaluation_summary(content, metrics["task"], metrics["selection"].get("metric"))
        ]
    return [*lines, f"report: {folder.report}"]


def evaluation_summary(content: Mapping[str, Any], task: str, first: str | None = None) -> list[str]:
    """An evaluation's most telling metrics in one line, ``first`` the one that selected the weights."""
    estimates = content["metrics"]
    brief = [name for name in estimates if "/" not in name and metric_named(name, task).in_brief]
    names = dict.fromkeys([first, *brief] if first in estimates else brief or list(estimates)[:3])
    unit = count_of(content["images"], "image")
    if content["patients"] is not None:
        unit += f" of {count_of(content['patients'], 'patient')}"
    values = {name: entry.get("value") for name, entry in estimates.items()}
    metrics = [metric_named(name, task) for name in estimates if "/" not in name]
    worse = no_better_than_baselines(metrics, values)
    of_domains = [
        f"domain {domain}: {', '.join(headline(part, name) for name in names)}; {count_of(part['images'], 'image')}"
        for domain, part in content.get("domains", {}).items()
    ]
    whole = f"{', '.join(headline(content, name) for name in names)}; {unit}"
    return [whole, *of_domains[:_MOST_DOMAINS], *(f"note: {one}" for one in worse)]
