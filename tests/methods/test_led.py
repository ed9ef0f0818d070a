"""LED, stage by stage: the conditions, gradients and draws of its paper, and no defect of its release."""

import pytest
import torch

from modicum.engine.training.averaging import AveragedParameters
from modicum.errors import InputError
from modicum.losses import patch_nce
from modicum.methods.base import Context
from modicum.methods.led import CutSettings, CutStage, Enhancer, EnhanceStage, Led, LedConfig, PairSource
from modicum.methods.led.familiarity import Familiarity
from modicum.nn import CutGenerator, NoiseSchedule, ResnetGenerator
from modicum.nn.cut_generator import BilinearDoubling, encoder_features, feature_widths
from modicum.nn.diffusion_sampling import SamplingPlan
from modicum.tasks.image_to_image.task import ImageToImage, ImageToImageOptions
from modicum.transforms import Augmentation

TINY = {"unet_channels": (8, 8), "attention_levels": (), "blocks_per_level": 1, "steps": 50}
SMALL_CUT = CutSettings(
    generator_width=4, generator_blocks=1, discriminator_width=4, nce_places=16, nce_width=8
)
SEEDS = torch.tensor([3, 4])


def images(count=2, side=16, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


class Stub(torch.nn.Module):
    """Stands for the network: keeps what it was asked, and answers by a function of noisy image and condition."""

    def __init__(self, answer=lambda x, c, t: torch.zeros_like(x)):
        super().__init__()
        self.answer, self.conditions, self.shapes = answer, [], []

    def forward(self, x, condition, times):
        self.conditions.append(condition)
        self.shapes.append(tuple(x.shape[2:]))
        return self.answer(x, condition, times)


def enhancer(network, start=200, samples=1, **plan):
    return Enhancer(network, NoiseSchedule(), SamplingPlan(start, **plan), samples)


# --- sampling ---------------------------------------------------------------------------------------------------------


def test_what_is_enhanced_is_the_condition_at_every_step_without_noise():
    stub, given = Stub(), images()
    enhancer(stub)(given, SEEDS)
    assert len(stub.conditions) == 11
    assert all(torch.equal(condition, 2 * given - 1) for condition in stub.conditions)


def test_the_same_seed_gives_the_same_bits_and_another_gives_others_in_any_batch():
    network = Stub(lambda x, c, t: torch.tanh(x))
    made = enhancer(network, 800)
    given = images()
    first = made(given, SEEDS)
    assert torch.equal(first, made(given, SEEDS))
    assert torch.equal(first[1:], made(given[1:], SEEDS[1:]))
    assert not torch.allclose(first, made(given, SEEDS + 10))
    assert torch.isfinite(made(given, torch.tensor([2**32, 2**62]))).all()  # a seed of 2^32 stops the release


def test_several_samples_have_a_mean_and_a_spread_and_one_has_none():
    network, given = Stub(lambda x, c, t: 0.5 * x), images()
    assert enhancer(network).map_names == ()
    assert enhancer(network).with_maps(given, SEEDS)[1] == {}
    made = enhancer(network, 800, samples=4)
    mean, maps = made.with_maps(given, SEEDS)
    assert made.map_names == ("spread",)
    assert maps["spread"].shape == (2, 16, 16)
    assert maps["spread"].mean() > 0
    assert mean.shape == given.shape


def test_tiles_of_a_local_network_are_what_the_whole_image_gives():
    # Blended in the predictions of every step: the noise of the start is that of the whole image.
    network, given = Stub(lambda x, c, t: torch.tanh(x + c)), images(1, 40)
    whole = enhancer(network, 800)(given, SEEDS[:1])
    network.shapes.clear()
    tiled = enhancer(network, 800).with_tiles((16, 16), (8, 8))(given, SEEDS[:1])
    assert set(network.shapes) == {(16, 16)}
    assert torch.allclose(tiled, whole, atol=1e-4)
    small = enhancer(network, 800).with_tiles((64, 64), (16, 16))(given, SEEDS[:1])
    assert torch.equal(small, whole)


def test_another_start_leaves_the_first_as_it_was():
    first = enhancer(Stub(), 800)
    second = first.started_at(200)
    assert (first.plan.start, second.plan.start) == (800, 200)
    assert second.network is first.network


# --- the learning step ------------------------------------------------------------------------------------------------


def stage_of(degrade="pairs", degrader=None, **settings):
    config = LedConfig(degrade=degrade, **{**TINY, **settings})
    torch.manual_seed(0)
    return EnhanceStage(config, 3, PairSource(degrade, config, degrader))


def test_gradients_reach_the_whole_network_and_nothing_of_the_degrader():
    degrader = torch.nn.Conv2d(3, 3, 1)
    stage = stage_of("learned", degrader)
    (loss,) = stage.losses({"target": images(), "row": torch.arange(2)}).values()
    loss.backward()
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in stage.network.parameters())
    assert all(one.grad is None for one in degrader.parameters())


def test_the_condition_of_training_is_the_twin_without_noise():
    stage = stage_of("learned", torch.nn.Sequential())
    stage.network = Stub()
    good = images()
    stage.losses({"target": good})
    assert torch.equal(stage.network.conditions[0], 2 * good - 1)


def test_a_network_that_says_nothing_loses_1():
    stage = stage_of()
    stage.network = Stub()
    batch = {"target": images(4, 32), "image": images(4, 32, 1)}
    torch.manual_seed(0)
    assert float(stage.losses(batch)["epsilon"]) == pytest.approx(1, abs=0.05)


def test_twins_are_where_the_settings_say():
    good, poor = images(4), images(4, seed=1)
    batch = {"target": good, "image": poor}
    config = LedConfig(kinds=("001",))
    black = torch.nn.Threshold(2, 0)  # everything becomes 0
    assert PairSource("pairs", config)(batch)[1] is poor
    assert (PairSource("learned", config, black)(batch)[1] == 0).all()
    torch.manual_seed(1)
    classical = PairSource("classical", config)(batch)[1]
    assert classical.shape == good.shape
    assert not torch.allclose(classical, good, atol=1e-3)
    torch.manual_seed(1)
    assert torch.equal(PairSource("classical", config)(batch)[1], classical)
    torch.manual_seed(4)
    mixed = PairSource("mixed", config, black)(batch)[1].flatten(1).amax(1) == 0
    assert mixed.any()
    assert not mixed.all()


def test_flips_are_the_same_for_an_image_and_its_twin():
    flips = Augmentation([{"name": "horizontal_flip", "p": 0.5}, {"name": "vertical_flip", "p": 0.5}])
    good, generator = images(100, 8), torch.Generator().manual_seed(0)
    flipped = flips({"image": good, "target": good}, generator)
    assert torch.equal(flipped["image"], flipped["target"])
    assert not torch.equal(flipped["image"], good)


@pytest.mark.parametrize(
    ("step", "decay"), [(1, 0.0), (2, 0.4054), (100, 0.9684), (10_000, 0.9990), (10**6, 0.9999)]
)
def test_averaged_weights_follow_by_the_published_ramp(step, decay):
    weight = torch.nn.Parameter(torch.ones(2))
    average = AveragedParameters({"weight": weight}, 0.9999, 0.75)
    assert average.decay_at(step - 1) == pytest.approx(decay, abs=5e-5)


def test_a_preview_with_averaged_weights_leaves_the_training_weights_bit_by_bit():
    # The release copies them over the training weights.
    weight = torch.nn.Parameter(torch.randn(5))
    before = weight.detach().clone()
    average = AveragedParameters({"weight": weight}, 0.9999, 0.75)
    with torch.no_grad():
        weight += 1e-3
    average.update()
    average.average["weight"].mul_(2)
    now = weight.detach().clone()
    with average.in_network():
        assert not torch.equal(weight, now)
    assert torch.equal(weight, now)
    assert not torch.equal(weight, before)


def test_images_unlike_those_of_the_training_are_told_apart():
    known = Familiarity(3, (16, 16))
    assert not known.unlike(images()).any()  # nothing was observed
    first, second = 0.3 + 0.2 * images(20, 16), 0.3 + 0.2 * images(12, 16, 1)
    known.observe(first)
    known.observe(second)
    measured = known.measure(torch.cat([first, second]))
    assert torch.allclose(known.mean, measured.mean(0))
    assert torch.allclose((known.squares / known.count).sqrt(), measured.std(0, correction=0))
    assert not known.unlike(first).any()
    odd = torch.stack([torch.zeros(3, 32, 32), torch.ones(3, 32, 32)])
    assert known.unlike(odd).all()


# --- stage A ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [CutGenerator, ResnetGenerator])
def test_generators_have_the_published_number_of_parameters(make):
    with torch.device("meta"):
        network = make(3, 3)
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_378_179


def test_places_are_compared_at_the_published_layers():
    generator = CutGenerator(3, 3, 4, 9)
    features = encoder_features(generator, images(1, 32))
    assert [one.shape[1] for one in features] == feature_widths(generator, 3) == [3, 8, 16, 16, 16]
    assert [one.shape[2] for one in features] == [38, 32, 16, 8, 8]
    assert torch.equal(features[0], generator.encoder[0](images(1, 32)))


def test_doubling_is_the_transposed_convolution_of_the_release():
    features = torch.rand(1, 2, 6, 5)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = (taps[:, None] * taps[None] / 16).expand(2, 1, 4, 4)
    padded = torch.nn.functional.pad(features, (1,) * 4, mode="replicate")
    theirs = torch.nn.functional.conv_transpose2d(padded, kernel, stride=2, padding=3, groups=2)
    assert torch.allclose(BilinearDoubling()(features), theirs, atol=1e-6)


def test_patch_nce_is_the_cross_entropy_of_the_own_place_and_keys_get_no_gradient():
    queries = torch.nn.functional.normalize(torch.randn(2, 5, 3), dim=2).requires_grad_()
    keys = torch.nn.functional.normalize(torch.randn(2, 5, 3), dim=2).requires_grad_()
    loss = patch_nce(queries, keys, 0.07)
    logits = torch.einsum("bnd,bmd->bnm", queries, keys) / 0.07
    expected = -(logits.diagonal(dim1=1, dim2=2) - logits.logsumexp(2)).mean()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    loss.backward()
    assert queries.grad is not None
    assert keys.grad is None


def test_unrelated_places_cost_the_logarithm_of_their_number():
    zeros = torch.zeros(1, 256, 4)
    assert float(patch_nce(zeros, zeros)) == pytest.approx(5.5452, abs=1e-3)


def cut_stage(**changes):
    torch.manual_seed(0)
    settings = SMALL_CUT.model_copy(update=changes)
    return CutStage(settings, "degrade", ("target", "image"), (3, 3), 400, scored=False)


def test_the_rate_of_cut_is_constant_and_then_falls_to_nothing():
    stage = cut_stage()
    factors = [stage.lr_factor(epoch) for epoch in (0, 199, 200, 399)]
    assert factors == pytest.approx([1, 1, 1 - 1 / 201, 1 / 201])


def test_each_update_of_cut_reaches_its_own_networks_alone():
    stage = cut_stage()
    batch = {"target": images(1, 32), "image": images(1, 32, 1)}
    first, second = stage.updates()
    sum(first.losses(batch).values()).backward()
    assert all(one.grad is None for one in stage.generator.parameters())
    assert all(one.grad is not None for one in stage.discriminator.parameters())
    losses = second.losses(batch)
    assert set(losses) == {"adversarial", "nce", "identity"}
    sum(losses.values()).backward()
    assert all(one.grad is not None for one in [*stage.generator.parameters(), *stage.heads.parameters()])
    assert set(cut_stage(nce_identity=False).generator_losses(batch)) == {"adversarial", "nce"}


def test_degraders_keep_sizes_that_4_does_not_divide():
    stage = cut_stage()
    assert stage({"target": images(1, 30)}).shape == (1, 3, 30, 30)
    assert all(
        torch.isfinite(loss)
        for loss in stage.generator_losses({n: images(1, 30) for n in ("target", "image")}).values()
    )


def test_pools_that_are_too_small_are_refused():
    import numpy as np

    with pytest.raises(InputError, match="stage 'degrade' has pools of 2 images; give at least 4"):
        cut_stage().learns_from({"has_target": np.ones(2, dtype=bool)})


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"zero_terminal_snr": True}, "set prediction to v"),
        ({"kinds": ("002",)}, "'002' is none of 001"),
        ({"unet_channels": (0, 8)}, "from 1 on"),
        ({"start": 1000}, "less than 1000"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        LedConfig(**settings)


def test_what_is_enhanced_has_the_channels_of_what_it_becomes():
    task = ImageToImage((3, 1), ImageToImageOptions())
    context = Context(task, lambda: None, {}, {}, image_size=(16, 16))
    with pytest.raises(InputError, match="images of 3 and targets of 1 channels"):
        Led(LedConfig(degrade="pairs", **TINY), context)
