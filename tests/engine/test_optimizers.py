"""Options of updates: every argument of PyTorch's optimisers takes effect, and none is dropped in silence."""

import inspect

import pytest
import torch
from small_stages import Perceptron, stage_data, trainer
from torch.optim import SGD, AdamW

from modicum.engine.recipe.settings import TrainingSettings
from modicum.engine.training.optimizers import (
    make_optimizer,
    optimizer_tensors,
    option_names,
    restore_optimizers,
)
from modicum.errors import InputError
from modicum.methods import Update

VALUES = {
    "lr": 0.3, "betas": (0.5, 0.8), "eps": 1e-2, "weight_decay": 0.7, "amsgrad": True, "maximize": True,
    "foreach": True, "capturable": True, "differentiable": True, "fused": False, "momentum": 0.4, "dampening": 0.3,
    "nesterov": False,
}  # fmt: skip
RUN = {"lr": 0.1, "weight_decay": 0.01, "nesterov": False}
OURS = {"adamw": {"betas": (0.9, 0.999)}, "sgd": {"momentum": 0.9}}
CLASSES = {"adamw": AdamW, "sgd": SGD}
ARGUMENTS = [
    (kind, name) for kind, made in CLASSES.items() for name in inspect.signature(made).parameters if name != "params"
]  # fmt: skip


def settings(kind, **more):
    return TrainingSettings(optimizer=kind, **{**RUN, **more})


def parameter():
    return torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))


def made_by(kind, options, *, group=None, said=None):
    own = parameter()
    groups = [own] if group is None else [{"params": [own], **group}]
    update = Update("net", groups, lambda batch: {}, options)
    return own, make_optimizer(update, settings(kind), None if said is None else said.append)


def steps(own, optimizer, count=4):
    for number in range(count):
        own.grad = torch.tensor([0.5, -0.1, 0.02]) * (1 - number)
        optimizer.step()
    return own.detach()


def by_pytorch(kind, **options):
    """PyTorch's own optimiser, with what the engine chooses where nothing is said."""
    chosen = {"lr": RUN["lr"], "weight_decay": RUN["weight_decay"], **OURS[kind], **options}
    if kind == "adamw" and not {"foreach", "fused", "differentiable"} & options.keys():
        chosen["fused"] = True
    own = parameter()
    return own, CLASSES[kind]([own], **chosen)


@pytest.mark.parametrize(("kind", "name"), ARGUMENTS)
@pytest.mark.parametrize("where", ["update", "group"])
def test_every_argument_of_pytorchs_optimisers_reaches_them(kind, name, where):
    given = {name: VALUES[name]}
    _, optimizer = made_by(kind, given) if where == "update" else made_by(kind, {}, group=given)
    _, theirs = by_pytorch(kind, **given)
    (group,), (expected,) = optimizer.param_groups, theirs.param_groups
    got = {key: value for key, value in group.items() if key not in {"params", "peak_lr"}}
    wanted = {key: value for key, value in expected.items() if key != "params"}
    assert {**got, "fused": bool(got["fused"])} == {**wanted, "fused": bool(wanted["fused"])}
    assert group["peak_lr"] == group["lr"]


# PyTorch takes differentiable steps with tensors that are no leaves, and captures them on a GPU.
ON_A_CPU = [(kind, name) for kind, name in ARGUMENTS if name not in {"differentiable", "capturable"}]


@pytest.mark.parametrize(("kind", "name"), ON_A_CPU)
@pytest.mark.parametrize("where", ["update", "group"])
def test_every_argument_takes_effect_as_in_pytorch(kind, name, where):
    given = {name: VALUES[name]}
    ours = steps(*(made_by(kind, given) if where == "update" else made_by(kind, {}, group=given)))
    assert torch.equal(ours, steps(*by_pytorch(kind, **given)))
    plain = steps(*made_by(kind, {}))
    if name not in {"foreach", "fused", "nesterov"}:  # other ways to the same values; the run's own value
        assert not torch.allclose(ours, plain)


def test_no_value_is_missing_here():
    assert {name for kind in CLASSES for name in option_names(kind)} == VALUES.keys()
    assert [(kind, name) for kind in CLASSES for name in option_names(kind)] == ARGUMENTS


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("sgd", {"betas": (0.5, 0.9), "eps": 1e-3, "lr": 0.2}),
        ("adamw", {"momentum": 0.3, "nesterov": True, "lr": 0.2}),
    ],
)
def test_options_of_the_other_optimiser_are_left_out_and_said_once(kind, options):
    said = []
    _, optimizer = made_by(kind, options, group=options, said=said)
    assert optimizer.param_groups[0]["lr"] == 0.2
    foreign = ", ".join(name for name in options if name != "lr")
    assert said == [f"update 'net': {foreign} left out, optimiser {kind} has no such option"]


@pytest.mark.parametrize("where", ["update 'net'", "parameter group 0 of update 'net'"])
def test_an_unknown_option_is_named_with_what_the_optimiser_takes(where):
    given = {"weight_decy": 0.1}
    with pytest.raises(InputError) as caught:
        made_by(
            "sgd", *([given] if where == "update 'net'" else [{}]), group=given if "group" in where else None
        )
    assert caught.value.problem == f"{where}: optimiser sgd has no option 'weight_decy'"
    assert "did you mean 'weight_decay'?" in caught.value.remedy
    assert "dampening" in caught.value.remedy


def test_a_value_that_pytorch_refuses_is_said_with_the_update():
    with pytest.raises(
        InputError, match=r"update 'net': AdamW refuses .*Invalid beta parameter.*betas=\(2, 0.9\)"
    ):
        made_by("adamw", {"betas": (2, 0.9)})
    with pytest.raises(InputError, match=r"update 'none': SGD refuses .*empty parameter list"):
        make_optimizer(Update("none", [], lambda batch: {}), settings("sgd"))


def test_momentum_looks_ahead_only_where_pytorch_allows_it():
    run = settings("sgd", nesterov=True)
    for options, expected in (({}, True), ({"momentum": 0.0}, False), ({"dampening": 0.1}, False)):
        optimizer = make_optimizer(Update("net", [parameter()], lambda batch: {}, options), run)
        assert optimizer.param_groups[0]["nesterov"] is expected
    update = Update("net", [{"params": [parameter()], "dampening": 0.1}], lambda batch: {})
    assert make_optimizer(update, run).param_groups[0]["nesterov"] is False


def test_what_an_option_adds_to_the_state_goes_through_a_checkpoint():
    given = {"amsgrad": True}
    (own, first), (other, second) = made_by("adamw", given), made_by("adamw", given)
    other.data.copy_(steps(own, first))
    tensors, rest = optimizer_tensors([first])
    assert "0.0.max_exp_avg_sq" in tensors
    restore_optimizers([second], {name: tensor.clone() for name, tensor in tensors.items()}, rest)
    assert torch.equal(steps(own, first), steps(other, second))


class WithOptions(Perceptron):
    def updates(self):
        (update,) = super().updates()
        return [Update(update.name, update.parameters, update.losses, {"amsgrad": True, "momentum": 0.1})]


def test_a_training_says_what_it_leaves_out_and_keeps_the_state_of_what_it_takes(tmp_path, capsys):
    whole = trainer(WithOptions(), tmp_path / "run", stage_data())
    memory = whole.run().memory
    assert capsys.readouterr().err.count("momentum left out, optimiser adamw has no such option") == 1
    states = [state for optimizer in whole.module.configure_optimizers() for state in optimizer.param_groups]
    assert states[0]["amsgrad"]
    learned = sum(parameter.numel() for parameter in whole.stage.parameters())
    tensors = len(list(whole.stage.parameters()))
    assert memory["optimizer_bytes"] == 4 * (
        3 * learned + tensors
    )  # two moments, their maximum, a step counter
