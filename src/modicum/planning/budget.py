"""Fits what the rules chose to the memory and the time that are given, by the concessions that the rules name."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from modicum.data.stores.shard_writer import size_text
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError
from modicum.planning.batch_size import MARGIN, usable_bytes
from modicum.planning.memory import MemoryPrediction
from modicum.planning.plan_facts import Facts
from modicum.planning.rules import Choice, Concession, Rules, choose, filled
from modicum.planning.step_time import TimePrediction
from modicum.wording import count_of

BATCH = "training.batch_size"
MOST_CHANGES = 60
"""Concessions that are made at most; a rules file cannot keep a plan from ending."""


@dataclass(frozen=True)
class Draft:
    """Settings, and what is predicted of them.

    Attributes:
        choices: by setting.
        recipe: what they make.
        memory: predicted; None where it cannot be.
        memory_unknown: why it cannot be.
        time: predicted; None where it cannot be, or is not asked for.
        time_unknown: why it cannot be.
        given_up: a sentence for each concession.
    """

    choices: Mapping[str, Choice]
    recipe: Recipe
    memory: MemoryPrediction | None = None
    memory_unknown: str = ""
    time: TimePrediction | None = None
    time_unknown: str = ""
    given_up: Sequence[str] = ()


@dataclass
class Budget:
    """Makes drafts, predicts them and makes concessions until they fit.

    Attributes:
        rules: name the concessions.
        facts: of the data and the machine.
        given: settings of the user: no concession changes them.
        source: of the data.
        reading: settings of the data, as ``make_recipe`` takes them.
        predict_memory: predicts a recipe; raises :class:`InputError` where that cannot be done.
        predict_time: the same for its time.
        memory_bytes: what training may take.
        reserve_bytes: of that, what a process takes before it has any tensor.
        seconds: that training may take; None for any.
    """

    rules: Rules
    facts: Facts
    given: Mapping[str, Any]
    source: str
    reading: Mapping[str, Any]
    predict_memory: Callable[[Recipe], MemoryPrediction]
    predict_time: Callable[[Recipe], TimePrediction]
    memory_bytes: int
    reserve_bytes: int
    seconds: float | None = None
    _tried: set[str] = field(default_factory=set)

    @property
    def usable(self) -> int:
        """Bytes that a prediction may add up to."""
        return usable_bytes(self.memory_bytes, self.reserve_bytes)

    def draft(self, given: Mapping[str, Any] | None = None) -> Draft:
        """What the rules choose, as it is.

        Args:
            given: settings that are fixed besides the user's, such as another method.
        """
        choices = choose(self.rules, self.facts, {**(given or {}), **self.given})
        if "method" not in choices:
            goal = choices["goal"].value if "goal" in choices else "unknown"
            raise InputError(
                f"no rule names a method for goal '{goal}'",
                "add one to the rules file, or pass --set method=NAME",
            )
        return Draft(choices, self._recipe(self._within_data(choices)))

    def _within_data(self, choices: dict[str, Choice]) -> dict[str, Choice]:
        """The same choices, with no larger batch than there are training images."""
        batch, images = choices.get(BATCH), self.facts.get("train")
        if batch is not None and batch.rule and images and batch.value > images:
            most = 2 ** int(math.log2(images))
            why = f"there are no more than {count_of(images, 'training image')}"
            choices[BATCH] = Choice(BATCH, most, why, ("docs/memory.md#choosing-the-batch-size",), batch.rule)
        return choices

    def fitted(self) -> Draft:
        """The rules' choice, made smaller until it fits both.

        Raises:
            InputError: the smallest that was tried does not fit the memory.
        """
        draft = self._fit_memory(self.draft())
        if self.seconds is not None:
            draft = self._fit_time(self.timed(draft))
        return draft if draft.time is not None or draft.time_unknown else self.timed(draft)

    def remembered(self, draft: Draft) -> Draft:
        """The draft with its predicted memory."""
        try:
            return replace(draft, memory=self.predict_memory(draft.recipe), memory_unknown="")
        except InputError as error:
            return replace(draft, memory=None, memory_unknown=error.problem)

    def timed(self, draft: Draft) -> Draft:
        """The draft with its predicted time."""
        try:
            return replace(draft, time=self.predict_time(draft.recipe), time_unknown="")
        except InputError as error:
            return replace(draft, time=None, time_unknown=error.problem)

    def fits_memory(self, draft: Draft) -> bool:
        """Whether the predicted peak fits; what cannot be predicted is taken to."""
        return draft.memory is None or draft.memory.needed_bytes <= self.usable

    def fits_time(self, draft: Draft) -> bool:
        """Whether the predicted time fits."""
        return draft.time is None or self.seconds is None or draft.time.total_seconds <= self.seconds

    # --- concessions ----------------------------------------------------------------------------------------------

    def _fit_memory(self, draft: Draft) -> Draft:
        draft = self.remembered(draft)
        smallest = draft
        for _ in range(MOST_CHANGES):
            if self.fits_memory(draft):
                return draft
            changed = self._conceded(draft, self.rules.to_fit_memory)
            if changed is None:
                break
            draft = self.remembered(changed)
            if draft.memory is not None and (
                smallest.memory is None or draft.memory.needed_bytes < smallest.memory.needed_bytes
            ):
                smallest = draft
        raise self._refusal(smallest)

    def _fit_time(self, draft: Draft) -> Draft:
        for _ in range(MOST_CHANGES):
            if self.fits_time(draft):
                return draft
            changed = self._conceded(draft, self.rules.to_fit_time)
            if changed is None:
                break
            if changed.recipe.method != draft.recipe.method:
                changed = self._fit_memory(changed)
            else:
                changed = self.remembered(changed)
            draft = self.timed(changed)
        if self.fits_time(draft):
            return draft
        assert draft.time is not None
        longer = f"nothing further: it takes {draft.time.total_seconds / 60:.1f} minutes, longer than the time given"
        return replace(draft, given_up=[*draft.given_up, longer])

    def _conceded(self, draft: Draft, concessions: Sequence[Concession]) -> Draft | None:
        """The draft after the first concession that changes anything; None where all is given up already."""
        known = {**self.facts, "method": draft.recipe.method, "goal": _value(draft, "goal")}
        for concession in concessions:
            if not concession.fits(known) or set(concession.change) & set(self.given):
                continue
            changes = {key: self._changed(draft, key, value) for key, value in concession.change.items()}
            if any(value is None for value in changes.values()):
                continue
            return self._with(draft, concession, changes)
        return None

    def _with(self, draft: Draft, concession: Concession, changes: Mapping[str, Any]) -> Draft:
        why = concession.reason(self.facts)
        said = [_sentence(draft, key, value, why) for key, value in changes.items()]
        if "method" in changes:
            self._tried.add(str(changes["method"]))
            fresh = self.draft({**changes, "goal": _value(draft, "goal")})
            choices = dict(fresh.choices)
        else:
            choices = dict(draft.choices)
        for key, value in changes.items():
            choices[key] = Choice(key, value, why, concession.source, concession.name)
        if "goal" in draft.choices:
            choices["goal"] = draft.choices["goal"]
        return Draft(choices, self._recipe(choices), given_up=[*draft.given_up, *said])

    def _changed(self, draft: Draft, setting: str, change: Any) -> Any:
        """The setting's new value; None where it cannot be changed (further)."""
        now = current(draft.recipe, setting)
        if not isinstance(change, Mapping):
            value = filled(change, self.facts)
            tried = setting == "method" and value in self._tried | {draft.recipe.method}
            return None if tried or value == now else value
        if now is None:
            return None
        lowest = change.get("at_least", 1)
        if change.get("fit"):
            value = self._epochs_that_fit(draft, int(now))
        else:
            unit = int(change.get("multiple_of", 1))
            value = int(now * float(change["times"])) // unit * unit
        value = max(value, lowest)
        return value if value < now else None

    def _epochs_that_fit(self, draft: Draft, epochs: int) -> int:
        time = draft.time
        if time is None or self.seconds is None:
            return epochs
        left = self.seconds - time.fixed_seconds
        return max(0, math.floor(epochs * left / max(time.total_seconds - time.fixed_seconds, 1e-9)))

    def _recipe(self, choices: Mapping[str, Choice]) -> Recipe:
        settings = {
            choice.setting: choice.value
            for choice in choices.values()
            if choice.setting not in ("goal", "method")
        }
        kept_null = {key: value for key, value in settings.items() if value is None}
        recipe = make_recipe(
            self.source,
            str(choices["method"].value),
            {**self.reading, **{key: value for key, value in settings.items() if value is not None}},
        )
        for key in kept_null:
            part, _, name = key.partition(".")
            recipe = recipe.model_copy(update={part: {**getattr(recipe, part), name: None}})
        return recipe

    def _refusal(self, smallest: Draft) -> InputError:
        assert smallest.memory is not None
        needed = smallest.memory.needed_bytes
        whole = needed / (1 - MARGIN) + self.reserve_bytes
        height, width = smallest.recipe.image.size
        return InputError(
            f"no plan fits {size_text(self.memory_bytes)}, of which {size_text(max(0, self.usable))} can be used: the "
            f"smallest that was tried ({smallest.recipe.method}, {height}x{width} pixels, "
            f"{smallest.memory.batch} a batch) needs {size_text(needed)}",
            f"pass --memory {math.ceil(whole / 1e7) * 10}MB or more, or a smaller --backbone",
        )


def current(recipe: Recipe, setting: str) -> Any:
    """The value of a setting by its path; of an image size the shorter side."""
    value: Any = recipe.model_dump()
    for part in setting.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return min(value) if setting == "image.size" and value is not None else value


def _value(draft: Draft, name: str) -> Any:
    return draft.choices[name].value if name in draft.choices else None


def _sentence(draft: Draft, key: str, value: Any, why: str) -> str:
    return f"{key} {value} in place of {current(draft.recipe, key)}: {why}"
