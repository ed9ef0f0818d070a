"""Summaries of a run or an evaluation in a few lines."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modicum.engine.inference.evaluation import headline
from modicum.engine.metrics_file import read_metrics
from modicum.engine.run_folder import RunFolder, memory_kind
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
    metrics = read_metrics(folder)
    parameters, memory, spent = metrics["parameters"], metrics["memory"], metrics["time"]
    network = (
        f"{metrics['method']} on {metrics['backbone']}" if metrics.get("backbone") else metrics["method"]
    )
    if len(stages := metrics.get("stages", {})) > 1:
        network += f" in {len(stages)} stages"
    peak = "peak training memory" if parameters["learnable"] else "peak memory"
    facts = [f"{parameters['learnable']:,} of {parameters['total']:,} parameters learned"]
    if mib := memory.get("peak_bytes", 0) / 2**20:
        facts.append(f"{peak} {'less than 1' if mib < 1 else f'{mib:,.0f}'} MiB ({memory_kind(memory)})")
    if speed := spent.get("images_per_second"):
        facts.append(f"{speed:.0f} images/s")
    lines = [f"{network}: {', '.join(facts)}, {spent.get('fit_seconds') or 0:.0f} s in all"]
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
    if content.get("patients") is not None:
        unit += f" of {count_of(content['patients'], 'patient')}"
    values = {name: entry.get("value") for name, entry in estimates.items()}
    metrics = [metric_named(name, task) for name in estimates if "/" not in name]
    worse = no_better_than_baselines(metrics, values)
    of_domains = [
        f"domain {domain}: {', '.join(headline(part, name) for name in names)}; {count_of(part['images'], 'image')}"
        for domain, part in content.get("domains", {}).items()
    ]
    whole = f"{', '.join(headline(content, name) for name in names)}; {unit}"
    sets = []
    if "conformal" in content:
        asked = f"prediction sets for {100 * (1 - content['conformal']['alpha']):g} %"
        sets = [f"{asked}: {headline(content, 'coverage')}, {headline(content, 'set_size')}"]
    return [whole, *sets, *of_domains[:_MOST_DOMAINS], *(f"note: {one}" for one in worse)]


def judge_summary(content: Mapping[str, Any]) -> list[str]:
    """What judges say of images, outputs and targets, a line for each metric in brief or class."""
    lines = []
    for name, verdict in content.get("judges", {}).items():
        kinds = [kind for kind in ("input", "output", "target") if kind in verdict]
        if "shares" in verdict[kinds[0]]:
            classes = sorted({label for kind in kinds for label in verdict[kind]["shares"]})
            lines += [
                f"judge {name}: '{label}' "
                + ", ".join(f"{kind} {100 * verdict[kind]['shares'].get(label, 0.0):.0f} %" for kind in kinds)
                for label in classes
            ]
            continue
        task, found = verdict["task"], verdict[kinds[0]]["metrics"]
        brief = [one for one in found if "/" not in one and metric_named(one, task).in_brief] or list(found)[
            :3
        ]
        lines += [
            f"judge {name}: " + ", ".join(f"{kind} {headline(verdict[kind], one)}" for kind in kinds)
            for one in brief
        ]
    return lines
