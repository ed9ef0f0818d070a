"""A plan as text: the file, with a reason beside every choice, and the summary on the terminal."""

import os
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from modicum.data.layouts import data_name
from modicum.data.roles import ROLES
from modicum.data.stores.shard_writer import size_text
from modicum.engine.recipe.assignments import setting_path
from modicum.methods import method_class
from modicum.planning.budget import Draft
from modicum.planning.plan_facts import Facts
from modicum.planning.plan_file import MARK
from modicum.planning.rules import Choice
from modicum.tasks import task_class
from modicum.version import __version__
from modicum.wording import count_of

WIDTH = 116
_ORDER = (
    "method",
    "task",
    "seed",
    "device",
    "data",
    "image",
    "backbone",
    "features",
    "training",
    "stages",
    "options",
    "config",
)


@dataclass(frozen=True)
class Alternative:
    """A method that was looked at beside the chosen one.

    Attributes:
        method: its name.
        draft: what the rules say of it, predicted; None where it cannot be used here.
        fits: whether it fits memory and time as it is.
        problem: why it cannot be used, or its memory not be predicted.
    """

    method: str
    draft: Draft | None = None
    fits: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Planned:
    """A plan that was made.

    Attributes:
        path: of the file; None where none was written.
        text: content of the file.
        facts: of data and machine, that the rules were asked with.
        draft: the choices, the recipe, and what is predicted of it.
        alternatives: other methods, as they are.
        cautions: what the data cannot support, and the sources of that.
        goals: what the data could be for.
        memory_bytes: what training may take.
        memory_given: whether the user said so.
        seconds: what it may take; None for any.
        device: what trains.
        name: of the run.
    """

    path: Path | None
    text: str
    facts: Facts
    draft: Draft
    alternatives: Sequence[Alternative] = ()
    cautions: Sequence[tuple[str, Sequence[str]]] = ()
    goals: Sequence[str] = ()
    memory_bytes: int = 0
    memory_given: bool = True
    seconds: float | None = None
    device: str = "cpu"
    name: str = ""
    why: Sequence[str] = field(default_factory=tuple)

    @property
    def recipe(self) -> Any:
        """The resolved recipe; a run of the plan has the same."""
        return self.draft.recipe

    @property
    def choices(self) -> Mapping[str, Choice]:
        """By setting, the value and why."""
        return self.draft.choices

    def summary(self) -> list[str]:
        """Some lines for the terminal."""
        lines = [_data_line(self.facts), f"plan: {_what(self.draft)}", f"predicted: {_prediction(self)}"]
        lines += [f"because {self.choices['method'].because}"] if "method" in self.choices else []
        lines += [f"given up: {text}" for text in self.draft.given_up]
        lines += [f"considered: {_alternative(other)}" for other in self.alternatives]
        others = [goal for goal in self.goals if goal not in (self.facts["goal"], "pretrain")]
        lines += [f"the data could also serve --goal {goal}" for goal in others]
        lines += [f"caution: {text}" for text, _ in self.cautions]
        if self.path is not None:
            lines.append(f"{self.path}: every choice with its reason; run it with `modicum fit {self.path}`")
        return lines


def plan_text(planned: Planned, source: str, reading: Mapping[str, Any], name: str | None) -> Planned:
    """The plan with its text.

    Args:
        planned: without text.
        source: of the data, as the user gave it.
        reading: how they are read.
        name: of the run; by default made of the data's name and the method.
    """
    title = name or f"{data_name(source)}-{planned.draft.recipe.method}".lower().replace(" ", "-")
    choices = planned.draft.choices
    method = choices["method"]
    why = [f"{planned.draft.recipe.method}: {method.because}", f"predicted: {_prediction(planned)}"]
    lines = [
        *_comment(
            f"Plan by modicum {__version__}. Every choice may be changed; run it with `modicum fit FILE`."
        ),
        *_comment(_data_line(planned.facts)),
        *_comment(f"Predicted: {_prediction(planned)}"),
        *(line for text in planned.draft.given_up for line in _comment(f"Given up: {text}")),
        "",
        f"{MARK}: 1",
        f"data: {_scalar(_relative(source, planned.path))}",
        f"name: {_scalar(title)}",
        "steps:",
        "  - name: fit",
        f"    why: {_block(why)}",
        "    fit:",
        *_fit_lines(planned, reading),
        "",
        *_tail(planned),
    ]
    return replace(planned, text="\n".join(lines).rstrip() + "\n", name=title, why=why)


def _fit_lines(planned: Planned, reading: Mapping[str, Any]) -> Iterator[str]:
    """The settings, table by table, each below its reason."""
    recipe = planned.draft.recipe
    kind, options = method_class(recipe.method), task_class(recipe.task).Options
    tables: dict[str, list[tuple[list[str], Choice]]] = {name: [] for name in _ORDER}
    for key, choice in planned.draft.choices.items():
        if key != "goal":
            path = setting_path(key, kind.Config, options, tuple(kind.stage_training))
            tables[path[0]].append((path[1:], choice))
    if goal := planned.draft.choices.get("goal"):
        yield from _comment(f"goal {goal.value}: {goal.because}{_sources(goal)}", 6)
    for table, members in tables.items():
        columns = _columns(reading) if table == "data" else {}
        if members and not members[0][0]:  # a setting that is in no table
            yield from _setting(table, members[0][1], 6, {})
        elif members or columns:
            yield f"      {table}:"
            if columns:
                yield f"        columns: {_scalar(columns)}  # given"
            yield from _members(members)


def _members(members: Sequence[tuple[list[str], Choice]]) -> Iterator[str]:
    """The settings of one table; those of a stage stand in a table of its own."""
    said: dict[str, str] = {}
    within = ""
    for (*outer, key), choice in sorted(members, key=lambda member: member[0][:-1]):
        if outer and outer[0] != within:
            (within,) = outer
            yield f"        {within}:"
        yield from _setting(key, choice, 8 + 2 * len(outer), said)


def _setting(key: str, choice: Choice, indent: int, said: dict[str, str]) -> Iterator[str]:
    """One setting below its reason, or beside the name of the setting that has the same."""
    reason = f"{choice.because}{_sources(choice)}"
    value = f"{' ' * indent}{key}: {_scalar(choice.value)}"
    if reason in said or not choice.rule:
        yield f"{value}  # {f'with {said[reason]}' if choice.rule else reason}"
        return
    said[reason] = key
    yield from _comment(reason, indent)
    yield value


def _columns(reading: Mapping[str, Any]) -> dict[str, Any]:
    """The column of each role."""
    return {
        **dict(reading.get("columns") or {}),
        **{role: reading[role] for role in ROLES if role in reading},
    }


def _tail(planned: Planned) -> Iterator[str]:
    yield from _comment("All other settings are the method's own; the run's recipe.yaml has every one.")
    if planned.alternatives:
        yield "#"
        yield from _comment(
            "Considered, with the settings that the rules give them, before anything is given up:"
        )
        for other in planned.alternatives:
            yield from _comment(f"- {_alternative(other)}")
    if planned.cautions:
        yield "#"
        yield from _comment("What the data cannot support:")
        for text, sources in planned.cautions:
            yield from _comment(f"- {text} [{', '.join(sources)}]")


def _data_line(facts: Facts) -> str:
    parts = [count_of(facts["images"], "image")]
    if facts["patients_known"]:
        parts.append(count_of(facts["patients"], "patient"))
    if facts["labelled"]:
        kind = "grades" if facts["ordered"] else "findings" if facts["kind"] == "multi-label" else "classes"
        parts.append(f"{facts['labelled']:,} labelled ({facts['classes']} {kind})")
    parts += [f"{facts[name]:,} with {word}" for name, word in _BESIDE.items() if facts[name]]
    if facts["domains"]:
        parts.append(count_of(facts["domains"], "domain"))
    if facts["side"]:
        parts.append(f"{facts['side']:g} pixels on the shorter side")
    return "data: " + ", ".join(parts)


_BESIDE = {"masks": "masks", "targets": "a target image", "boxes": "boxes", "reports": "reports"}


def _what(draft: Draft) -> str:
    recipe = draft.recipe
    height, width = recipe.image.size
    backbone = draft.choices.get("backbone.name")
    on = f" on {backbone.value}" if backbone is not None else ""
    size = f"{height}" if height == width else f"{height}x{width}"
    epochs = recipe.training.epochs
    own = [values["epochs"] for values in recipe.stages.values() if "epochs" in values]
    times = f"{epochs} epochs" if not own else f"epochs {', '.join(map(str, own))} by stage"
    return f"{recipe.method}{on}, {size} pixels, batches of {recipe.training.batch_size}, {times}"


def _prediction(planned: Planned) -> str:
    draft = planned.draft
    memory = f"memory not predicted ({draft.memory_unknown})"
    if draft.memory is not None:
        given = size_text(planned.memory_bytes) + ("" if planned.memory_given else " free")
        memory = f"peak memory {size_text(draft.memory.needed_bytes)} of {given}"
    return f"{memory}; {_time(draft)}" + (f" of {minutes(planned.seconds)} given" if planned.seconds else "")


def _time(draft: Draft) -> str:
    if draft.time is None:
        return f"time not predicted ({draft.time_unknown})"
    return f"{minutes(draft.time.total_seconds)} on this machine (steps alone {minutes(draft.time.train_seconds)})"


def minutes(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _alternative(other: Alternative) -> str:
    if other.draft is None or (other.draft.memory is None and other.draft.time is None):
        return f"{other.method}: not here ({other.problem})"
    memory = (
        size_text(other.draft.memory.needed_bytes)
        if other.draft.memory
        else f"not predicted ({other.problem})"
    )
    return f"{_what(other.draft)}: {memory}, {_time(other.draft)}{'' if other.fits else ', too much'}"


def _sources(choice: Choice) -> str:
    return f" [{', '.join(choice.source)}]" if choice.source else ""


def _comment(text: str, indent: int = 0) -> Iterator[str]:
    start = f"{' ' * indent}# "
    yield from textwrap.wrap(
        text, WIDTH, initial_indent=start, subsequent_indent=start + ("  " if text.startswith("- ") else ""),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _block(texts: Iterable[str]) -> str:
    return yaml.safe_dump(list(texts), default_flow_style=True, width=10**6, allow_unicode=True).strip()


def _scalar(value: Any) -> str:
    value = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True).strip()
    return text.removesuffix("...").strip()


def _relative(source: str, path: Path | None) -> str:
    """The data relative to the plan file, where the user named them by a relative path."""
    given = Path(source)
    if path is None or given.is_absolute():
        return given.as_posix()
    return Path(os.path.relpath(given, path.parent)).as_posix()
