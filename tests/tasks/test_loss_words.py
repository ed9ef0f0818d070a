"""Words for losses: one reading for every task."""

import doctest
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modicum.engine.recipe.new_recipe import make_recipe
from modicum.errors import InputError
from modicum.tasks import loss_words
from modicum.tasks.classification.objectives import NAMES as NAMES_OF_CLASSIFICATION
from modicum.tasks.loss_words import loss_terms
from modicum.tasks.segmentation.loss_choice import PARTS

NAMES = ("mse", "mae", "dice", "cross_entropy")


def test_docstring_examples_run():
    assert doctest.testmod(loss_words).failed == 0


@given(
    terms=st.dictionaries(st.sampled_from(NAMES), st.floats(1e-3, 1e3), min_size=1),
    space=st.sampled_from(["", " "]),
)
def test_a_sum_that_is_written_out_is_read_as_it_was_meant(terms, space):
    words = f"{space}+{space}".join(f"{factor!r}{space}*{space}{name}" for name, factor in terms.items())
    found = loss_terms(words, NAMES)
    assert found == terms
    assert list(found) == list(terms)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("msee", r"there is no loss 'msee'; did you mean 'mse'\? \(known: cross_entropy, dice, mae, mse\)"),
        ("mse+", r"there is no loss '' in 'mse\+'"),
        ("mse+0.5*mse", r"loss 'mse\+0.5\*mse' has 'mse' twice; give it one factor, such as 2\*mse"),
        ("0*mse", "'0' is not a factor; write a number above 0"),
        ("nan*mse", "'nan' is not a factor"),
    ],
)
def test_words_that_cannot_be_read_say_what_there_is(words, problem):
    with pytest.raises(InputError, match=problem):
        loss_terms(words, NAMES)


# Refused before any data are read: there is no data set called nowhere.


@pytest.mark.parametrize(
    ("method", "settings", "problem"),
    [
        ("full", {"loss": "msee"}, "there is no loss 'msee'; did you mean 'mse'"),
        (
            "full",
            {"loss": "mse+cross_entropy"},
            "mixes mse of a severity score, cross_entropy of a logit a class",
        ),
        ("full", {"loss": "bce+focal"}, "mixes focal of a logit a class, bce of a logit a finding"),
        ("full", {"loss": "mse", "label_smoothing": 0.1}, "label_smoothing=0.1 has no effect: loss 'mse'"),
        ("full", {"class_weights_decay": 0.5}, "class_weights_decay=0.5 has no effect"),
        (
            "full",
            {"thresholds": "validation"},
            "thresholds='validation' has no effect: loss 'auto' is not of a sev",
        ),
        (
            "full",
            {"loss": "kappa", "thresholds": [1, 2]},
            r"thresholds=\[1.0, 2.0\] has no effect: loss 'kappa'",
        ),
        ("segment", {"training.loss": "dise"}, "there is no loss 'dise'; did you mean 'dice'"),
        ("segment", {"config.loss": "dise"}, "there is no loss 'dise'; did you mean 'dice'"),
        ("segment", {"options.loss": "dise"}, "there is no loss 'dise'; did you mean 'dice'"),
        ("aadg", {"config.loss": "2*dise"}, "there is no loss 'dise'"),
        (
            "reggan",
            {"loss": "mse"},
            "loss='mse' has no effect: methods of task 'image-to-image' have losses of",
        ),
        (
            "mae",
            {"loss": "mse"},
            "loss='mse' has no effect: methods of task 'image-text' have losses of their own",
        ),
        ("mae", {"class_weights": "balanced"}, "class_weights='balanced' has no effect"),
    ],
)
def test_losses_that_do_not_fit_are_refused_before_data_are_looked_for(method, settings, problem):
    with pytest.raises(InputError, match=problem):
        make_recipe("nowhere", method, settings)


def test_losses_that_fit_are_kept_as_they_were_written():
    for method, words in (
        ("full", "smooth_l1 + 0.5*mse"),
        ("linear", "cross_entropy+kappa"),
        ("segment", "dice+bce+0.5*cldice"),
    ):
        assert make_recipe("nowhere", method, {"training.loss": words}).training.loss == words
    assert make_recipe("nowhere", "full", {"loss": "mae", "thresholds": "validation"}).options[
        "thresholds"
    ] == ("validation")
    assert make_recipe("nowhere", "full", {"class_weights": "dynamic", "class_weights_decay": 0.5})


def test_the_page_of_losses_names_every_loss_and_no_other():
    page = (Path(__file__).parents[2] / "docs" / "losses.md").read_text(encoding="utf-8")
    table = page[page.index("| task |") : page.index("Classes are grades where")]
    named = {name for name in re.findall(r"`([a-z_0-9]+)`", table) if name != "auto"}
    assert named == {*NAMES_OF_CLASSIFICATION, *PARTS}
