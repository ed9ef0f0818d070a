"""``modicum plan``: what the data are like, what to do with them in the memory and time at hand, and why."""

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from modicum.atomic_files import write_text
from modicum.data.checks.fingerprint import fingerprint
from modicum.data.checks.scan import scan
from modicum.data.layouts import load_manifest
from modicum.data.manifest import Manifest
from modicum.data.readers import read_image
from modicum.data.roles import ROLES
from modicum.engine.devices import chosen_device
from modicum.engine.randomness import undisturbed_generators
from modicum.engine.recipe.backbones import hub_reachable
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import read_table
from modicum.errors import BrokenImageError, InputError, ModicumError
from modicum.nn import Backbone
from modicum.nn.plain_vit import is_plain_vit
from modicum.output_paths import check_files, check_output, in_one_line
from modicum.planning.batch_size import RESERVE_BYTES, free_bytes, parse_memory
from modicum.planning.budget import Budget, Draft
from modicum.planning.data_facts import DataFacts, facts_of
from modicum.planning.memory import Device, MemoryPrediction, predicted
from modicum.planning.plan_facts import Facts, check_goal, facts_of_data, round_field
from modicum.planning.plan_text import Alternative, Planned, plan_text
from modicum.planning.rules import Rules, read_rules
from modicum.planning.step_time import Decoding, Stopwatch, TimePrediction
from modicum.progress import quietly

LOOKED_AT = 6
"""Images whose reading is timed."""
OF_READING = frozenset(
    {*ROLES, "columns", "pairs", "images", "split_lists", "slices", "align_geometry", "allow_outside", "classes",
     "box_options", "layout", "layout_options"}
)  # fmt: skip
"""Settings of how data are read; all others are settings of the training."""
_UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


@in_one_line
def plan(
    data: str | Path,
    *,
    memory: str | int | None = None,
    time: str | float | None = None,
    goal: str | None = None,
    name: str | None = None,
    out: str | Path | None = "plan.yaml",
    device: str | None = None,
    rules: str | Path | None = None,
    facts: str | Path | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> Planned:
    """Plans a training: a readable recipe with a reason for every choice, fitted to memory and time.

    Args:
        data: what :func:`modicum.load` reads.
        memory: what training may take, such as ``"8GB"``; by default the free memory of the GPU, or half of what the
            machine has available.
        time: what it may take, such as ``"2h"`` or ``"30min"`` (a number is seconds); any by default.
        goal: ``classify``, ``segment``, ``translate``, ``enhance``, ``detect``, ``pretrain``, ``quality`` or
            ``anomaly``; what the data are for by default.
        name: of the run.
        out: the file; None writes none.
        device: what will train.
        rules: a file of rules in place of modicum's.
        facts: the file that ``modicum inspect`` wrote of the same data, so that no image is read again.
        workers: processes that read images.
        overwrite: replace a plan that is there; it may have been changed by hand.
        settings: what is fixed: any setting of the recipe by its name (``backbone``, ``weights``, ``image_size``, ...),
            and how the data are read, as for :func:`modicum.fit`.

    Returns:
        The plan: ``text`` is the file's content.

    Raises:
        InputError: the data cannot be read or lack what the goal learns from, a word is not known, or nothing that the
            rules name fits the memory; it names what the smallest needs.
    """
    check_goal(goal)
    known_rules = read_rules(rules)
    budget_seconds = None if time is None else parse_time(time)
    given_bytes = None if memory is None else parse_memory(memory)
    reading = {key: value for key, value in settings.items() if key in OF_READING and value is not None}
    fixed = full_names({key: value for key, value in settings.items() if key not in OF_READING}, known_rules)
    if goal is not None:
        fixed["goal"] = goal
    place = chosen_device(device or "auto")
    if device is not None:
        fixed["device"] = device
    if out is not None:
        check_output("--out", Path(out), [Path(data)])
        check_files("--out", [Path(out)], [Path(data)])
        if Path(out).exists() and not overwrite:
            raise InputError(
                f"'{out}' is there already", "pass --out with another name, or --overwrite to replace it"
            )
    manifest, found = looked_at(data, reading, facts, workers)
    for key in [key for key in reading if key not in ROLES and key != "columns"]:
        fixed[f"data.{key}"] = reading.pop(key)
    decoding = _decoding(manifest)
    known = facts_of_data(manifest, found) | {
        "round_field": round_field(decoding.pictures) if decoding.pictures else None,
        **_machine(place, given_bytes, budget_seconds, fixed),
    }
    maker = _Maker(
        known_rules, known, fixed, str(data), reading, place, given_bytes, budget_seconds, decoding, manifest
    )
    planned = maker.planned(name, None if out is None else Path(out))
    if planned.path is not None:
        write_text(planned.path, planned.text)
    return planned


def parse_time(text: str | float) -> float:
    """Seconds from ``2h``, ``30min``, ``90s`` or ``1h30m``; a number is seconds.

    Raises:
        InputError: not a time.
    """
    text = text if isinstance(text, str) else f"{text}s"
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(d|h|min|m|sec|s)", text.strip().lower())
    whole = "".join(f"{number}{unit}" for number, unit in parts)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not parts or whole != re.sub(r"\s", "", text.lower()) or seconds <= 0:
        raise InputError(f"time '{text}' is not a time", "write for instance 2h, 30min or 1h30m")
    return seconds


def full_names(settings: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    """Settings of the user by their path, so that rules find them: ``lr`` is ``training.lr``."""
    paths = {"image_size": "image.size", "backbone": "backbone.name"}
    for table in ("image", "backbone", "features", "training", "data"):
        model: Any = Recipe.model_fields[table].annotation
        for key in model.model_fields:
            paths.setdefault(key, f"{table}.{key}")
    for rule in rules.rules:
        for path in rule.choose:
            paths.setdefault(path.rpartition(".")[2], path)
    return {paths.get(key, key): value for key, value in settings.items() if value is not None}


def looked_at(
    data: str | Path, reading: Mapping[str, Any], facts: str | Path | None, workers: int | None
) -> tuple[Manifest, dict[str, Any]]:
    """The images and their fingerprint: read once, or as `modicum inspect` found them."""
    columns = {role: reading[role] for role in ROLES if role in reading} | dict(reading.get("columns") or {})
    others = {key: value for key, value in reading.items() if key not in ROLES and key != "columns"}
    manifest = load_manifest(
        data, **{"slices": None, **others}, columns=columns or None, missing="keep", unlabelled="keep"
    )
    if facts is not None:
        found = read_table(Path(facts))
        if found.get("images") != len(manifest) or "schema" not in found:
            raise InputError(
                f"'{facts}' does not describe '{data}': {found.get('images', 'no')} images in place of {len(manifest)}",
                "let `modicum inspect` write it again, with the same columns, or leave --fingerprint out",
            )
        return manifest, found
    result = scan(manifest.refs(), workers=workers)
    return manifest, fingerprint(manifest, result, box_options=others.get("box_options"))


def _decoding(manifest: Manifest) -> Decoding:
    """Some images from all over the data, and how long they take to read."""
    refs = manifest.refs()
    chosen = [refs[number * len(refs) // LOOKED_AT] for number in range(min(LOOKED_AT, len(refs)))]
    pictures = []
    began = time.perf_counter()
    for ref in chosen:
        with suppress(BrokenImageError):
            pictures.append(read_image(ref).pixels)
    return Decoding(pictures, (time.perf_counter() - began) / max(1, len(pictures)))


def _machine(
    device: torch.device, memory: int | None, seconds: float | None, fixed: Mapping[str, Any]
) -> Facts:
    weights, backbone = fixed.get("backbone.weights"), fixed.get("backbone.name")
    return {
        "gpu": device.type == "cuda",
        "memory_gb": (free_bytes(device) if memory is None else memory) / 1e9,
        "hours": None if seconds is None else seconds / 3600,
        "pretrained": weights != "random" if weights is not None else hub_reachable(),
        "backbone_given": backbone is not None,
        "transformer": backbone is not None and _is_transformer(str(backbone)),
    }


def _is_transformer(name: str) -> bool:
    """Whether a backbone is a plain vision transformer; an unknown name is refused where the recipe is made."""
    try:
        with undisturbed_generators(), torch.device("meta"):
            return is_plain_vit(Backbone(name, (224, 224)))
    except (ModicumError, RuntimeError, AssertionError):
        return False


@dataclass(frozen=True)
class _Maker:
    """Makes the plan of data that were looked at."""

    rules: Rules
    facts: Facts
    given: Mapping[str, Any]
    source: str
    reading: Mapping[str, Any]
    device: torch.device
    memory: int | None
    seconds: float | None
    decoding: Decoding
    manifest: Manifest

    def planned(self, name: str | None, path: Path | None) -> Planned:
        known: dict[str, DataFacts] = {}
        budget = self._budget(known)
        with quietly():
            draft = budget.fitted()
            self._check_data(known, draft)
            others = list(self._alternatives(budget, draft))
        goal = str(draft.choices["goal"].value) if "goal" in draft.choices else ""
        facts = {**self.facts, "goal": goal, "method": draft.recipe.method}
        cautions = [caution for caution in self.rules.cautions if caution.fits(facts)]
        made = Planned(
            path=path,
            text="",
            facts=facts,
            draft=draft,
            alternatives=others,
            cautions=[(caution.reason(facts), tuple(caution.source)) for caution in cautions],
            goals=self._goals(),
            memory_bytes=budget.memory_bytes,
            memory_given=self.memory is not None,
            seconds=self.seconds,
            device=str(self.device),
        )
        return plan_text(made, self.source, self.reading, name)

    def _budget(self, known: dict[str, DataFacts]) -> Budget:
        kind: Device = "cuda" if self.device.type == "cuda" else "cpu"

        def facts(recipe: Recipe) -> DataFacts:
            return _facts(known, recipe)

        stopwatch = Stopwatch(self.device, self._rows(), self.decoding, self.manifest)

        def memory_of(recipe: Recipe) -> MemoryPrediction:
            return predicted(recipe, facts(recipe), kind)

        def time_of(recipe: Recipe) -> TimePrediction:
            stopwatch.rows = {**stopwatch.rows, "train": facts(recipe).rows}
            return stopwatch.predicted(recipe, facts(recipe))

        free = free_bytes(self.device) if self.memory is None else self.memory
        reserve = 0 if self.memory is None else RESERVE_BYTES
        return Budget(
            self.rules, self.facts, self.given, self.source, self.reading, memory_of, time_of, free, reserve,
            self.seconds,
        )  # fmt: skip

    def _check_data(self, known: dict[str, DataFacts], draft: Draft) -> None:
        """Raises :class:`InputError` where the data lack what the plan's method learns from: it could not be run."""
        try:
            _facts(known, draft.recipe)
        except InputError as error:
            goal = draft.choices["goal"].value if "goal" in draft.choices else None
            others = [name for name in self._goals() if name != goal]
            remedy = error.remedy
            if goal is not None and others:
                remedy += f"; or choose what these data can serve: --goal {' or '.join(others)}"
            raise InputError(
                error.problem if goal is None else f"goal '{goal}': {error.problem}", remedy
            ) from error

    def _rows(self) -> dict[str, int]:
        """Images of each split, given or expected."""
        images, train, test = (int(self.facts[name] or 0) for name in ("images", "train", "test"))
        return {"train": train, "test": test, "val": max(0, images - train - test)}

    def _goals(self) -> Sequence[str]:
        """What else the data could be for: the goals of all rules that fit."""
        fitting = (
            rule.choose["goal"]
            for rule in self.rules.rules
            if "goal" in rule.choose and rule.fits(self.facts)
        )
        return tuple(dict.fromkeys(map(str, fitting)))

    def _alternatives(self, budget: Budget, chosen: Draft) -> Sequence[Alternative]:
        goal = chosen.choices["goal"].value if "goal" in chosen.choices else ""
        others = []
        for method in self.rules.consider.get(str(goal), []):
            if method == chosen.recipe.method or self.given.get("method"):
                continue
            try:
                draft = budget.timed(budget.remembered(budget.draft({"method": method, "goal": goal})))
            except InputError as error:
                others.append(Alternative(method, problem=error.problem))
                continue
            fits = budget.fits_memory(draft) and budget.fits_time(draft)
            problem = draft.memory_unknown if draft.memory is None else ""
            others.append(Alternative(method, draft, fits, problem))
        return others


def _facts(known: dict[str, DataFacts], recipe: Recipe) -> DataFacts:
    """What a recipe's training has to know of the data; ``known`` keeps it."""
    parts = (recipe.task, recipe.options, recipe.data, recipe.training.loss, recipe.method, recipe.config)
    if (key := str(parts)) not in known:
        known[key] = facts_of(recipe)
    return known[key]


__all__ = ["Planned", "full_names", "looked_at", "parse_time", "plan"]
