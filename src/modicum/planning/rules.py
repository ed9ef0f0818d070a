"""The rules of a plan: read from one file, and the first that fits decides each setting.

The file is ``rules.yaml`` beside this module; its head says how rules are written. Nothing here knows a method by name.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, field_validator

from modicum.engine.recipe.settings import Recipe, Settings
from modicum.engine.recipe.validation import validated
from modicum.errors import InputError, did_you_mean
from modicum.methods import method_class
from modicum.planning.plan_facts import FACTS, Facts

SHIPPED = Path(__file__).parent / "rules.yaml"
"""The rules that come with modicum."""
OF_PLAN = ("goal", "method", "task", "seed")
"""What rules choose that is in no table of a recipe."""
TABLES_OF_METHODS = ("options", "stages", "config")
"""Tables of a recipe whose settings depend on the method."""
_COMPARISON = re.compile(r"\s*(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?)\s*")
_RANGE = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s+to\s+(-?\d+(?:\.\d+)?)\s*")


class Said(Settings):
    """What all entries of a rules file have."""

    name: str
    when: dict[str, Any] = Field(default_factory=dict)
    because: str
    source: list[str] = Field(min_length=1)

    @field_validator("source", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    def fits(self, facts: Facts) -> bool:
        """Whether all conditions are met; a fact that is not known meets none."""
        return all(meets(facts.get(name), condition) for name, condition in self.when.items())

    def reason(self, facts: Facts) -> str:
        """The sentence with the facts in place of their names."""
        return _Sentence().format(self.because, **{name: facts.get(name) for name in FACTS})


class Rule(Said):
    """Settings that are chosen where conditions are met."""

    choose: dict[str, Any] = Field(min_length=1)


class Concession(Said):
    """What is given up where memory or time do not suffice: settings made smaller, or others."""

    change: dict[str, Any] = Field(min_length=1)


class Rules(Settings):
    """The content of a rules file.

    Attributes:
        rules: in their order; of each setting the first that fits decides.
        cautions: what the data cannot support.
        to_fit_memory, to_fit_time: what is tried, in this order.
        consider: by goal, the methods that are looked at beside the chosen one.
    """

    modicum_rules: Literal[1]
    rules: list[Rule]
    cautions: list[Said] = Field(default_factory=list)
    to_fit_memory: list[Concession] = Field(default_factory=list)
    to_fit_time: list[Concession] = Field(default_factory=list)
    consider: dict[str, list[str]] = Field(default_factory=dict)

    def entries(self) -> Iterator[tuple[str, Said]]:
        """All of them, and the list that each stands in."""
        for place in ("rules", "cautions", "to_fit_memory", "to_fit_time"):
            for entry in getattr(self, place):
                yield place, entry


@dataclass(frozen=True)
class Choice:
    """A value of a setting, and why.

    Attributes:
        setting: its path in a recipe, such as ``training.lr``.
        value: what was chosen.
        because: the reason.
        source: where it was measured or published.
        rule: its name; empty for what the user gave.
    """

    setting: str
    value: Any
    because: str
    source: Sequence[str] = field(default_factory=tuple)
    rule: str = ""


def choose(rules: Rules, facts: Facts, given: Mapping[str, Any]) -> dict[str, Choice]:
    """Chooses settings: of each, the first rule whose conditions are met.

    Rules that ask for ``goal`` or ``method`` see what earlier rules chose. A rule that chooses one of them speaks only of
    that one: where another was chosen before, it says nothing of the other settings either.

    Args:
        rules: in their order.
        facts: of the data and the machine.
        given: settings of the user, which no rule changes.
    """
    known = {**facts, **{name: given[name] for name in ("goal", "method") if given.get(name)}}
    chosen = {key: Choice(key, value, "given") for key, value in given.items()}
    for rule in rules.rules:
        others = (name for name in ("goal", "method") if name in rule.choose and known.get(name) is not None)
        if not rule.fits(known) or any(known[name] != rule.choose[name] for name in others):
            continue
        for setting, value in rule.choose.items():
            if setting not in chosen:
                made = filled(value, known)
                chosen[setting] = Choice(setting, made, rule.reason(known), rule.source, rule.name)
                if setting in ("goal", "method"):
                    known[setting] = made
    return chosen


def filled(value: Any, facts: Facts) -> Any:
    """``{side}`` as a whole value is the fact; all else stays as it is."""
    match = re.fullmatch(r"\{(\w+)\}", value) if isinstance(value, str) else None
    return facts.get(match[1]) if match else value


def meets(fact: Any, condition: Any) -> bool:
    """Whether a fact meets a condition; see the head of ``rules.yaml``."""
    if fact is None:
        return False
    if isinstance(condition, list):
        return fact in condition
    if isinstance(condition, str) and not isinstance(fact, str):
        if match := _COMPARISON.fullmatch(condition):
            bound = float(match[2])
            return {"<": fact < bound, ">": fact > bound, "<=": fact <= bound, ">=": fact >= bound}[match[1]]
        if match := _RANGE.fullmatch(condition):
            return float(match[1]) <= fact <= float(match[2])
    return bool(fact == condition)


class _Sentence(Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        if value is None:
            return "unknown"
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, int | float) and not format_spec:
            return f"{value:,.3g}" if isinstance(value, float) and value < 1000 else f"{value:,.0f}"
        return str(super().format_field(value, format_spec))


# --- reading ----------------------------------------------------------------------------------------------------------


def read_rules(path: str | Path | None = None) -> Rules:
    """Reads and checks a rules file; that of modicum by default.

    Raises:
        InputError: the file is not there or not a table, an unknown key, fact, method or setting (with a suggestion), or
            a condition that its fact cannot meet.
    """
    path = SHIPPED if path is None else Path(path)
    where = f"rules '{path.name if path == SHIPPED else path}'"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise InputError(
            f"{where} cannot be read ({type(error).__name__})", "copy modicum's rules.yaml and change it"
        ) from error
    if not isinstance(values, dict) or "modicum_rules" not in values:
        raise InputError(f"{where} has no line 'modicum_rules: 1'", "copy modicum's rules.yaml and change it")
    models: dict[str, type[BaseModel]] = {
        "rules": Rule,
        "cautions": Said,
        "to_fit_memory": Concession,
        "to_fit_time": Concession,
    }
    for place, model in models.items():
        _check_keys(where, place, values.get(place), model)
    rules: Rules = validated(Rules, {str(key): value for key, value in values.items()}, where)
    seen: set[str] = set()
    for place, entry in rules.entries():
        _check_entry(f"{where}, {place} '{entry.name}'", entry)
        if (label := f"{place}/{entry.name}") in seen:
            raise InputError(f"{where}, {place} '{entry.name}' stands there twice", "give it another name")
        seen.add(label)
    for goal, methods in rules.consider.items():
        if goal not in FACTS["goal"].values:
            raise InputError(f"{where}: unknown goal '{goal}'", did_you_mean(goal, FACTS["goal"].values))
        for method in methods:
            method_class(method)
    return rules


def _check_keys(where: str, place: str, entries: Any, model: type[BaseModel]) -> None:
    for number, entry in enumerate(entries if isinstance(entries, list) else [], start=1):
        if not isinstance(entry, dict):
            raise InputError(
                f"{where}: number {number} of {place} is {entry!r}", "write 'name:', 'because:', ..."
            )
        for key in entry:
            if key not in model.model_fields:
                raise InputError(
                    f"{where}: unknown key '{key}' in {place} '{entry.get('name', number)}'",
                    did_you_mean(str(key), model.model_fields),
                )


def _check_entry(where: str, entry: Said) -> None:
    for name, condition in entry.when.items():
        if name not in FACTS:
            raise InputError(f"{where}: unknown fact '{name}'", did_you_mean(name, FACTS))
        _check_condition(where, name, condition)
    for name in _named_facts(entry.because):
        if name not in FACTS:
            raise InputError(f"{where}: unknown fact '{name}' in because", did_you_mean(name, FACTS))
    table = entry.choose if isinstance(entry, Rule) else entry.change if isinstance(entry, Concession) else {}
    for setting, value in table.items():
        _check_setting(where, setting, value)


def _check_condition(where: str, name: str, condition: Any) -> None:
    fact = FACTS[name]
    values = condition if isinstance(condition, list) else [condition]
    for value in values:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        text = value if isinstance(value, str) else ""
        fits = {
            "number": number or bool(_COMPARISON.fullmatch(text) or _RANGE.fullmatch(text)),
            "yes or no": isinstance(value, bool),
            "word": bool(text),
        }[fact.kind]
        if not fits:
            example = {"number": "'< 100' or '20 to 50'", "yes or no": "true or false", "word": "a word"}[
                fact.kind
            ]
            raise InputError(
                f"{where}: condition '{name}: {value}' is not one of a {fact.kind}", f"write {example}"
            )
        if fact.values and text not in fact.values:
            raise InputError(f"{where}: '{name}' is never '{text}'", did_you_mean(text, fact.values))
        if name == "method":
            method_class(text)


def _check_setting(where: str, setting: str, value: Any) -> None:
    part, _, key = setting.partition(".")
    if setting in OF_PLAN or (part in TABLES_OF_METHODS and key):
        if setting == "method" and isinstance(value, str):
            method_class(value)
        return
    model = Recipe.model_fields[part].annotation if part in Recipe.model_fields else None
    if not key or not (isinstance(model, type) and issubclass(model, Settings)):
        names = [*OF_PLAN, *(f"{name}.{inner}" for name, inner in _settings())]
        raise InputError(f"{where}: unknown setting '{setting}'", did_you_mean(setting, names))
    if key not in model.model_fields:
        raise InputError(f"{where}: unknown setting '{setting}'", did_you_mean(key, model.model_fields))
    for name in _named_facts(value) if isinstance(value, str) else ():
        if name not in FACTS:
            raise InputError(f"{where}: unknown fact '{name}' in {setting}", did_you_mean(name, FACTS))


def _settings() -> Iterator[tuple[str, str]]:
    for name, part in Recipe.model_fields.items():
        if isinstance(part.annotation, type) and issubclass(part.annotation, BaseModel):
            yield from ((name, inner) for inner in part.annotation.model_fields)


def _named_facts(text: str) -> list[str]:
    try:
        return [name for _, name, _, _ in Formatter().parse(text) if name is not None]
    except ValueError as error:
        raise InputError(f"'{text}' has a brace that does not close", "write facts as {labelled}") from error
