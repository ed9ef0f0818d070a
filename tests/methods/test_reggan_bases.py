"""Registration on other bases: losses by hand, who learns from what, and the passes that a step needs."""

import math

import pytest
import torch
from reggan_loop import MODES, SIDE, TINY, optimizers_of, pairs, scaled, stage_of, step, update_of

from modicum.errors import InputError
from modicum.methods.reggan import RegGanConfig, RegGanStage
from modicum.nn import count_parameters, warp

OTHERS = ["nice_gan", "unit", "munit"]
MODES_OF_ALL = MODES[1:]


def smoothness(field: torch.Tensor) -> torch.Tensor:
    return field.diff(dim=2).square().mean() + field.diff(dim=3).square().mean()


def away_from_one(scores: list[torch.Tensor]) -> torch.Tensor:
    return sum((part - 1).square().mean() for part in scores)


def close(losses: dict, expected: dict) -> None:
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-4, atol=1e-6)


# --- the paper ----------------------------------------------------------------------------------------------------


def test_weights_of_the_bases_are_the_releases():
    config = RegGanConfig()
    assert (config.reconstruction_weight, config.cycle_weight) == (10, 10)
    assert (config.kl_weight, config.code_weight, config.munit_adversarial) == (0.01, 1, "corrected")
    blocks = {base: RegGanConfig(base=base).blocks_of_base for base in ["resnet", *OTHERS]}
    assert blocks == {"resnet": 9, "nice_gan": 6, "unit": 4, "munit": 4}
    assert RegGanConfig(base="unit", blocks=2).blocks_of_base == 2


def test_published_networks_have_the_counts_of_their_parts():
    registration, scales = 2_058_018, 8_265_027
    unit = 2 * (5_379_584 + 5_748_353)
    munit = 2 * (5_379_584 + 2_758_664 + 6_869_121)
    nice, nice_judge, nice_encoder = 8_098_368, 46_872_385, 165_441
    expected = {
        ("unit", "nc+r"): unit + scales + registration,
        ("unit", "c"): unit + 2 * scales,
        ("munit", "nc"): munit + scales,
        ("munit", "c+r"): munit + 2 * scales + registration,
        ("nice_gan", "nc+r"): nice_encoder + nice + nice_judge + registration,
        ("nice_gan", "c"): 2 * (nice + nice_judge),
    }
    with torch.device("meta"):
        found = {
            (base, mode): count_parameters(RegGanStage(RegGanConfig(base=base, mode=mode), (256, 256)))[0]
            for base, mode in expected
        }
    assert found == expected


def test_the_releases_nice_gan_has_its_counts_in_every_mode():
    """277,648,960 parameters of the generator, 277,814,401 with its encoder, 11,722,657 of the discriminator without a
    cycle and 46,872,385 with one; 2,058,018 of registration."""
    generator, with_encoder, judge, half_judge, registration = (
        277_648_960,
        277_814_401,
        46_872_385,
        11_722_657,
        2_058_018,
    )
    expected = {
        "nc": with_encoder + half_judge,
        "nc+r": with_encoder + half_judge + registration,
        "c": 2 * (generator + judge),
        "c+r": 2 * (generator + judge) + registration,
    }
    with torch.device("meta"):
        for mode, count in expected.items():
            stage = RegGanStage(RegGanConfig(base="nice_gan", networks="release", mode=mode), (256, 256))
            assert count_parameters(stage)[0] == count
            kept = [stage.base.get_submodule(name) for name in stage.base.persistent_modules()]
            assert mode.startswith("c") or sum(count_parameters(part)[0] for part in kept) == with_encoder
        discriminator = RegGanStage(
            RegGanConfig(base="nice_gan", networks="release"), (256, 256)
        ).base.discriminator
        scores = [tuple(score.shape) for score in discriminator(torch.empty(2, 1, 256, 256))]
    # Of 7x7 padded to 9x9, a convolution of 3x3 leaves 7x7; one of 4x4 6x6.
    assert scores == [(2, 1, 30, 30), (2, 1, 7, 7), (2, 1)]


@pytest.mark.parametrize("mode", MODES_OF_ALL)
def test_the_releases_nice_gan_learns_in_every_mode(mode):
    torch.manual_seed(0)
    config = RegGanConfig(mode=mode, base="nice_gan", networks="release", **TINY)
    stage = RegGanStage(config, (SIDE, SIDE), (1, 1))
    before = {name: value.detach().clone() for name, value in stage.named_parameters()}
    optimizers = optimizers_of(stage)
    for _ in range(2):  # the attention starts at 0, and what it weights learns from the second step on
        losses = step(stage, pairs(2), optimizers)
    assert all(math.isfinite(value) for value in losses.values())
    assert not [
        name
        for name, value in stage.named_parameters()
        if torch.equal(value, before[name]) and "bias" not in name
    ]
    assert stage(pairs(2)).shape == (2, 1, SIDE, SIDE)


def test_the_releases_networks_are_of_nice_gan_alone_and_blocks_may_be_chosen():
    with pytest.raises(ValueError, match=r"networks 'release' is for base 'nice_gan'.*'unit'"):
        RegGanConfig(base="unit", networks="release")
    assert RegGanConfig(base="nice_gan", networks="release").blocks_of_base == 7
    assert RegGanConfig(base="nice_gan", networks="release", blocks=2).blocks_of_base == 2


@pytest.mark.parametrize("base", OTHERS)
def test_pairs_pixel_by_pixel_are_for_the_papers_networks(base):
    with pytest.raises(
        InputError, match=rf"base '{base}' does not learn pixel by pixel .* use base 'resnet'"
    ):
        stage_of("p", base=base)


# --- every base and mode ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES_OF_ALL)
@pytest.mark.parametrize("base", OTHERS)
def test_every_mode_learns_with_every_network_from_any_batch(base, mode):
    stage = stage_of(mode, base=base)
    optimizers = optimizers_of(stage)
    before = {name: value.detach().clone() for name, value in stage.named_parameters()}
    for count in (3, 1):  # a last batch may be short
        losses = step(stage, pairs(count), optimizers)
        assert all(math.isfinite(value) for value in losses.values())
        assert ("correction" in losses) == ("smoothness" in losses) == mode.endswith("+r")
    still = [
        name
        for name, value in stage.named_parameters()
        if torch.equal(value, before[name]) and "bias" not in name
    ]
    assert not still
    made = stage(pairs(2))
    assert made.shape == (2, 1, SIDE, SIDE)
    assert 0 < made.min() < made.max() < 1


@pytest.mark.parametrize("base", OTHERS)
def test_sources_and_targets_may_differ_in_channels(base):
    batch = {"image": pairs(2, 3)["image"], "target": pairs(2, 1)["target"]}
    for mode in MODES_OF_ALL:
        stage = RegGanStage(RegGanConfig(mode=mode, base=base, **TINY), (SIDE, SIDE), (3, 1))
        step(stage, batch, optimizers_of(stage))
        assert stage(batch).shape == (2, 1, SIDE, SIDE)


@pytest.mark.parametrize("mode", MODES_OF_ALL)
@pytest.mark.parametrize("base", OTHERS)
def test_every_parameter_belongs_to_exactly_one_update(base, mode):
    stage = stage_of(mode, base=base)
    owned = [id(parameter) for update in stage.updates() for parameter in update.parameters]
    assert len(set(owned)) == len(owned)
    assert set(owned) == {id(parameter) for parameter in stage.parameters()}


@pytest.mark.parametrize("penalty", ["r1", "interpolation"])
@pytest.mark.parametrize("base", ["resnet", *OTHERS])
@pytest.mark.parametrize("mode", ["nc+r", "c"])
def test_penalties_add_to_discriminators_losses_and_reach_them_alone(base, mode, penalty):
    stage, batch = stage_of(mode, base=base, penalty=penalty), pairs()
    others = {id(p) for p in stage.parameters()}
    adversaries = [update for update in stage.updates() if update.name != "generators"]
    for update in adversaries:
        losses = update.losses(batch)
        found = [name for name in losses if name.endswith("penalty")]
        assert found
        for name in found:
            assert losses[name] > 0
        sum(losses[name] for name in found).backward()
        others -= {id(p) for p in update.parameters}
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in update.parameters)
    assert not any(p.grad is not None for p in stage.parameters() if id(p) in others)


# --- losses by hand -----------------------------------------------------------------------------------------------


@pytest.fixture
def no_noise(monkeypatch):
    """Draws are zeros: codes are their means, and styles the mean style."""
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    monkeypatch.setattr(torch, "randn", torch.zeros)


def test_the_losses_of_unit_are_their_formulas(no_noise):
    stage, batch = stage_of("c+r", base="unit"), pairs()
    (x, y), b = scaled(batch), stage.base
    losses = stage.generator_losses(batch)
    code_a, code_b = b.encoder(x), b.back_encoder(y)
    ab, ba = b.decoder(code_a), b.back_decoder(code_b)
    code_ab, code_ba = b.back_encoder(ab), b.encoder(ba)
    field = stage.registration(ab, y)
    codes = (code_a, code_b, code_ab, code_ba)
    close(
        losses,
        {
            "adversarial": away_from_one(b.discriminator(ab)),
            "back_adversarial": away_from_one(b.back_discriminator(ba)),
            "reconstruction": 10 * (b.back_decoder(code_a) - x).abs().mean(),
            "back_reconstruction": 10 * (b.decoder(code_b) - y).abs().mean(),
            "cycle": 10 * (b.back_decoder(code_ab) - x).abs().mean(),
            "back_cycle": 10 * (b.decoder(code_ba) - y).abs().mean(),
            "kl": 0.01 * sum((code**2).mean() for code in codes),
            "correction": 20 * (warp(ab, field) - y).abs().mean(),
            "smoothness": 10 * smoothness(field),
        },
    )


def test_without_a_cycle_unit_keeps_the_cycle_of_sources(no_noise):
    stage, batch = stage_of("nc", base="unit"), pairs()
    (x, y), b = scaled(batch), stage.base
    losses = stage.generator_losses(batch)
    assert losses.keys() == {"adversarial", "reconstruction", "back_reconstruction", "cycle", "kl"}
    codes = b.encoder(x), b.back_encoder(y), b.back_encoder(b.decoder(b.encoder(x)))
    torch.testing.assert_close(losses["kl"], 0.01 * sum((code**2).mean() for code in codes))


def test_units_codes_are_noisy_in_training_and_means_in_translating():
    stage, batch = stage_of("nc", base="unit"), pairs()
    first, second = (stage.base.generator_losses(*scaled(batch))[0] for _ in range(2))
    assert (first - second).abs().max() > 1e-2
    assert torch.equal(stage(batch), stage(batch))
    expected = stage.base.decoder(stage.base.encoder(scaled(batch)[0]))
    torch.testing.assert_close(stage(batch), (expected + 1) / 2)


def test_the_losses_of_munit_are_their_formulas(no_noise):
    stage, batch = stage_of("c+r", base="munit"), pairs()
    (x, y), b = scaled(batch), stage.base
    losses = stage.generator_losses(batch)
    content_a, content_b = b.encoder(x), b.back_encoder(y)
    style = torch.zeros(2, 8)
    ab, ba = b.decoder(content_a, style), b.back_decoder(content_b, style)
    field = stage.registration(ab, y)
    close(
        losses,
        {
            "adversarial": away_from_one(b.discriminator(ab)),
            "back_adversarial": away_from_one(b.back_discriminator(ba)),
            "reconstruction": 10 * (b.back_decoder(content_a, b.source_style(x)) - x).abs().mean(),
            "back_reconstruction": 10 * (b.decoder(content_b, b.target_style(y)) - y).abs().mean(),
            "content": (b.back_encoder(ab) - content_a).abs().mean(),
            "back_content": (b.encoder(ba) - content_b).abs().mean(),
            "style": (b.target_style(ab) - style).abs().mean(),
            "back_style": (b.source_style(ba) - style).abs().mean(),
            "correction": 20 * (warp(ab, field) - y).abs().mean(),
            "smoothness": 10 * smoothness(field),
        },
    )


def test_munits_adversarial_weight_of_the_release_is_an_option(no_noise):
    batch = pairs()
    found = {
        (mode, weight): stage_of(mode, base="munit", munit_adversarial=weight).generator_losses(batch)
        for mode in ("nc", "nc+r")
        for weight in ("corrected", "published")
    }
    names = {"adversarial", "reconstruction", "back_reconstruction", "content", "back_style"}
    assert found["nc", "corrected"].keys() == names
    assert found["nc+r", "corrected"].keys() == names | {"correction", "smoothness"}
    adversarial = {key: losses["adversarial"] for key, losses in found.items()}
    torch.testing.assert_close(adversarial["nc+r", "published"], 10 * adversarial["nc+r", "corrected"])
    torch.testing.assert_close(adversarial["nc", "published"], adversarial["nc", "corrected"])


def test_the_losses_of_nice_gan_are_their_formulas():
    stage, batch = stage_of("c+r", base="nice_gan").eval(), pairs()
    (x, y), b = scaled(batch), stage.base
    losses = stage.generator_losses(batch)
    encode_a, encode_b = b.back_discriminator.encoder, b.discriminator.encoder
    ab, ba = b.generator(encode_a(x)), b.back_generator(encode_b(y))
    field = stage.registration(ab, y)
    close(
        losses,
        {
            "adversarial": away_from_one(b.discriminator(ab)),
            "back_adversarial": away_from_one(b.back_discriminator(ba)),
            "cycle": 10 * (b.back_generator(encode_b(ab)) - x).abs().mean(),
            "back_cycle": 10 * (b.generator(encode_a(ba)) - y).abs().mean(),
            "identity": 10 * (b.back_generator(encode_a(x)) - x).abs().mean(),
            "back_identity": 10 * (b.generator(encode_b(y)) - y).abs().mean(),
            "correction": 20 * (warp(ab, field) - y).abs().mean(),
            "smoothness": 10 * smoothness(field),
        },
    )
    real = away_from_one(b.discriminator(y))
    fake = sum(part.square().mean() for part in b.discriminator(ab))
    found = update_of(stage, "discriminators").losses(batch)
    torch.testing.assert_close(found["real"], real)
    torch.testing.assert_close(found["fake"], fake)


# --- what is special ----------------------------------------------------------------------------------------------


def test_nice_gans_encoders_learn_with_the_discriminators_alone_which_go_first():
    stage, batch = stage_of("c", base="nice_gan"), pairs()
    assert [update.name for update in stage.updates()] == ["discriminators", "generators"]
    assert [update.name for update in stage_of("nc+r", base="nice_gan").updates()] == [
        "generators",
        "discriminator",
    ]
    update = update_of(stage, "generators")
    encoders = [
        *stage.base.discriminator.encoder.parameters(),
        *stage.base.back_discriminator.encoder.parameters(),
    ]
    assert not {id(p) for p in encoders} & {id(p) for p in update.parameters}
    stage.requires_grad_(False)
    for parameter in update.parameters:
        parameter.requires_grad_(True)
    losses = update.losses(batch)
    # Through the frozen encoder of targets the cycle teaches the generator what it encodes.
    losses["cycle"].backward()
    assert all(parameter.grad is None for parameter in encoders)
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in stage.base.generator.parameters())


def test_nice_gan_cannot_judge_what_is_not_made_yet():
    with pytest.raises(InputError, match="learn first, and cannot learn from the translations"):
        stage_of("c", base="nice_gan", fakes="same")
    assert stage_of("nc+r", base="nice_gan", fakes="same").base.fakes.source == "same"


def calls(stage: RegGanStage, batch) -> dict[str, int]:
    """How often each part of the base is run in a step."""
    counts: dict[str, int] = {}
    for name, part in stage.base.named_modules():
        if name and (name.count(".") == 0 or name.endswith("discriminator.encoder")):
            part.register_forward_hook(lambda *_, name=name: counts.update({name: counts.get(name, 0) + 1}))
    step(stage, batch, optimizers_of(stage))
    return counts


def test_a_step_runs_no_part_that_the_losses_do_not_need():
    batch = pairs()
    assert calls(stage_of("nc+r", base="unit", fakes="same"), batch) == {
        "encoder": 1,
        "back_encoder": 2,  # targets, and translations for the cycle
        "decoder": 2,  # translations, and targets rebuilt
        "back_decoder": 2,  # sources rebuilt, and the cycle
        "discriminator": 2,
    }
    assert calls(stage_of("nc+r", base="munit", fakes="same"), batch) == {
        "encoder": 1,
        "back_encoder": 2,
        "source_style": 2,
        "target_style": 1,
        "decoder": 2,
        "back_decoder": 2,
        "discriminator": 2,
    }
    assert calls(stage_of("nc+r", base="nice_gan"), batch) == {
        "encoder": 2,
        "generator": 2,
        "discriminator": 2,
    }
    fresh = calls(stage_of("nc+r", base="unit"), batch)
    assert (fresh["encoder"], fresh["decoder"]) == (2, 3)


@pytest.mark.parametrize("base", ["resnet", *OTHERS])
def test_what_is_kept_translates_and_registers_and_holds_no_image(base):
    for mode in MODES_OF_ALL:
        stage, batch = stage_of(mode, base=base, fakes="pool", pool_size=3), pairs()
        step(stage, batch, optimizers_of(stage))
        kept = tuple(f"{name}." for name in stage.persistent_modules())
        tensors = {name: value for name, value in stage.state_dict().items() if name.startswith(kept)}
        assert not any("pool" in name or "images" in name for name in tensors)
        held = {id(value) for name, value in stage.named_parameters() if name.startswith(kept)}
        used = [*stage.base.translator().parameters()]
        used += [] if stage.registration is None else [*stage.registration.parameters()]
        assert held == {id(value) for value in used}
        fresh = stage_of(mode, seed=1, base=base)
        fresh.load_state_dict(tensors, strict=False)
        stage.eval(), fresh.eval()
        assert torch.equal(fresh(batch), stage(batch))
        if stage.registration is not None:
            assert torch.equal(fresh.displacement(batch), stage.displacement(batch))
        pooled = [name for name in stage.state_dict() if name.endswith("pool.images")]
        assert pooled  # in the checkpoint
        assert stage.state_dict()[pooled[0]].abs().max() > 0
