"""How much noise a diffusion model sees at each time, and what its network predicts.

Ho et al., "Denoising Diffusion Probabilistic Models" (2020); v-prediction: Salimans and Ho (2022); min-SNR: Hang et al.
(ICCV 2023); zero terminal signal: Lin et al. (WACV 2024).

Symbols: x the image in [-1, 1], e the noise, a_t the share of the image's power that is left at time t (the release's
``alphas_cumprod``). The network sees x_t = sqrt(a_t) x + sqrt(1 - a_t) e.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

TIMES = 1000
"""Number of times; they are 0 to 999."""
FIRST_BETA, LAST_BETA = 1e-4, 0.02

Prediction = Literal["epsilon", "v", "sample"]
Weighting = Literal["published", "min_snr"]
Images = Float[Tensor, "b c h w"]


def signal_shares(zero_terminal: bool = False) -> Float[Tensor, "times"]:
    """a_t of every time, for noise that grows linearly.

    Args:
        zero_terminal: nothing of the image is left at the last time; else 4e-5 of its power is.
    """
    betas = torch.linspace(FIRST_BETA, LAST_BETA, TIMES, dtype=torch.float64)
    shares = (1 - betas).cumprod(0)
    if zero_terminal:
        root = shares.sqrt()
        shares = ((root - root[-1]) * root[0] / (root[0] - root[-1])).square()
    return shares.float()


class NoiseSchedule(nn.Module):
    """The forward process, and the way back from what a network predicts.

    Args:
        prediction: what the network gives: the noise (epsilon), the image (sample), or sqrt(a) e - sqrt(1 - a) x (v).
        zero_terminal: see :func:`signal_shares`.
    """

    shares: Tensor

    def __init__(self, prediction: Prediction = "epsilon", zero_terminal: bool = False) -> None:
        super().__init__()
        self.prediction = prediction
        self.zero_terminal = zero_terminal
        self.register_buffer("shares", signal_shares(zero_terminal), persistent=False)

    def add_noise(self, x: Images, noise: Images, times: Int64[Tensor, "b"]) -> Images:
        """x_t of each image."""
        signal, spread = self._factors(times, x)
        return signal * x + spread * noise

    def target(self, x: Images, noise: Images, times: Int64[Tensor, "b"]) -> Images:
        """What the network should have said."""
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "sample":
            return x
        signal, spread = self._factors(times, x)
        return signal * noise - spread * x

    def loss_weights(
        self, times: Int64[Tensor, "b"], weighting: Weighting, clip: float | int
    ) -> Float[Tensor, "b"]:
        """Weights of the squared errors.

        Args:
            times: of the images.
            weighting: published: 1, or the signal-to-noise ratio where the image is predicted, which has no bound at
                small times. min_snr: as if that ratio were weighted, cut at ``clip``.
            clip: largest ratio of min_snr.
        """
        share = self.shares[times]
        ratio = share / (1 - share)
        if weighting == "published":
            return ratio if self.prediction == "sample" else torch.ones_like(ratio)
        cut = ratio.clamp_max(clip)
        if self.prediction == "sample":
            return cut
        return cut / (ratio + 1) if self.prediction == "v" else cut / ratio.clamp_min(1e-8)

    def read(self, output: Images, x_t: Images, times: Int64[Tensor, "b"]) -> tuple[Images, Images]:
        """The image and the noise that a network's output means; the image is not cut to [-1, 1]."""
        signal, spread = self._factors(times, x_t)
        if self.prediction == "v":
            return signal * x_t - spread * output, signal * output + spread * x_t
        if self.prediction == "sample":
            return output, (x_t - signal * output) / spread
        return (x_t - spread * output) / signal, output

    def _factors(self, times: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        share = self.shares[times].to(like.device)[:, None, None, None]
        return share.sqrt(), (1 - share).sqrt()
