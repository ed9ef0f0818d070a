"""Diffusion: published numbers of the schedule and the network, closed forms, and diffusers' own answers."""

import pytest
import torch

from modicum.errors import InputError
from modicum.nn import ConditionalUnet, NoiseSchedule
from modicum.nn.diffusion_sampling import SamplingPlan, sample, sampling_times
from modicum.nn.noise_schedule import signal_shares

PUBLISHED_SHARES = {
    0: 0.9999,
    100: 0.895141,
    200: 0.656347,
    400: 0.193572,
    600: 0.025567,
    800: 0.00150752,
    999: 4.0358e-5,
}


def images(count=2, side=8, seed=0):
    return 2 * torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) - 1


def noise_like(x, seed=1):
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


# --- schedule ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("time", "share"), PUBLISHED_SHARES.items())
def test_shares_of_signal_are_the_published_ones(time, share):
    assert float(signal_shares()[time]) == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("zero", [False, True])
def test_shares_are_those_of_diffusers(zero):
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler(1000, beta_start=1e-4, beta_end=0.02, rescale_betas_zero_snr=zero).alphas_cumprod
    assert torch.allclose(signal_shares(zero), theirs, atol=1e-5)
    assert (float(signal_shares(zero)[-1]) == 0) == zero


@pytest.mark.parametrize("prediction", ["epsilon", "v", "sample"])
def test_what_the_network_should_say_means_the_image_and_its_noise(prediction):
    schedule, x = NoiseSchedule(prediction), images()
    noise, times = noise_like(x), torch.tensor([10, 600])
    x_t = schedule.add_noise(x, noise, times)
    clean, found = schedule.read(schedule.target(x, noise, times), x_t, times)
    assert torch.allclose(clean, x, atol=1e-5)
    assert torch.allclose(found, noise, atol=1e-4)


def test_min_snr_weighs_the_same_error_of_the_image_whatever_is_predicted():
    # An error d of the image is an error d * sqrt(snr) of the noise, and d * sqrt(snr + 1) of v.
    times = torch.tensor([5, 200, 700])
    share = signal_shares()[times]
    ratio = share / (1 - share)
    weights = {
        name: NoiseSchedule(name).loss_weights(times, "min_snr", 5.0) for name in ("epsilon", "v", "sample")
    }
    assert torch.allclose(weights["epsilon"] * ratio, weights["sample"], rtol=1e-4)
    assert torch.allclose(weights["v"] * (ratio + 1), weights["sample"], rtol=1e-4)
    assert float(weights["sample"].max()) == 5.0


def test_published_weights_are_1_or_the_unbounded_ratio_of_the_image():
    times = torch.tensor([0, 999])
    assert NoiseSchedule("epsilon").loss_weights(times, "published", 5).tolist() == [1.0, 1.0]
    assert float(NoiseSchedule("sample").loss_weights(times, "published", 5)[0]) == pytest.approx(
        9999, rel=1e-2
    )


# --- sampling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "calls"), [(999, 50), (800, 41), (200, 11)])
def test_50_steps_make_the_published_number_of_calls(start, calls):
    called = []

    def predict(x, condition, times):
        called.append(int(times[0]))
        return torch.zeros_like(x)

    x = images()
    sample(predict, x, noise_like(x), NoiseSchedule(), SamplingPlan(start))
    assert len(called) == calls
    assert called == list(range(called[0], -1, -20))
    assert called[0] <= start


def test_steps_inside_are_all_between_the_start_and_0():
    times = sampling_times(200, 10, "inside")
    assert len(times) == 10
    assert (times[0], times[-1]) == (200, 0)
    assert sampling_times(3, 50, "inside") == [3, 2, 1, 0]
    assert sampling_times(7, 1, "inside") == [7]
    with pytest.raises(InputError, match="cannot start at time 1000"):
        sampling_times(1000, 50)
    with pytest.raises(InputError, match="0 sampling steps"):
        sampling_times(5, 0)


def oracle_of(x, schedule):
    """A network that knows the image."""

    def predict(x_t, condition, times):
        share = schedule.shares[times][:, None, None, None]
        noise = (x_t - share.sqrt() * x) / (1 - share).sqrt()
        return schedule.target(x, noise, times)

    return predict


@pytest.mark.parametrize("start", [200, 800])
@pytest.mark.parametrize("prediction", ["epsilon", "v", "sample"])
@pytest.mark.parametrize("sampler", ["ddim", "dpm_solver"])
def test_an_oracle_brings_its_image_back(start, prediction, sampler):
    x, schedule = images(), NoiseSchedule(prediction)
    plan = SamplingPlan(start, steps=50 if sampler == "ddim" else 10, sampler=sampler, placement="published")
    found = sample(oracle_of(x, schedule), images(seed=5), noise_like(x), schedule, plan)
    assert torch.allclose(found, x, atol=1e-5 if sampler == "ddim" else 1e-4)


def test_a_start_below_the_smallest_step_leaves_the_image():
    x, schedule = images(), NoiseSchedule()
    found = sample(oracle_of(x, schedule), x, noise_like(x), schedule, SamplingPlan(start=10))
    assert (found - x).abs().max() < 1e-3


@pytest.mark.parametrize("start", [200, 800])
def test_without_any_prediction_the_result_is_still_an_image(start):
    x = images()
    found = sample(
        lambda x_t, *_: torch.zeros_like(x_t), x, noise_like(x), NoiseSchedule(), SamplingPlan(start)
    )
    assert found.abs().max() <= 1


@pytest.mark.parametrize("sampler", ["ddim", "dpm_solver"])
def test_images_far_outside_are_cut_at_every_step(sampler):
    """From time 800 a network that is off by a little is off by 25 times as much in the image."""
    seen = []

    def predict(x_t, condition, times):
        seen.append(float(x_t.abs().max()))
        return torch.zeros_like(x_t)

    x = images()
    plan = SamplingPlan(800, steps=10, sampler=sampler, placement="inside")
    sample(predict, x, noise_like(x), NoiseSchedule(), plan)
    assert seen[-1] < 2


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_ddim_is_that_of_diffusers(prediction):
    from diffusers import DDIMScheduler

    def predict(x_t, condition, times):
        return torch.tanh(x_t + 0.3 * condition) * (1 + times[0] / 1000)

    x, schedule = images(), NoiseSchedule(prediction)
    noise = noise_like(x)
    theirs = DDIMScheduler(
        1000,
        beta_start=1e-4,
        beta_end=0.02,
        prediction_type={"v": "v_prediction"}.get(prediction, prediction),
    )
    theirs.set_timesteps(50)
    times = [int(time) for time in theirs.timesteps if time <= 200]
    expected = schedule.add_noise(x, noise, torch.tensor([200, 200]))
    for time in times:
        expected = theirs.step(predict(expected, x, torch.tensor([time])), time, expected).prev_sample
    found = sample(predict, x, noise, schedule, SamplingPlan(200))
    # diffusers cuts v's image and keeps its noise, as is done here.
    assert torch.allclose(found, expected, atol=1e-5)


def test_the_condition_has_no_noise_at_any_step():
    seen = []

    def predict(x_t, condition, times):
        seen.append(condition)
        return torch.zeros_like(x_t)

    x = images()
    sample(predict, x, noise_like(x), NoiseSchedule(), SamplingPlan(200))
    assert all(torch.equal(condition, x) for condition in seen)


# --- network ----------------------------------------------------------------------------------------------------------


def test_the_unet_has_the_published_number_of_parameters():
    with torch.device("meta"):
        network, alone = ConditionalUnet(), ConditionalUnet(condition_channels=0)

    def count(part):
        return sum(parameter.numel() for parameter in part.parameters())

    body = network.body
    assert count(network) == 113_676_675
    assert count(network) - count(alone) == 3 * 9 * 128
    assert count(body.conv_in) == 7_040
    assert count(body.time_embedding) == 328_704
    assert [count(part) for part in body.down_blocks] == [
        870_272,
        870_272,
        2_952_960,
        3_215_104,
        13_383_168,
        9_968_640,
    ]
    assert count(body.mid_block) == 11_020_288
    assert [count(part) for part in body.up_blocks] == [
        25_968_128,
        27_811_840,
        7_348_480,
        6_364_672,
        1_937_536,
        1_625_856,
    ]
    assert (count(body.conv_norm_out), count(body.conv_out)) == (256, 3_459)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return ConditionalUnet(widths=(8, 16, 16), attention_levels=(2,), blocks=1).eval()


@torch.no_grad()
def test_sides_that_do_not_divide_come_back(small):
    x = torch.rand(1, 3, 25, 19)
    assert small(x, x, torch.tensor([3])).shape == x.shape
    whole = torch.rand(1, 3, 24, 20)
    assert torch.equal(
        small(whole, whole, torch.tensor([3])), small.body(torch.cat([whole, whole], 1), 3).sample
    )


def test_gradients_reach_every_parameter(small):
    x = torch.rand(2, 3, 16, 16)
    small(x, x, torch.tensor([3, 900])).square().mean().backward()
    assert all(
        parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in small.parameters()
    )
    small.zero_grad()


def test_the_time_code_has_cosines_first():
    from diffusers.models.embeddings import Timesteps

    code = Timesteps(128, True, 0)(torch.tensor([37]))[0]
    angles = 37 * 10_000 ** (-torch.arange(64) / 64)
    assert torch.allclose(code, torch.cat([angles.cos(), angles.sin()]), atol=1e-3)


def test_levels_that_are_not_there_cannot_attend():
    with pytest.raises(InputError, match="attention at level 5 of a network of 2 levels"):
        ConditionalUnet(widths=(8, 8), attention_levels=(5,))
