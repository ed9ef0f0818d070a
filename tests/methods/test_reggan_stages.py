"""RegGAN's learning step with the paper's networks: who learns from what, losses by hand, and all modes."""

import copy
import math
import re

import pytest
import torch
from reggan_loop import MODES, SIDE, TINY, noise, optimizers_of, pairs, scaled, stage_of, step, update_of
from torch import nn

from modicum.errors import InputError
from modicum.methods.reggan import TRAINING, ImagePool, RegGanConfig, RegGanStage
from modicum.methods.reggan.bases import ResnetBase
from modicum.nn import count_parameters, warp


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
    assert (config.width, config.blocks_of_base, config.pool_size, config.scores) == (64, 9, 50, "mean")
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
    x, y = scaled(batch)
    losses = stage.generator_losses(batch)
    fake = stage.base.generator(x)
    field = stage.registration(fake, y)
    moved = warp(fake, field)
    score = stage.base.discriminator.patches(fake).mean((1, 2, 3))
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
    x, y = scaled(batch)
    cycle = stage_of("c")
    losses = cycle.generator_losses(batch)
    there, back = cycle.base.generator(x), cycle.base.back_generator(y)
    expected = {
        "adversarial": ((cycle.base.discriminator(there) - 1) ** 2).mean(),
        "back_adversarial": ((cycle.base.back_discriminator(back) - 1) ** 2).mean(),
        "cycle": 10 * (cycle.base.back_generator(there) - x).abs().mean(),
        "back_cycle": 10 * (cycle.base.generator(back) - y).abs().mean(),
    }
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)
    assert stage_of("c+r").generator_losses(batch).keys() == {*expected, "correction", "smoothness"}
    pairwise = stage_of("p")
    losses, made = pairwise.generator_losses(batch), pairwise.base.generator(x)
    torch.testing.assert_close(losses["pixel"], 100 * (made - y).abs().mean())
    score = pairwise.base.discriminator(torch.cat([x, made], 1))
    torch.testing.assert_close(losses["adversarial"], ((score - 1) ** 2).mean())


@pytest.mark.parametrize("mode", MODES)
def test_the_discriminators_loss_is_not_halved_and_of_two_passes(mode):
    stage, batch = stage_of(mode), pairs()
    x, y = scaled(batch)
    stage.generator_losses(batch)
    fake = stage.base.generator(x)
    real, made = (torch.cat([x, image], 1) if mode == "p" else image for image in (y, fake))
    expected = (stage.base.discriminator(real) - 1).square().mean() + stage.base.discriminator(
        made
    ).square().mean()
    torch.testing.assert_close(sum(update_of(stage, "discriminator").losses(batch).values()), expected)


def test_scores_of_patches_are_an_option():
    stage, batch = stage_of(scores="patches"), pairs()
    patches = stage.base.discriminator.patches(stage.base.generator(scaled(batch)[0]))
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
    assert gradients(reggan.base.generator).abs().max() > 0


def test_correction_reaches_generator_and_registration(reggan):
    reggan.generator_losses(pairs())["correction"].backward()
    assert gradients(reggan.registration).abs().max() > 0
    assert gradients(reggan.base.generator).abs().max() > 0
    assert gradients(reggan.base.discriminator) is None


def test_smoothness_reaches_the_generator_through_what_registration_sees(reggan):
    batch = pairs()
    reggan.generator_losses(batch)["smoothness"].backward()
    assert gradients(reggan.registration).abs().max() > 0
    assert gradients(reggan.base.generator).abs().max() > 0
    blind = copy.deepcopy(reggan)
    blind.zero_grad()
    blind.registration.register_forward_pre_hook(lambda module, inputs: tuple(i.detach() for i in inputs))
    blind.generator_losses(batch)["smoothness"].backward()
    assert gradients(blind.base.generator) is None


def test_correction_teaches_the_generator_also_through_what_registration_sees(reggan):
    batch, blind = pairs(), copy.deepcopy(reggan)
    blind.registration.register_forward_pre_hook(lambda module, inputs: tuple(i.detach() for i in inputs))
    for stage in (reggan, blind):
        stage.generator_losses(batch)["correction"].backward()
    whole, through_the_warp = gradients(reggan.base.generator), gradients(blind.base.generator)
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
    for network in (*stage.base.generators(), stage.registration):
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


def test_one_adam_over_generator_and_registration_is_one_each():
    together, apart, batch = stage_of(), stage_of(), pairs()
    step(together, batch, optimizers_of(together))
    optimizers = [
        torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.5, 0.999))
        for network in (apart.registration, apart.base.generator, apart.base.discriminator)
    ]
    apart.base.discriminator.requires_grad_(False)
    sum(apart.generator_losses(batch).values()).backward()
    optimizers[0].step()
    optimizers[1].step()
    apart.base.discriminator.requires_grad_(True)
    sum(update_of(apart, "discriminator").losses(batch).values()).backward()
    optimizers[2].step()
    for one, other in zip(together.parameters(), apart.parameters(), strict=True):
        assert torch.equal(one, other)


# --- where discriminators get translations from -----------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_p_and_reggan_judge_fresh_translations_and_the_others_those_of_the_generators_step(mode):
    stage, batch = stage_of(mode), pairs()
    seen = []
    stage.base.discriminator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    before = stage.base.generator(scaled(batch)[0]).detach()
    optimizers = optimizers_of(stage)
    step(stage, batch, optimizers)
    after = stage.base.generator(scaled(batch)[0]).detach()
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


def test_the_generator_is_a_slot():
    class Mixer(nn.Module):
        """One linear map of the channels."""

        def __init__(self, inputs, outputs):
            super().__init__()
            self.mix = nn.Conv2d(inputs, outputs, 1)

        def forward(self, images):
            return self.mix(images).tanh()

    for mode in MODES:
        config = RegGanConfig(mode=mode, **TINY)
        base = ResnetBase(config, (SIDE, SIDE), (1, 1), make_generator=Mixer)
        stage = RegGanStage(config, (SIDE, SIDE), base=base)
        before = stage.base.generator.mix.weight.detach().clone()
        step(stage, pairs(), optimizers_of(stage))
        assert not torch.equal(stage.base.generator.mix.weight, before)


def test_mistakes_are_told():
    with pytest.raises(InputError, match=r"30x64 pixels .* multiples of 4 from 24 on"):
        RegGanStage(RegGanConfig(), (30, 64))
    with pytest.raises(InputError, match="no 'target'"):
        stage_of().generator_losses({"image": noise(1, 1, SIDE, SIDE)})
    with pytest.raises(InputError, match=re.escape("'target' has shape [1, 1, 32, 28]")):
        stage_of().generator_losses({"image": noise(1, 1, 32, 32), "target": noise(1, 1, 32, 28)})
    with pytest.raises(InputError, match="mode 'nc' learns no registration"):
        stage_of("nc").displacement(pairs())
