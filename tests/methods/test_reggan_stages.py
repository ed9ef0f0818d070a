"""RegGAN's learning step: who learns from what, losses by hand, all modes, and what it is for."""

import copy
import math
import re

import numpy as np
import pytest
import torch
from reggan_loop import optimizers_of, step
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from modicum.data.sampling import epoch_order
from modicum.engine.batches import StageData, Stored
from modicum.engine.new_recipe import make_recipe
from modicum.engine.run_folder import RunFolder
from modicum.engine.training import StageTrainer
from modicum.errors import InputError, ResourceError
from modicum.methods.reggan import TRAINING, ImagePool, RegGanConfig, RegGanStage
from modicum.nn import count_parameters, warp
from modicum.tasks import Classification

MODES = ["p", "nc", "nc+r", "c", "c+r"]
TINY = {"width": 4, "blocks": 1, "discriminator_width": 4, "registration_width": 4}
SIDE = 32


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 1


def pairs(batch: int = 2, channels: int = 1, seed: int = 0) -> dict[str, torch.Tensor]:
    shape = (batch, channels, SIDE, SIDE)
    return {"image": noise(*shape, seed=seed), "target": noise(*shape, seed=seed + 1)}


def stage_of(mode: str = "nc+r", channels: int = 1, seed: int = 0, **config) -> RegGanStage:
    torch.manual_seed(seed)
    return RegGanStage(RegGanConfig(mode=mode, **TINY, **config), (SIDE, SIDE), (channels, channels))


def gradients(module: nn.Module) -> torch.Tensor | None:
    """All gradients of a module as one vector; None where none has arrived."""
    found = [parameter.grad for parameter in module.parameters()]
    return None if all(g is None for g in found) else torch.cat([g.flatten() for g in found if g is not None])


# --- the paper ----------------------------------------------------------------------------------------------------


def test_defaults_are_the_papers():
    config = RegGanConfig()
    assert config.mode == "nc+r"
    weights = config.adversarial_weight, config.correction_weight, config.smoothness_weight
    assert (*weights, config.cycle_weight, config.pixel_weight) == (1, 20, 10, 10, 100)
    assert (config.width, config.blocks, config.pool_size, config.scores) == (64, 9, 50, "mean")
    assert (TRAINING["lr"], TRAINING["betas"], TRAINING["weight_decay"]) == (1e-4, (0.5, 0.999), 0)
    assert (TRAINING["epochs"], TRAINING["batch_size"], TRAINING["schedule"]) == (80, 1, "constant")


def test_published_networks_of_every_mode_have_the_published_counts():
    generator, critic, registration = 11_365_633, 2_762_689, 2_058_018
    expected = {
        "p": generator + 2_763_713,
        "nc": generator + critic,
        "nc+r": generator + critic + registration,
        "c": 2 * (generator + critic),
        "c+r": 2 * (generator + critic) + registration,
    }
    with torch.device("meta"):
        found = {m: count_parameters(RegGanStage(RegGanConfig(mode=m), (256, 256)))[0] for m in MODES}
    assert found == expected


def test_every_parameter_belongs_to_exactly_one_update():
    for mode in MODES:
        stage = stage_of(mode)
        owned = [parameter for update in stage.updates() for parameter in update.parameters]
        assert len({id(parameter) for parameter in owned}) == len(owned)
        assert {id(parameter) for parameter in owned} == {id(parameter) for parameter in stage.parameters()}


def test_generators_learn_before_discriminators():
    for mode in MODES:
        names = [update.name for update in stage_of(mode).updates()]
        assert names == ["generators", *["back_discriminator"] * mode.startswith("c"), "discriminator"]


# --- losses by hand -----------------------------------------------------------------------------------------------


def test_the_total_of_reggan_is_its_formula():
    stage, batch = stage_of(), pairs()
    x, y = batch["image"], batch["target"]
    losses = stage.generator_losses(batch)
    fake = stage.generator(x)
    field = stage.registration(fake, y)
    moved = warp(fake, field)
    score = stage.discriminator.patches(fake).mean((1, 2, 3))
    down, right = field[:, :, 1:] - field[:, :, :-1], field[..., 1:] - field[..., :-1]
    expected = {
        "adversarial": ((score - 1) ** 2).mean(),
        "correction": 20 * (y - moved).abs().sum() / y.numel(),
        "smoothness": 10 * ((down**2).sum() / down.numel() + (right**2).sum() / right.numel()),
    }
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-4, atol=1e-9)


def test_the_cycle_and_pairwise_losses_are_their_formulas():
    batch = pairs()
    x, y = batch["image"], batch["target"]
    cycle = stage_of("c")
    losses = cycle.generator_losses(batch)
    there, back = cycle.generator(x), cycle.back_generator(y)
    expected = {
        "adversarial": ((cycle.discriminator(there) - 1) ** 2).mean(),
        "back_adversarial": ((cycle.back_discriminator(back) - 1) ** 2).mean(),
        "cycle": 10 * (cycle.back_generator(there) - x).abs().mean(),
        "back_cycle": 10 * (cycle.generator(back) - y).abs().mean(),
    }
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)
    assert stage_of("c+r").generator_losses(batch).keys() == {*expected, "correction", "smoothness"}
    pairwise = stage_of("p")
    losses, made = pairwise.generator_losses(batch), pairwise.generator(x)
    torch.testing.assert_close(losses["pixel"], 100 * (made - y).abs().mean())
    score = pairwise.discriminator(torch.cat([x, made], 1))
    torch.testing.assert_close(losses["adversarial"], ((score - 1) ** 2).mean())


@pytest.mark.parametrize("mode", MODES)
def test_the_discriminators_loss_is_not_halved_and_of_two_passes(mode):
    stage, batch = stage_of(mode), pairs()
    x, y = batch["image"], batch["target"]
    stage.generator_losses(batch)
    fake = stage.generator(x)
    real, made = (torch.cat([x, image], 1) if mode == "p" else image for image in (y, fake))
    expected = (stage.discriminator(real) - 1).square().mean() + stage.discriminator(made).square().mean()
    torch.testing.assert_close(sum(stage.discriminator_losses(batch).values()), expected)


def test_scores_of_patches_are_an_option():
    stage, batch = stage_of(scores="patches"), pairs()
    patches = stage.discriminator.patches(stage.generator(batch["image"]))
    loss = stage.generator_losses(batch)["adversarial"]
    torch.testing.assert_close(loss, (patches - 1).square().mean())
    assert loss > stage_of().generator_losses(batch)["adversarial"]  # by the variance of the map


# --- gradients ----------------------------------------------------------------------------------------------------


@pytest.fixture
def reggan():
    """A stage whose registration has begun to move, so that its field depends on what it sees."""
    stage = stage_of()
    with torch.no_grad():
        stage.registration.displacement.weight.normal_(std=0.02)
    return stage


def test_the_adversarial_loss_does_not_reach_registration(reggan):
    reggan.generator_losses(pairs())["adversarial"].backward()
    assert gradients(reggan.registration) is None
    assert gradients(reggan.generator).abs().max() > 0


def test_correction_reaches_generator_and_registration(reggan):
    reggan.generator_losses(pairs())["correction"].backward()
    assert gradients(reggan.registration).abs().max() > 0
    assert gradients(reggan.generator).abs().max() > 0
    assert gradients(reggan.discriminator) is None


def test_smoothness_reaches_the_generator_through_what_registration_sees(reggan):
    batch = pairs()
    reggan.generator_losses(batch)["smoothness"].backward()
    assert gradients(reggan.registration).abs().max() > 0
    assert gradients(reggan.generator).abs().max() > 0
    blind = copy.deepcopy(reggan)
    blind.zero_grad()
    blind.registration.register_forward_pre_hook(lambda module, inputs: tuple(i.detach() for i in inputs))
    blind.generator_losses(batch)["smoothness"].backward()
    assert gradients(blind.generator) is None


def test_correction_teaches_the_generator_also_through_what_registration_sees(reggan):
    batch, blind = pairs(), copy.deepcopy(reggan)
    blind.registration.register_forward_pre_hook(lambda module, inputs: tuple(i.detach() for i in inputs))
    for stage in (reggan, blind):
        stage.generator_losses(batch)["correction"].backward()
    whole, through_the_warp = gradients(reggan.generator), gradients(blind.generator)
    assert (whole - through_the_warp).norm() > 0.01 * whole.norm()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fakes", ["published", "same"])
def test_discriminators_losses_touch_no_generator_and_keep_no_graph_of_it(mode, fakes):
    stage, batch = stage_of(mode, fakes=fakes), pairs()
    stage.generator_losses(batch)  # leaves its translations
    for update in stage.updates()[1:]:
        total = sum(update.losses(batch).values())
        reached = {id(parameter) for parameter in parameters_behind(total)}
        assert reached == {id(parameter) for parameter in update.parameters}
        total.backward()
    for network in (stage.generator, stage.back_generator, stage.registration):
        assert network is None or gradients(network) is None


def parameters_behind(loss: torch.Tensor) -> list[torch.Tensor]:
    """The leaves of a graph."""
    found, seen, waiting = [], set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        waiting += [after for after, _ in node.next_functions]
    return found


def saved_bytes(make_loss) -> int:
    """Bytes of the activations that a loss keeps for its backward pass."""
    kept: dict[int, int] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = sum(make_loss().values())
    assert loss.requires_grad
    return sum(kept.values())


def test_the_discriminators_step_needs_less_memory_than_the_generators():
    stage, batch = stage_of(), pairs()
    assert saved_bytes(lambda: stage.discriminator_losses(batch)) < 0.6 * saved_bytes(
        lambda: stage.generator_losses(batch)
    )


def test_one_adam_over_generator_and_registration_is_one_each():
    together, apart, batch = stage_of(), stage_of(), pairs()
    step(together, batch, optimizers_of(together))
    optimizers = [
        torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.5, 0.999))
        for network in (apart.registration, apart.generator, apart.discriminator)
    ]
    apart.discriminator.requires_grad_(False)
    sum(apart.generator_losses(batch).values()).backward()
    optimizers[0].step()
    optimizers[1].step()
    apart.discriminator.requires_grad_(True)
    sum(apart.discriminator_losses(batch).values()).backward()
    optimizers[2].step()
    for one, other in zip(together.parameters(), apart.parameters(), strict=True):
        assert torch.equal(one, other)


# --- where discriminators get translations from -----------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_p_and_reggan_judge_fresh_translations_and_the_others_those_of_the_generators_step(mode):
    stage, batch = stage_of(mode), pairs()
    seen = []
    stage.discriminator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    before = stage.generator(batch["image"]).detach()
    optimizers = optimizers_of(stage)
    step(stage, batch, optimizers)
    after = stage.generator(batch["image"]).detach()
    judged = seen[-1][2:, -1:]
    fresh = mode in ("p", "nc+r")
    assert not torch.allclose(before, after, atol=1e-4)
    torch.testing.assert_close(judged, after if fresh else before)


def test_the_pool_gives_back_what_it_gets_until_it_is_full_and_then_half_of_the_time():
    torch.manual_seed(0)
    pool = ImagePool(50, (1, 1, 1))
    first = torch.arange(50.0).view(50, 1, 1, 1)
    assert torch.equal(pool.exchange(first), first)
    later = torch.arange(50.0, 2050).view(-1, 1, 1, 1)
    given = torch.cat([pool.exchange(part) for part in later.split(4)])
    own = (given == later).float().mean().item()
    assert own == pytest.approx(0.5, abs=0.05)
    # What is neither handed out nor new is still there: nothing is lost, nothing doubled.
    everything = torch.cat(
        [given[given != later].flatten(), pool.images.flatten(), later[given == later].flatten()]
    )
    assert everything.sort().values.tolist() == list(range(2050))


def test_the_pool_goes_on_from_its_state():
    one, other = ImagePool(5, (1, 2, 2)), ImagePool(5, (1, 2, 2))
    one.exchange(noise(7, 1, 2, 2))
    other.load_state_dict(one.state_dict())
    given = []
    for pool in (one, other):
        torch.manual_seed(3)
        given.append(pool.exchange(noise(9, 1, 2, 2, seed=4)))
    assert torch.equal(*given)


# --- all modes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_learns_with_every_network_from_any_batch(mode, batch, channels):
    stage = stage_of(mode, channels)
    optimizers = optimizers_of(stage)
    before = {name: value.detach().clone() for name, value in stage.named_parameters()}
    for count in (batch, 1):  # a last batch may be short
        losses = step(stage, pairs(count, channels), optimizers)
        assert all(math.isfinite(value) for value in losses.values())
    moved = {name: not torch.equal(value, before[name]) for name, value in stage.named_parameters()}
    assert all(moved[name] for name in moved if name.endswith("weight"))
    assert stage(pairs(2, channels)).shape == (2, channels, SIDE, SIDE)


def test_sources_and_targets_may_differ_in_channels():
    batch = {"image": noise(2, 3, SIDE, SIDE), "target": noise(2, 1, SIDE, SIDE)}
    for mode in MODES:
        stage = RegGanStage(RegGanConfig(mode=mode, **TINY), (SIDE, SIDE), (3, 1))
        step(stage, batch, optimizers_of(stage))
        assert stage(batch).shape == (2, 1, SIDE, SIDE)


def test_an_untrained_stage_moves_nothing():
    stage, batch = stage_of(), pairs()
    field = stage.displacement(batch)
    made = stage(batch)
    assert field.abs().max() < 0.01
    assert (warp(made, field) - made).abs().max() < 1e-3


def test_registration_is_as_deep_as_the_images_allow():
    for side, depth in ((256, 7), (128, 6), (64, 5), (24, 3)):
        stage = RegGanStage(RegGanConfig(**TINY), (side, side))
        assert stage.registration.depth == depth


def test_the_base_is_a_slot():
    class Mixer(nn.Module):
        """One linear map of the channels."""

        def __init__(self, inputs, outputs):
            super().__init__()
            self.mix = nn.Conv2d(inputs, outputs, 1)

        def encode(self, images):
            return images

        def generate(self, code):
            return self.mix(code).tanh()

        def forward(self, images):
            return self.generate(self.encode(images))

    for mode in MODES:
        stage = RegGanStage(RegGanConfig(mode=mode, **TINY), (SIDE, SIDE), make_translator=Mixer)
        before = stage.generator.mix.weight.detach().clone()
        step(stage, pairs(), optimizers_of(stage))
        assert not torch.equal(stage.generator.mix.weight, before)


# --- cost ---------------------------------------------------------------------------------------------------------


def passes(stage: RegGanStage, action) -> dict[str, int]:
    """How often each network is run in an action, by name; generators also by whether gradients are kept."""
    counts: dict[str, int] = {}
    handles = []
    for name, network in stage.named_children():

        def count(module, inputs, output, name=name):
            key = name if output.requires_grad else f"{name} without gradients"
            counts[key] = counts.get(key, 0) + 1

        handles.append(network.register_forward_hook(count))
    action()
    for handle in handles:
        handle.remove()
    return counts


def test_a_step_runs_each_network_no_more_than_the_method_needs():
    expected = {
        "nc+r": {"generator": 1, "generator without gradients": 1, "registration": 1, "discriminator": 2},
        "c": {"generator": 2, "back_generator": 2, "discriminator": 2, "back_discriminator": 2},
    }
    for mode, networks in expected.items():
        stage = stage_of(mode)
        assert passes(stage, lambda stage=stage: step(stage, pairs(), optimizers_of(stage))) == networks
    stage = stage_of(fakes="same")
    found = passes(stage, lambda: step(stage, pairs(), optimizers_of(stage)))
    assert found == {"generator": 1, "registration": 1, "discriminator": 2}


def test_translating_runs_the_generator_alone():
    stage = stage_of().eval()
    with torch.no_grad():
        assert passes(stage, lambda: stage(pairs())) == {"generator without gradients": 1}
        assert torch.equal(stage(pairs()), stage.generator(pairs()["image"]))


def test_a_step_of_reggan_needs_fewer_operations_than_one_of_cyclegan():
    # The published proportions at a quarter of the widths.
    config = {"width": 16, "discriminator_width": 16, "registration_width": 8}
    operations = {}
    for mode in ("nc+r", "c"):
        stage = RegGanStage(RegGanConfig(mode=mode, **config), (64, 64))
        batch = {"image": noise(1, 1, 64, 64), "target": noise(1, 1, 64, 64, seed=1)}
        with FlopCounterMode(display=False) as counter:
            step(stage, batch, optimizers_of(stage))
        operations[mode] = counter.get_total_flops()
    assert operations["nc+r"] < 0.6 * operations["c"]


@pytest.mark.parametrize("mode", MODES)
def test_losses_under_autocast_are_single_precision_and_near(mode):
    stage, batch = stage_of(mode), pairs()
    for update in stage.updates():
        exact = update.losses(batch)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = update.losses(batch)
        for name, value in exact.items():
            assert rounded[name].dtype == torch.float32
            torch.testing.assert_close(rounded[name], value, rtol=0.05, atol=1e-3)


# --- in the engine ------------------------------------------------------------------------------------------------


class Paused(RegGanStage):
    """Stops at a given step of the generators."""

    stop_at = -1
    steps = 0

    def generator_losses(self, batch):
        self.steps += 1
        if self.steps == self.stop_at:
            raise ResourceError("the power is gone", "")
        return super().generator_losses(batch)


def in_engine(stage: RegGanStage, folder, count: int = 12) -> StageTrainer:
    """The engine's trainer on random pairs in memory, with the published settings but for their length."""
    images, targets = (noise(count, 1, SIDE, SIDE, seed=seed).numpy() for seed in (0, 1))
    rows = np.arange(count)
    data = StageData(
        {"image": Stored(lambda positions: images[positions], rows[None])},
        {"target": targets},
        rows,
        rows[:0],
        np.zeros(count, np.int64),
    )
    settings = {**TRAINING, "epochs": 2, "batch_size": 3, "checkpoint_steps": 3}
    task = Classification("multi-class", ["a", "b"])  # scores nothing: there are no rows to validate on
    return StageTrainer(
        stage, make_recipe("data", "full", settings), RunFolder(folder), data, task, torch.device("cpu")
    )


@pytest.mark.parametrize("mode", ["nc+r", "c"])
def test_the_engine_trains_it_as_the_plain_loop_and_goes_on_after_a_kill_bit_by_bit(mode, tmp_path):
    def fresh() -> Paused:
        torch.manual_seed(0)
        return Paused(RegGanConfig(mode=mode, **TINY, pool_size=4), (SIDE, SIDE))

    whole, killed, again = fresh(), fresh(), fresh()
    in_engine(whole, tmp_path / "whole").run()
    killed.stop_at = 8
    with pytest.raises(ResourceError, match="power"):
        in_engine(killed, tmp_path / "killed").run()
    in_engine(again, tmp_path / "killed").run()
    assert (whole.steps, again.steps) == (8, 2)  # from the checkpoint of step 6
    states = whole.state_dict(), again.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    if mode == "nc+r":
        plain, images, targets = fresh(), noise(12, 1, SIDE, SIDE), noise(12, 1, SIDE, SIDE, seed=1)
        optimizers = optimizers_of(plain, TRAINING["lr"])
        for epoch in range(2):
            for rows in epoch_order(np.zeros(12, np.int64), seed=0, epoch=epoch).reshape(-1, 3):
                step(plain, {"image": images[rows], "target": targets[rows]}, optimizers)
        # By what they do: a bias in front of a norm has no gradient but rounding, of which Adam makes whole steps.
        batch = pairs()
        for outputs in (RegGanStage.forward, RegGanStage.displacement):
            expected, untrained = outputs(plain, batch), outputs(fresh(), batch)
            assert (outputs(whole, batch) - expected).abs().max() < 0.02 * (untrained - expected).abs().max()


def test_mistakes_are_told():
    with pytest.raises(InputError, match=r"30x64 pixels .* multiples of 4 from 24 on"):
        RegGanStage(RegGanConfig(), (30, 64))
    with pytest.raises(InputError, match="no 'target'"):
        stage_of().generator_losses({"image": noise(1, 1, SIDE, SIDE)})
    with pytest.raises(InputError, match=re.escape("'target' of shape [1, 1, 32, 28]")):
        stage_of().generator_losses({"image": noise(1, 1, 32, 32), "target": noise(1, 1, 32, 28)})
    with pytest.raises(InputError, match="mode 'nc' learns no registration"):
        stage_of("nc").displacement(pairs())
