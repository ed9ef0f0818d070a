"""Plans: valid for any facts, within memory or refused with what would be enough, and run as they were predicted."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import modicum
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError
from modicum.methods import method_class
from modicum.planning import step_time
from modicum.planning.batch_size import RESERVE_BYTES, usable_bytes
from modicum.planning.budget import Budget, Draft
from modicum.planning.memory import MemoryPrediction
from modicum.planning.plan import parse_time
from modicum.planning.plan_facts import FACTS, GOALS, facts_of_data, round_field
from modicum.planning.plan_file import read_plan
from modicum.planning.plan_text import Planned, plan_text
from modicum.planning.rules import SHIPPED, read_rules
from modicum.planning.step_time import StageTime, TimePrediction

RULES = read_rules()
STARTING = 50_000_000


def memory_of(recipe: Recipe) -> MemoryPrediction:
    """As memory goes: with pixels and images, but for methods that see stored features."""
    height, width = recipe.image.size
    of_images = 200 * height * width * recipe.training.batch_size
    needed = STARTING + (of_images if method_class(recipe.method).augments else 0)
    return MemoryPrediction("cpu", recipe.training.batch_size, "tune", needed, 0, 0, 0, 0, 0, 0, 0, needed, 0)


def time_of(recipe: Recipe) -> TimePrediction:
    """A hundred steps an epoch."""
    height, width = recipe.image.size
    step = 1e-6 * height * width if method_class(recipe.method).augments else 1e-3
    return TimePrediction({"tune": StageTime(step, step / 3, 100 * recipe.training.epochs, 0)})


def facts_of(**known: Any) -> dict[str, Any]:
    return {**dict.fromkeys(FACTS), "images": 400, "patients": 200, "side": 300, "window_side": 288, **known}


def budget_of(facts: dict[str, Any], memory: int = 8 * 10**9, seconds: float | None = None, **given: Any):
    return Budget(RULES, facts, given, "data.csv", {}, memory_of, time_of, memory, RESERVE_BYTES, seconds)


def any_value(name: str) -> st.SearchStrategy[Any]:
    fact = FACTS[name]
    values: st.SearchStrategy[Any] = st.booleans()
    if fact.kind == "number":
        values = st.sampled_from([0, 1, 5, 20, 29, 30, 39, 64, 96, 128, 299, 512, 3000, 10**6])
    elif fact.kind == "word":
        values = st.sampled_from(fact.values or ("x",))
    return st.none() | values


@st.composite
def any_facts(draw: st.DrawFn) -> dict[str, Any]:
    """Any facts at all, but that an image has a size."""
    facts = {name: draw(any_value(name)) for name in FACTS if name != "method"}
    side = draw(st.sampled_from([8, 28, 64, 90, 224, 500, 3000]))
    window = min(1024, max(32, 32 * round(side / 32)))
    pretrained = draw(st.booleans())
    images = draw(st.integers(1, 10**6))
    return {
        **facts,
        "images": images,
        "patients": images,
        "method": None,
        "side": side,
        "window_side": window,
        "pretrained": pretrained,
    }


@settings(max_examples=12, deadline=None)
@given(any_facts(), st.sampled_from(GOALS))
def test_any_facts_give_a_valid_recipe(facts: dict[str, Any], goal: str) -> None:
    draft = budget_of(facts, goal=goal).draft()
    Recipe.model_validate(draft.recipe.model_dump(mode="json"))
    for setting, choice in draft.choices.items():
        assert choice.because, setting
    assert read_back(draft, facts) == draft.recipe.model_dump() | {"based_on": "plan.yaml"}


def read_back(draft: Draft, facts: dict[str, Any]) -> dict[str, Any]:
    """The recipe of the run that a plan's file makes."""
    made = plan_text(
        Planned(None, "", facts | {"goal": draft.choices["goal"].value}, draft), "data.csv", {}, None
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "plan.yaml"
        path.write_text(made.text, encoding="utf-8")
        plan = read_plan(path)
    recipe = make_recipe("data.csv", None, {}, plan.recipe(plan.steps[0])).model_dump()
    return recipe | {"based_on": Path(recipe["based_on"]).name}


def test_settings_of_stages_and_short_names_find_their_tables() -> None:
    given = {"goal": "enhance", "method": "led", "degrade.epochs": 3, "enhance.lr": 0.01, "start": 200}
    draft = budget_of(facts_of(), **given).draft()
    assert draft.recipe.stages["degrade"]["epochs"] == 3
    assert read_back(draft, facts_of()) == draft.recipe.model_dump() | {"based_on": "plan.yaml"}


@settings(max_examples=12, deadline=None)
@given(
    any_facts(),
    st.sampled_from(GOALS),
    st.integers(100 * 10**6, 4 * 10**9),
    st.sampled_from([None, 5.0, 60.0, 9999.0]),
)
def test_plans_fit_the_memory_or_say_what_would(
    facts: dict[str, Any], goal: str, memory: int, seconds: float | None
) -> None:
    refusal = None
    try:
        draft = budget_of(facts, memory, seconds, goal=goal).fitted()
    except InputError as error:
        refusal = error
    if refusal is not None:
        assert "smallest that was tried" in refusal.problem
        enough = int(refusal.remedy.split("--memory ")[1].split("MB")[0]) * 10**6
        assert memory < enough
        memory = enough
        draft = budget_of(facts, memory, seconds, goal=goal).fitted()
    assert draft.memory is not None
    assert draft.memory.needed_bytes <= usable_bytes(memory, RESERVE_BYTES)


def test_what_is_given_up_follows_the_order_of_the_rules_and_is_said() -> None:
    facts = facts_of(goal="classify", pretrained=True, gpu=False, backbone_given=False, transformer=False)
    whole = budget_of(facts, goal="classify").fitted()
    assert not whole.given_up
    needed = memory_of(whole.recipe).needed_bytes
    half = budget_of(facts, int(needed / 0.9) + RESERVE_BYTES - 10**6, goal="classify").fitted()
    assert half.recipe.training.batch_size == whole.recipe.training.batch_size // 2
    assert [text.partition(" ")[0] for text in half.given_up] == ["training.batch_size"]
    least = budget_of(facts, int(1.05 * STARTING / 0.9) + RESERVE_BYTES, goal="classify").fitted()
    assert least.recipe.method == "linear"
    assert any("linear in place of full" in text for text in least.given_up)


def test_what_the_user_gave_is_not_given_up() -> None:
    facts = facts_of(pretrained=False, gpu=False, backbone_given=False)
    given = {"goal": "classify", "training.batch_size": 32, "image.size": 128, "method": "full"}
    with pytest.raises(InputError, match="smallest that was tried"):
        budget_of(facts, RESERVE_BYTES + 60_000_000, **given).fitted()


def test_epochs_are_fitted_to_the_time() -> None:
    facts = facts_of(pretrained=False, gpu=False, backbone_given=False, labelled=400)
    free = budget_of(facts, goal="classify").fitted()
    assert free.time is not None
    bound = free.time.fixed_seconds + (free.time.total_seconds - free.time.fixed_seconds) / 3
    short = budget_of(facts, seconds=bound, goal="classify").fitted()
    assert short.time is not None
    assert short.time.total_seconds <= bound
    assert short.recipe.training.epochs == free.recipe.training.epochs // 3
    assert short.recipe.image.size == free.recipe.image.size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("30min", 1800), ("1h30m", 5400), ("90 s", 90), (5, 5), ("1.5 H", 5400)],
)
def test_times(text: str | float, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "soon", "2h?", "-1h", "0s"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(InputError, match="2h"):
        parse_time(text)


# --- on files ---------------------------------------------------------------------------------------------------------

FIXED = {"backbone": "test_resnet", "weights": "random", "image_size": 32, "device": "cpu"}


@pytest.fixture(scope="module")
def planned(task_data, tmp_path_factory):
    step_time.SECONDS = 0.05
    folder = tmp_path_factory.mktemp("plan")
    rules = yaml.safe_load(SHIPPED.read_text(encoding="utf-8")) | {
        "consider": {"classify": ["linear", "lora"]}
    }
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules, sort_keys=False))
    made = modicum.plan(
        task_data("fundus"),
        out=folder / "plan.yaml",
        rules=folder / "rules.yaml",
        memory="2GB",
        label="label",
        workers=0,
        epochs=1,
        **FIXED,
    )
    step_time.SECONDS = 2.0
    return made


def test_the_file_holds_a_reason_beside_each_choice(planned) -> None:
    plan = read_plan(planned.path)
    assert plan.is_single_fit
    (step,) = plan.steps
    assert len(step.why) == 2
    fit = yaml.safe_load(planned.text)["steps"][0]["fit"]
    assert fit["method"] == planned.recipe.method == "full"
    assert fit["training"]["epochs"] == 1
    said = " ".join(planned.text.replace("#", " ").split())
    for choice in planned.choices.values():
        assert all(source.replace("#", " ") in said for source in choice.source)
    assert "What the data cannot support" in planned.text
    assert [other.method for other in planned.alternatives] == ["linear", "lora"]
    assert "lora: not here" in planned.text  # it wants a transformer, and another backbone was fixed
    summary = "\n".join(planned.summary())
    assert "predicted: peak memory" in summary
    assert f"modicum fit {planned.path}" in summary


def test_fit_runs_the_plan_as_it_was_predicted(planned, tmp_path, capsys) -> None:
    given = {"runs": tmp_path, "workers": 0, "write_report": False, "resamples": 0}
    run = modicum.fit(planned.path, leaks="allow", **given)
    assert run.path.name == planned.name
    assert planned.why[0] in " ".join(capsys.readouterr().err.split())
    expected = planned.recipe.model_dump() | {"based_on": str(planned.path), "resamples": 0}
    expected["data"] = {**expected["data"], "leaks": "allow"}
    assert run.recipe.model_dump() == expected
    assert run.metrics["memory"]["peak_bytes"] == planned.draft.memory.accounted_bytes
    again = modicum.fit(planned.path, leaks="allow", resume=True, **given)
    assert again.metrics == run.metrics


def test_a_fingerprint_saves_reading_the_images_again(planned, task_data, tmp_path, monkeypatch) -> None:
    from modicum.console.inspection import inspect_data
    from modicum.planning import plan

    inspect_data(str(task_data("fundus")), {}, tmp_path / "facts.json", 0)
    monkeypatch.setattr(plan, "scan", None)
    manifest, found = plan.looked_at(task_data("fundus"), {"label": "label"}, tmp_path / "facts.json", 0)
    facts = facts_of_data(manifest, found)
    for name in ("images", "patients", "labelled", "side", "imbalance"):
        assert facts[name] == planned.facts[name]
    (tmp_path / "other.json").write_text('{"schema": 1, "images": 3}')
    with pytest.raises(InputError, match="does not describe"):
        plan.looked_at(task_data("fundus"), {}, tmp_path / "other.json", 0)


def test_words_that_nobody_knows(task_data) -> None:
    with pytest.raises(InputError, match="did you mean 'classify'"):
        modicum.plan(task_data("fundus"), goal="clasify")
    with pytest.raises(InputError, match="8GB"):
        modicum.plan(task_data("fundus"), memory="lots")


def test_page_of_plans_lists_every_fact() -> None:
    page = (Path(__file__).parents[2] / "docs" / "plan.md").read_text(encoding="utf-8")
    for name, fact in FACTS.items():
        assert f"| `{name}` | {fact.kind} | {fact.words}" in page


def test_a_round_bright_field_is_told_from_a_full_frame() -> None:
    y, x = np.mgrid[:60, :80]
    disc = ((y - 30) ** 2 + (x - 40) ** 2 < 28**2) * 0.6
    round_one, full, grey = np.stack([disc] * 3), np.full((3, 60, 80), 0.5), disc[None]
    assert round_field([round_one, round_one, full])
    assert not round_field([round_one, full, full])
    assert not round_field([grey])


@pytest.mark.parametrize(
    ("goal", "said"),
    [
        ("segment", "goal 'segment': .*no column 'mask'"),
        ("translate", "goal 'translate': .*no column 'target'"),
        ("enhance", "goal 'enhance': .*no column 'target'"),
        ("detect", "goal 'detect': .*learns from boxes"),
    ],
)
def test_a_goal_that_the_data_cannot_serve_is_refused_with_what_is_missing(task_data, tmp_path, goal, said):
    table = pd.read_csv(task_data("fundus"), dtype=str)
    plain = table.drop(columns=[name for name in table if name not in ("image", "label", "patient", "split")])
    path = task_data("fundus").with_name("plain.csv")
    plain.to_csv(path, index=False)
    with pytest.raises(InputError, match=said) as refused:
        modicum.plan(path, goal=goal, weights="random", out=tmp_path / "plan.yaml", workers=0)
    assert "--goal classify" in refused.value.remedy
    assert not (tmp_path / "plan.yaml").exists()


def test_facts_of_other_data_name_the_option_that_gave_them(task_data, tmp_path):
    (tmp_path / "facts.json").write_text('{"schema": 1, "images": 1}')
    with pytest.raises(InputError, match=r"does not describe .* leave --fingerprint out"):
        modicum.plan(task_data("fundus"), facts=tmp_path / "facts.json", out=None)
