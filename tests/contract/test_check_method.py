"""``check_method``: kept by every method there is, and each promise noticed where it is broken."""

import re
import sys
from importlib.metadata import EntryPoint

import broken_methods
import pytest
from small_trainings import SMALL

import modicum
from modicum.__main__ import main
from modicum.errors import InputError
from modicum.methods import checks, method_class, method_entries
from modicum.methods.checks import CHECKS, CheckResult, MethodCheckError, check_method, write_made_data


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """From a task to a made data set, once."""
    paths = {}

    def path(task):
        if task not in paths:
            paths[task] = write_made_data(task, tmp_path_factory.mktemp(task))
        return paths[task]

    return path


ALIKE = (
    "adapter", "adaptformer", "attention", "bitfit", "cut", "dora", "dtl", "fpt_plus", "gloria", "gpaco", "ldam", "lst",
    "mixed", "padim", "paco", "partial", "restoration_unet", "reverse_distillation", "side", "ssf", "vpt",
)  # fmt: skip
"""Methods whose stage is that of ``lora``, ``full``, ``fpt``, ``convirt``, ``spmix``, ``patchcore``, ``led`` or
``reconstruction``, which are held to the contract every time."""
NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if name in ALIKE else name for name in sorted(method_entries())
]


@pytest.mark.parametrize("name", NAMES)
def test_every_method_keeps_the_contract(name, made):
    results = check_method(name, data=made(method_class(name).tasks[0]), **SMALL.get(name, {}))
    assert [result.check for result in results] == [check.__name__.removeprefix("check_") for check in CHECKS]
    unexplained = [result for result in results if not result.passed and not result.not_applicable]
    assert unexplained == []
    passed = {result.check for result in results if result.passed}
    assert passed >= {"words", "settings", "trains", "stages", "rows", "saved", "resumes"}


@pytest.fixture
def registered(monkeypatch):
    """Puts one of the broken methods among the entry points, under the name ``checked``."""

    def register(kind):
        entry = EntryPoint("checked", f"broken_methods:{kind.__name__}", "modicum.methods")
        everything = {**method_entries(), "checked": entry}
        monkeypatch.setattr("modicum.methods.registry.method_entries", lambda: everything)

    return register


@pytest.mark.parametrize(
    ("kind", "check", "said"),
    [
        (broken_methods.OtherName, "words", "its name is 'another', its entry point's 'checked'"),
        (broken_methods.LongSummary, "words", "summary"),
        (broken_methods.UnknownTask, "words", "clasification"),
        (broken_methods.SilentSetting, "settings", "setting 'width' has no description"),
        (broken_methods.LooseSettings, "settings", "takes a setting that it does not have"),
        (broken_methods.Crashes, "trains", "KeyError: 'lable'"),
        (broken_methods.RowNumbers, "trains", "learns_from gave int64"),
        (broken_methods.StageNotNamed, "stages", "'pretrain' is none"),
        (broken_methods.NewStages, "stages", "stages\\(\\) makes other objects"),
        (broken_methods.RowsByChance, "rows", "gave other rows when it was asked again"),
        (broken_methods.ChangingOptions, "optimizers", "asks for weight_decay="),
        (broken_methods.NotRegistered, "saved", "tensor 'head.weight' of the predictor is another one"),
        (
            broken_methods.OtherAnswers,
            "evaluates",
            "'p_healthy' of .* was .* and the predictor of the opened",
        ),
        (broken_methods.BatchCentred, "batches", "in a batch of three"),
        (broken_methods.NothingForOne, "single_image", "of a single image is nan"),
        (broken_methods.ExplainsNothing, "attribution", "no example has a map"),
        (broken_methods.Counts, "resumes", "killed in batch .* of stage 'tune' and resumed"),
        pytest.param(
            broken_methods.EpochAttribute,
            "resumes",
            "killed in batch .* of stage 'tune' and resumed",
            marks=pytest.mark.slow,
        ),
        (broken_methods.Unseeded, "resumes", "two trainings with the same seed have another tensor"),
    ],
)
def test_a_broken_promise_is_noticed_and_named(registered, made, kind, check, said):
    registered(kind)
    with pytest.raises(MethodCheckError, match=said) as error:
        check_method("checked", data=made("classification"))
    assert error.value.check == check
    assert error.value.remedy
    assert "\n" not in str(error.value)


def test_a_dry_run_that_ends_otherwise_is_a_broken_promise(registered, made, monkeypatch):
    def ends(*args, **kwargs):
        raise KeyError("label")

    registered(broken_methods.Honest)
    monkeypatch.setattr(modicum, "predict_memory", ends, raising=False)
    with pytest.raises(MethodCheckError, match="its dry run ended in KeyError: 'label'") as error:
        check_method("checked", data=made("classification"))
    assert error.value.check == "memory"


def test_an_honest_method_passes_in_its_place(registered, made):
    registered(broken_methods.Honest)
    results = {result.check: result for result in check_method("checked", data=made("classification"))}
    assert all(result.passed for name, result in results.items() if name != "optimizers")
    assert results["optimizers"].not_applicable == "no update has options of its own"
    assert str(results["words"]) == "words: passed"


def test_it_is_there_for_strangers_and_names_what_it_does_not_know():
    assert modicum.check_method is checks.check_method
    with pytest.raises(InputError, match="unknown method 'toy_ban'; did you mean 'toy_bank'"):
        check_method("toy_ban")


def test_each_check_says_its_promise_in_one_line():
    for check in CHECKS:
        first, *_ = check.__doc__.splitlines()
        assert first.endswith(".")
        assert len(first) < 125


def test_the_command_line_shows_what_came_of_each_check(monkeypatch, capsys):
    results = [
        CheckResult("words", "Words are there."),
        CheckResult("batches", "Alone as together.", "it decides"),
    ]
    monkeypatch.setattr("modicum.console.checking.check_method", lambda name: results)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "argv", ["modicum", "methods", "toy_bank", "--check"])
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr().out
    assert not stopped.value.code
    assert re.search("words +passed +Words are there.", said)
    assert re.search("batches +not applicable: it decides +Alone as together.", said)


def test_a_broken_promise_on_the_command_line_is_one_line(monkeypatch, capsys):
    def broken(name):
        raise MethodCheckError(name, "saved", "What is saved is learned.", "it is not", "save it")

    monkeypatch.setattr("modicum.console.checking.check_method", broken)
    monkeypatch.setattr(sys, "argv", ["modicum", "methods", "toy_bank", "--check"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "method 'toy_bank', check saved (What is saved is learned): it is not; save it" in " ".join(
        said.split()
    )
