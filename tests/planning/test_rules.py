"""The rules of plans: each has its evidence, can fire, and reads as its file says."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from modicum.errors import InputError
from modicum.planning.plan_facts import FACTS
from modicum.planning.rules import SHIPPED, Rule, choose, meets, read_rules

ROOT = Path(__file__).parents[2]
RULES = read_rules()


def facts_that_meet(conditions: dict[str, Any]) -> dict[str, Any]:
    """Made-up facts: what the conditions ask for, and nothing else."""
    facts: dict[str, Any] = dict.fromkeys(FACTS)
    for name, condition in conditions.items():
        value = condition[0] if isinstance(condition, list) else condition
        if isinstance(value, str) and FACTS[name].kind == "number":
            numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", value)]
            value = numbers[0] + {"<": -1, ">": 1}.get(value.strip()[0], 0) * ("=" not in value)
        facts[name] = value
    return facts


@pytest.mark.parametrize(
    ("place", "entry"), list(RULES.entries()), ids=lambda value: getattr(value, "name", value)
)
def test_every_entry_has_evidence_that_is_there(place: str, entry: Any) -> None:
    assert entry.because.strip()
    for source in entry.source:
        if source.startswith("paper: "):
            assert len(source) > 20
            continue
        path, _, anchor = source.partition("#")
        assert (ROOT / path).is_file(), source
        if anchor:
            titles = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, source


@pytest.mark.parametrize("rule", RULES.rules, ids=lambda rule: rule.name)
def test_every_rule_can_decide_something(rule: Rule) -> None:
    facts = facts_that_meet(rule.when)
    given = {name: facts[name] for name in ("goal", "method") if facts[name] is not None}
    choices = choose(RULES, facts, given)
    assert rule.name in {choice.rule for choice in choices.values()}


@pytest.mark.parametrize(
    ("place", "entry"), list(RULES.entries()), ids=lambda value: getattr(value, "name", value)
)
def test_every_entry_fits_facts_that_it_asks_for_and_says_why(place: str, entry: Any) -> None:
    facts = facts_that_meet(entry.when)
    assert entry.fits(facts)
    assert "{" not in entry.reason(facts)


@pytest.mark.parametrize(
    ("fact", "condition", "met"),
    [
        (5, "< 5", False),
        (5, "<= 5", True),
        (5, ">= 5.5", False),
        (6, "> 5", True),
        (5, "2 to 5", True),
        (6, "2 to 5", False),
        (5, 5, True),
        (True, True, True),
        (False, True, False),
        ("full", ["full", "lora"], True),
        ("full", "lora", False),
        (None, "< 5", False),
        (None, False, False),
    ],
)
def test_conditions(fact: Any, condition: Any, met: bool) -> None:
    assert meets(fact, condition) is met


def test_first_rule_wins_for_each_setting_and_the_user_before_all(tmp_path: Path) -> None:
    rules = read_rules(
        written(
            tmp_path,
            [
                {"name": "few", "when": {"labelled": "< 10"}, "choose": {"training.epochs": 5}},
                {"name": "all", "choose": {"method": "full", "training.epochs": 9, "training.lr": 0.1}},
                {"name": "of full", "when": {"method": "full"}, "choose": {"image.size": "{side}"}},
            ],
        )
    )
    facts = {**dict.fromkeys(FACTS), "labelled": 3, "side": 40}
    choices = choose(rules, facts, {"training.lr": 0.5})
    assert {key: choice.value for key, choice in choices.items()} == {
        "training.lr": 0.5,
        "training.epochs": 5,
        "method": "full",
        "image.size": 40,
    }
    assert choices["training.epochs"].because == "as 3 show"
    assert choices["training.lr"].because == "given"


def written(folder: Path, rules: list[dict[str, Any]], **more: Any) -> Path:
    shared = {"because": "as {labelled} show", "source": "paper: nobody"}
    content = {"modicum_rules": 1, "rules": [{**shared, **rule} for rule in rules], **more}
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


GOOD = {"name": "a", "choose": {"method": "full"}}


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({**GOOD, "becuase": "x"}, "did you mean 'because'"),
        ({**GOOD, "when": {"labeled": "< 5"}}, "did you mean 'labelled'"),
        ({**GOOD, "when": {"labelled": "few"}}, "'< 100'"),
        ({**GOOD, "when": {"gpu": "yes"}}, "true or false"),
        ({**GOOD, "when": {"goal": "clasify"}}, "did you mean 'classify'"),
        ({**GOOD, "when": {"method": "lorra"}}, "lora"),
        ({**GOOD, "choose": {"method": "ful"}}, "full"),
        ({**GOOD, "choose": {"training.epoch": 3}}, "did you mean 'epochs'"),
        ({**GOOD, "choose": {"epochs": 3}}, "training.epochs"),
        ({**GOOD, "choose": {}}, "choose"),
        ({**GOOD, "because": "{imagez} are few"}, "did you mean 'images'"),
        ({**GOOD, "because": "{images are few"}, "brace"),
        ({**GOOD, "choose": {"image.size": "{sid}"}}, "did you mean 'side'"),
        ({**GOOD, "source": []}, "source"),
    ],
)
def test_what_is_wrong_with_a_rule_is_one_line(tmp_path: Path, rule: dict, words: str) -> None:
    with pytest.raises(InputError) as error:
        read_rules(written(tmp_path, [rule]))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_stands_once_and_goals_are_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="twice"):
        read_rules(written(tmp_path, [GOOD, GOOD]))
    with pytest.raises(InputError, match="unknown goal"):
        read_rules(written(tmp_path, [GOOD], consider={"grade": ["full"]}))
    with pytest.raises(InputError, match="unknown setting"):
        read_rules(written(tmp_path, [GOOD], considers={}))
    (tmp_path / "other.yaml").write_text("a: 1")
    with pytest.raises(InputError, match="modicum_rules"):
        read_rules(tmp_path / "other.yaml")


def test_engine_of_rules_knows_no_method_by_name() -> None:
    """What is chosen stands in the rules file; the code beside it reads no names."""
    from modicum.methods import method_entries

    for name in ("rules.py", "budget.py", "plan.py", "plan_text.py", "plan_facts.py", "step_time.py"):
        code = (SHIPPED.parent / name).read_text(encoding="utf-8")
        words = set(re.findall(r"\"(\w+)\"", code))
        assert not words & set(method_entries()) - {"side", "segment", "detect"}, name
