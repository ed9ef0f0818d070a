"""What a good vessel image looks like, without a single label: contrast over noise, and strength of the vessels.

Neither alone will do. Blur takes noise away, so that blurred images have the best contrast over noise; noise adds energy
in the band of vessels. An image is as good as the worse of the two says.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from modicum.nn.one_class import percentile_among
from modicum.nn.one_class.maps import blurred

NORMAL_MAD = 1.4826
"""From the median absolute deviation to the standard deviation of a normal distribution."""
TERMS = 2


def quality_terms(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b terms"]:
    """Contrast-to-noise ratio of the vessel band, and the band's energy; widths in pixels of the images.

    The ratio is the standard deviation of (blur of 1 pixel minus blur of 4) over that of the noise, estimated by the
    median absolute deviation of (image minus blur of 0.7). The energy is the standard deviation of (blur of 1
    minus blur of 3).

    Args:
        images: in ``[0, 1]``; channels are averaged.
    """
    grey = images.float().mean(1)
    fine = blurred(grey, 1.0)
    band = (fine - blurred(grey, 4.0)).flatten(1).std(1, correction=0)
    noise = (grey - blurred(grey, 0.7)).flatten(1)
    deviation = (noise - noise.median(1, keepdim=True).values).abs().median(1).values
    energy = (fine - blurred(grey, 3.0)).flatten(1).std(1, correction=0)
    return torch.stack([band / (NORMAL_MAD * deviation).clamp_min(1e-6), energy], 1)


def quality_prior(terms: Float[Tensor, "n terms"], reference: Float[Tensor, "m terms"]) -> Float[Tensor, "n"]:
    """The lower of the terms' percentiles among those of outstanding images; below 0 for worse than all of these."""
    columns = [percentile_among(column, own) for column, own in zip(terms.T, reference.T, strict=True)]
    return torch.stack(columns).amin(0)
