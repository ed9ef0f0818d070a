"""From a noisy start to an image: DDIM (Song et al., ICLR 2021) and DPM-Solver++ (Lu et al., 2022).

What is enhanced is both the condition of the network and, with noise, the image that sampling starts from (Cheng et al.,
"Learning Enhancement From Degradation", arXiv 2303.04603).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from modicum.errors import InputError
from modicum.nn.noise_schedule import FIRST_BETA, LAST_BETA, TIMES, NoiseSchedule

Images = Float[Tensor, "b c h w"]
Predict = Callable[[Images, Images, Int64[Tensor, "b"]], Images]
"""From x_t, the condition and times to the network's output."""


@dataclass(frozen=True)
class SamplingPlan:
    """How an image is sampled.

    Attributes:
        start: time from which sampling starts: 0 changes next to nothing, 999 keeps nothing but the condition.
        steps: number of times; see :func:`sampling_times`.
        placement: where they lie.
        sampler: ``ddim`` or ``dpm_solver`` (second order, multistep).
    """

    start: int = 800
    steps: int = 50
    placement: Literal["published", "inside"] = "published"
    sampler: Literal["ddim", "dpm_solver"] = "ddim"

    def times(self) -> list[int]:
        """The times at which the network is called."""
        return sampling_times(self.start, self.steps, self.placement)


def sampling_times(start: int, steps: int, placement: str = "published") -> list[int]:
    """Times at which the network is called, falling, the last one 0.

    Args:
        start: largest time, from 0 to 999.
        steps: how many, from 1 to 1000. published: over all times, evenly, of which those above ``start`` are left
            out, so that 50 steps from 800 are 41 calls. inside: all between ``start`` and 0.
        placement: published or inside.

    Raises:
        InputError: a number outside its range.
    """
    if not 0 <= start < TIMES:
        raise InputError(f"sampling cannot start at time {start}", f"give a time from 0 to {TIMES - 1}")
    if not 1 <= steps <= TIMES:
        raise InputError(f"{steps} sampling steps", f"give a number from 1 to {TIMES}")
    if placement == "published":
        spacing = TIMES // steps
        return [time for time in range((steps - 1) * spacing, -1, -spacing) if time <= start]
    if steps == 1:
        return [start]
    even = [round(start * (steps - 1 - at) / (steps - 1)) for at in range(steps)]
    return sorted(set(even), reverse=True)


def sample(
    predict: Predict, condition: Images, noise: Images, schedule: NoiseSchedule, plan: SamplingPlan
) -> Images:
    """Sampled images in [-1, 1].

    The noise of the start is that of the first time at which the network is called; the release adds that of
    ``start``, which is another where the spacing does not divide it.

    Args:
        predict: calls the network.
        condition: what is enhanced, in [-1, 1]; also the start.
        noise: standard normal.
        schedule: the network's.
        plan: times and sampler.
    """
    times = plan.times()
    x = schedule.add_noise(condition, noise, _all(times[0], condition))
    walk = _ddim if plan.sampler == "ddim" else _dpm_solver
    return walk(predict, x, condition, schedule, times)


def _ddim(
    predict: Predict, x: Images, condition: Images, schedule: NoiseSchedule, times: list[int]
) -> Images:
    for at, time in enumerate(times):
        now = _all(time, x)
        clean, noise = schedule.read(predict(x, condition, now), x, now)
        clean = clean.clamp(-1, 1)  # the noise is not computed again from it
        x = schedule.add_noise(clean, noise, _all(times[at + 1], x)) if at + 1 < len(times) else clean
    return x


def _dpm_solver(
    predict: Predict, x: Images, condition: Images, schedule: NoiseSchedule, times: list[int]
) -> Images:
    solver = dpm_solver(schedule)
    solver.set_timesteps(timesteps=times)
    for time in times:
        now = _all(time, x)
        clean, _ = schedule.read(predict(x, condition, now), x, now)
        # Cut as in DDIM: what a small network says of an image that is nearly all noise may be far outside.
        x = solver.step(clean.clamp(-1, 1), time, x, return_dict=False)[0]
    return x.clamp(-1, 1)


def dpm_solver(schedule: NoiseSchedule) -> Any:
    """The diffusers scheduler of a noise schedule, which is given images; it keeps the state of one sampling."""
    from diffusers import DPMSolverMultistepScheduler  # takes seconds to import

    return DPMSolverMultistepScheduler(
        num_train_timesteps=TIMES,
        beta_start=FIRST_BETA,
        beta_end=LAST_BETA,
        beta_schedule="linear",
        prediction_type="sample",
        algorithm_type="dpmsolver++",
        rescale_betas_zero_snr=schedule.zero_terminal,
    )


def _all(time: int, like: Tensor) -> Int64[Tensor, "b"]:
    return torch.full((like.shape[0],), time, dtype=torch.int64, device=like.device)
