"""Stages with several updates, and methods with several stages."""

import copy
import json
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file
from small_stages import WIDTH, reader_of, same, stage_data, trainer, weights_of
from torch import nn
from torch.nn import functional as F

import modicum
from modicum.data.phantoms import write_fundus_dataset
from modicum.data.sampling import epoch_order
from modicum.engine.run_folder import RunFolder
from modicum.errors import ResourceError
from modicum.methods import Method, MethodConfig, TrainStage, Update
from modicum.methods.supervised import SupervisedStage
from modicum.nn import Classifier, linear_head

BETAS = (0.5, 0.9)


class Adversaries(TrainStage):
    """A generator of features and a discriminator that tells them from real ones."""

    name = "adversaries"

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.generator = nn.Sequential(nn.Linear(WIDTH, 6), nn.Tanh(), nn.Linear(6, WIDTH))
        self.discriminator = nn.Sequential(nn.Linear(WIDTH, 6), nn.Tanh(), nn.Linear(6, 1))
        self.seen: list[tuple[dict, dict]] = []
        self.stray: list[bool] = []
        self.stop_at = -1

    def updates(self):
        options = {"betas": BETAS, "lr": 0.02}
        return [
            Update("discriminator", list(self.discriminator.parameters()), self._real_or_not, options),
            Update("generator", [{"params": list(self.generator.parameters())}], self._convince),
        ]

    def forward(self, batch):
        return F.one_hot(batch["label"], 3).float()

    def _watch(self, other):
        self.seen.append((weights_of(self.generator), weights_of(self.discriminator)))
        self.stray.append(any(parameter.requires_grad for parameter in other.parameters()))
        if len(self.seen) == self.stop_at:
            raise ResourceError("the power is gone", "")

    def _real_or_not(self, batch):
        self._watch(self.generator)
        return discriminator_losses(self, batch["features"])

    def _convince(self, batch):
        self._watch(self.discriminator)
        return generator_losses(self, batch["features"])


def discriminator_losses(nets, real):
    made = nets.discriminator(nets.generator(real.flip(0)))
    return {"real": F.softplus(-nets.discriminator(real)).mean(), "made": F.softplus(made).mean()}


def generator_losses(nets, real):
    made = nets.generator(real.flip(0))
    return {"fooled": F.softplus(-nets.discriminator(made)).mean(), "near": (made - real).abs().mean()}


SETTINGS = {"epochs": 2, "monitor": "auroc", "schedule": "constant", "clip_norm": 0.5}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    stage, folder = Adversaries(), tmp_path_factory.mktemp("gan")
    run = trainer(stage, folder, stage_data(val=0), **SETTINGS)
    run.run()
    return stage, run, folder


def test_each_update_changes_its_own_network_alone(trained):
    stage, _, _ = trained
    for number, (before, after) in enumerate(zip(stage.seen, stage.seen[1:], strict=False)):
        generator_changed, discriminator_changed = (
            not same(old, new) for old, new in zip(before, after, strict=True)
        )
        assert (generator_changed, discriminator_changed) == (
            (False, True) if number % 2 == 0 else (True, False)
        )


def test_no_gradients_leak_into_the_other_network(trained):
    stage, _, _ = trained
    assert not any(stage.stray)
    assert all(parameter.requires_grad for parameter in stage.parameters())


def test_each_update_has_its_own_optimiser_and_options(trained):
    _, run, _ = trained
    groups = [optimizer.param_groups[0] for optimizer in run.module.configure_optimizers()]
    assert [tuple(group["betas"]) for group in groups] == [BETAS, (0.9, 0.999)]
    assert [group["lr"] for group in groups] == [0.02, 0.01]


def test_equals_a_hand_written_adversarial_loop(trained):
    stage, _, _ = trained
    plain, data = Adversaries(), stage_data(val=0)
    first = torch.optim.AdamW(plain.discriminator.parameters(), lr=0.02, betas=BETAS, weight_decay=0.05)
    second = torch.optim.AdamW(plain.generator.parameters(), lr=0.01, weight_decay=0.05)
    features = torch.from_numpy(reader_of(data).records)
    for epoch in range(2):
        for rows in epoch_order(data.sampling_labels, seed=0, epoch=epoch).reshape(-1, 4):
            for losses, optimizer, network in (
                (discriminator_losses, first, plain.discriminator),
                (generator_losses, second, plain.generator),
            ):
                plain.zero_grad()
                sum(losses(plain, features[rows]).values()).backward()
                nn.utils.clip_grad_norm_(network.parameters(), 0.5)
                optimizer.step()
    for one, other in zip(plain.parameters(), stage.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_all_losses_are_in_the_history(trained):
    records = [json.loads(line) for line in (trained[2] / "history.jsonl").read_text().splitlines()]
    assert set(records[0]["losses"]) == {"real", "made", "fooled", "near"}
    assert len([record for record in records if record["kind"] == "step"]) == 12


@pytest.mark.parametrize("accumulate", [1, 2])
def test_goes_on_after_a_kill_in_the_middle_with_both_optimisers(tmp_path, accumulate):
    data = stage_data(val=0)
    settings = {**SETTINGS, "accumulate": accumulate, "checkpoint_steps": 2, "ema_decay": 0.9}
    whole = Adversaries()
    trainer(whole, tmp_path / "whole", data, **settings).run()
    broken = Adversaries()
    broken.stop_at = 18  # in an update of the generator, in the second epoch
    with pytest.raises(ResourceError):
        trainer(broken, tmp_path / "killed", data, **settings).run()
    again = Adversaries()
    trainer(again, tmp_path / "killed", data, **settings).run()
    assert len(again.seen) < len(whole.seen)
    assert same(weights_of(again), weights_of(whole))


def test_activations_of_two_updates_count_as_the_larger_of_the_two(tmp_path):
    class Twice(Adversaries):
        def updates(self):
            one, other = super().updates()
            return [one, other, Update("again", other.parameters, other.losses)]

    memory = [
        trainer(stage, tmp_path / stage.__class__.__name__, stage_data(val=0), epochs=1).run().memory
        for stage in (Adversaries(), Twice())
    ]
    assert memory[0]["activations_bytes"] == memory[1]["activations_bytes"]


# --- several stages --------------------------------------------------------------------------------------------


class First(SupervisedStage):
    name = "warm"

    def __init__(self, network, loss):
        super().__init__(loss)
        self.network = network

    def parameter_groups(self):
        return list(self.network.parameters())

    def forward(self, batch):
        return self.network(batch["image"])


class Second(First):
    name = "polish"
    began_with: ClassVar[dict] = {}
    modes: ClassVar[list] = []
    power = True

    def validate(self, batch):
        if self.training or not Second.modes:
            if not Second.modes:
                Second.began_with = copy.deepcopy(self.network.state_dict())
            Second.modes.append(self.training)
            if not Second.power:
                raise ResourceError("the power is gone", "")
        return super().validate(batch)


class TwoStages(Method):
    name, summary, tasks, Config = "two", "two stages on one network", ("classification",), MethodConfig

    def __init__(self, config, context):
        super().__init__(config, context)
        backbone = context.backbone()
        network = Classifier(backbone, linear_head(backbone.num_features, context.task.num_outputs))
        self._stages = [First(network, context.loss()), Second(network, context.loss())]

    def stages(self):
        return self._stages

    def predictor(self):
        return self._stages[0].network


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    fractions = {"train": 0.6, "val": 0.2, "test": 0.2}
    return write_fundus_dataset(
        tmp_path_factory.mktemp("two"), 20, 40, seed=3, fractions=fractions, masks=False
    )


@pytest.fixture
def fit_two(images, tmp_path, monkeypatch):
    monkeypatch.setattr("modicum.engine.recipe.new_recipe.method_class", lambda name: TwoStages)
    monkeypatch.setattr("modicum.engine.model.method_class", lambda name: TwoStages)
    monkeypatch.setattr(Second, "power", True)

    def fit(name, **settings):
        Second.modes = []
        return modicum.fit(
            images, "two", name=name, runs=tmp_path, backbone="test_resnet", weights="random", image_size=32,
            epochs=2, batch_size=8, lr=1e-3, leaks="allow", resamples=0, augment="none", workers=0,
            device="cpu", write_report=False, **settings,
        )  # fmt: skip

    return fit


def test_the_second_stage_starts_from_the_firsts_selected_weights_also_after_a_kill(
    fit_two, tmp_path, monkeypatch
):
    run = fit_two("whole")
    began = Second.began_with
    assert all(Second.modes)  # batch statistics, not the running ones of an evaluation
    monkeypatch.setattr(Second, "power", False)
    with pytest.raises(ResourceError, match="power"):
        fit_two("killed")
    folder = RunFolder(tmp_path / "killed")
    assert folder.status["state"] == "failed"
    selected = load_file(max(folder.checkpoints.glob("warm-best-*.safetensors")))
    assert all(torch.equal(began[n.removeprefix("network.")], value) for n, value in selected.items())
    monkeypatch.setattr(Second, "power", True)
    again = fit_two("killed", resume=True)
    first, second = (load_file(r.path / "weights.safetensors") for r in (run, again))
    assert same(first, second)
    assert all(name.startswith("warm.") for name in first)  # one network is saved once
    assert run.metrics["parameters"]["learnable"] == run.metrics["parameters"]["total"]
