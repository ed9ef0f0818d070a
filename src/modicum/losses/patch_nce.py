"""PatchNCE: what lies at one place of an image should be alike in its translation (Park et al., ECCV 2020)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def patch_nce(
    queries: Float[Tensor, "images places dim"],
    keys: Float[Tensor, "images places dim"],
    temperature: float = 0.07,
) -> Float[Tensor, ""]:
    """Cross-entropy of finding each query's own place among all places of the same image.

    Args:
        queries: features of a translation at some places, of length 1.
        keys: features of its source at the same places, of length 1; no gradient goes into them.
        temperature: divides the similarities.
    """
    logits = queries.float() @ keys.detach().float().transpose(1, 2) / temperature
    images, places, _ = logits.shape
    own = torch.arange(places, device=logits.device).repeat(images)
    return functional.cross_entropy(logits.reshape(images * places, places), own)
