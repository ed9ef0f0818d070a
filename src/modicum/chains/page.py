"""Renders a chain's ``report.html``: one self-contained page over all steps, with links to the pages of each."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from modicum.atomic_files import write_text
from modicum.chains.chain_folder import ChainFolder, Rows, StepRecord
from modicum.engine.inference.dense_output import ACCOUNT
from modicum.engine.run_folder import read_table
from modicum.errors import ModicumError
from modicum.planning.plan_file import Step
from modicum.report.figures import theme
from modicum.report.files import RunFiles, as_mapping, number, read_evaluated, read_run
from modicum.report.overview import hero
from modicum.report.page import style, templates
from modicum.report.pictures import data_addresses, opened
from modicum.report.places import without_places
from modicum.report.words import bytes_text, count, duration, metric_text, metric_title, plural, short_count

PICTURE_BYTES = 1_500_000
"""Of all pictures of a page together, as text."""
_DONE = {"fit": "Trained", "predict": "Predicted", "evaluate": "Evaluated"}


def build(folder: ChainFolder, out: Path | None = None) -> Path:
    """Writes the page of a chain, finished or not, and returns its path. Only files of its folder are read."""
    page = folder.report if out is None else out
    write_text(page, render(folder))
    return page


def render(folder: ChainFolder) -> str:
    """The page as HTML."""
    record, plan = folder.read(), folder.read_plan()
    entries = {entry.name: entry for entry in record.steps}
    waiting = {step.name: StepRecord(name=step.name, kind=step.kind) for step in plan.steps}
    shown = [(step, entries.get(step.name, waiting[step.name])) for step in plan.steps]
    environment = templates("modicum.chains")
    predicting = max(1, sum(step.kind == "predict" for step in plan.steps))
    cards = [_card(folder, step, entry, PICTURE_BYTES // predicting) for step, entry in shown]
    values = {
        "css": style(),
        "theme": theme(),
        "name": folder.name,
        "subtitle": [
            plural(len(shown), "step"),
            f"{duration(sum(entry.seconds for _, entry in shown))} in all",
        ],
        "unfinished": [entry for _, entry in shown if entry.state != "finished"],
        "steps": cards,
        "last": next((card for card in reversed(cards) if card["score"]), None),
        "plan": without_places(folder.plan.read_text(encoding="utf-8")),
    }
    return environment.get_template("chain.html.j2").render(values)


def _card(folder: ChainFolder, step: Step, entry: StepRecord, budget: int) -> dict[str, Any]:
    place = folder.step(step.name)
    run = _run_of(folder, step) if entry.state == "finished" else None
    page = place / "report.html"
    tables = [
        place / "predictions.csv",
        folder.outputs(step.name) / "predictions.csv",
        folder.table(step.name),
    ]
    return {
        "name": step.name,
        "kind": step.kind,
        "state": entry.state,
        "error": entry.error or "",
        "what": _what(step, run),
        "takes": _takes(step),
        "rows": _rows(entry.rows) if entry.state == "finished" else [],
        "notes": [*entry.rows.notes, *_caution(folder, step)],
        "score": _score(run, step),
        "facts": _facts(run if step.kind == "fit" else None, entry),
        "page": page.relative_to(folder.path).as_posix() if page.is_file() else "",
        "tables": [path.relative_to(folder.path).as_posix() for path in tables if path.is_file()],
        "pairs": _pairs(folder, step, budget),
    }


def _run_of(folder: ChainFolder, step: Step) -> RunFiles | None:
    if step.kind == "fit":
        return read_run(folder.step(step.name))
    run = str(step.resolved({one: folder.step(one) for _, one, _ in step.references()})["run"])
    path = Path(run.removeprefix("run:"))
    if not path.is_dir():
        return None
    return read_evaluated(path, folder.step(step.name)) if step.kind == "evaluate" else read_run(path)


def _what(step: Step, run: RunFiles | None) -> str:
    if step.kind != "fit":
        return f"{_DONE[step.kind]} by {_plain(str(step.settings['run']))}"
    method = str(step.settings.get("method", "full"))
    backbone = None if run is None else run.metrics.get("backbone")
    return f"{_DONE['fit']} with {method}" + (f" on {backbone}" if backbone else "")


def _takes(step: Step) -> list[str]:
    """What it was given of earlier steps."""
    return [f"{name} ({_as_what(place)})" for place, name, _ in step.references()]


def _as_what(place: str) -> str:
    parts = [part for part in place.split(".") if part not in ("fit", "predict", "evaluate")]
    return parts[0] if parts[0] == "backbone" else parts[-1]


def _plain(run: str) -> str:
    return run.removeprefix("step:").removeprefix("run:")


def _rows(rows: Rows) -> list[tuple[str, str]]:
    parts = [("rows in", count(rows.into)), ("rows out", count(rows.out))]
    return parts + [(f"set aside, {why}", count(number_of)) for why, number_of in rows.set_aside.items()]


def _score(run: RunFiles | None, step: Step) -> dict[str, str]:
    """The headline metric of a training or an evaluation; of an encoder, what its weights were chosen by."""
    if run is None or step.kind == "predict":
        return {}
    if found := hero(run):
        interval = f"{found['confidence']} % interval {found['interval']}" if found["interval"] else ""
        return {"text": found["score"], "title": found["title"], "of": found["set"], "interval": interval}
    chosen = as_mapping(run.metrics.get("selection"))
    if number(chosen.get("value")) is None:
        return {}
    metric = str(chosen.get("metric"))
    text = metric_text(metric, chosen.get("value"))
    return {"text": text, "title": metric_title(metric), "of": "validation", "interval": ""}


def _facts(run: RunFiles | None, entry: StepRecord) -> list[tuple[str, str]]:
    facts = [("time", duration(entry.seconds))] if entry.seconds else []
    if run is None:
        return facts
    memory, parameters = (as_mapping(run.metrics.get(key)) for key in ("memory", "parameters"))
    if number(memory.get("peak_bytes")) is not None:
        facts.append(("peak memory", bytes_text(memory.get("peak_bytes"))))
    if number(parameters.get("learnable")) is not None:
        facts.append(("learned parameters", short_count(parameters.get("learnable"))))
    return facts


def _caution(folder: ChainFolder, step: Step) -> list[str]:
    """What readers of a prediction's files must know."""
    account = folder.outputs(step.name) / ACCOUNT
    with suppress(ModicumError):
        caution = read_table(account).get("caution") if account.is_file() else None
        return [str(caution)] if caution else []
    return []


def _pairs(folder: ChainFolder, step: Step, budget: int) -> list[list[str]]:
    """Pictures before and after, as data addresses."""
    place = folder.examples(step.name)
    numbers = sorted({path.name[:2] for path in place.glob("??_before.jpg")}) if place.is_dir() else []
    pictures = [[opened(place, f"{at}_{name}.jpg") for name in ("before", "after")] for at in numbers]
    return [pair for pair in data_addresses(pictures, budget) if all(pair)]
