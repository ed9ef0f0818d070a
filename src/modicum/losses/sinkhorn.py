"""Debiased Sinkhorn divergence between sets of feature vectors, on the unit sphere.

Feydy et al., "Interpolating between Optimal Transport and MMD using Sinkhorn Divergences" (AISTATS 2019, arXiv
1810.08278), computed by geomloss with the cosine cost in the convention of AADG (IEEE TMI 2022, 41, 3699).
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

# Diameter of the unit sphere, at which the annealing of the regularisation begins.
_DIAMETER = 2.0


def sinkhorn_divergence(
    first: Float[Tensor, "*batch n dim"],
    second: Float[Tensor, "*batch m dim"],
    *,
    blur: float = 0.05,
    scaling: float = 0.5,
) -> Float[Tensor, "*batch"]:
    """``OT(a, b) - OT(a, a) / 2 - OT(b, b) / 2`` of uniformly weighted sets; all pairs of a batch at once.

    OT is the entropic value with its Kullback-Leibler term, ``min <P, c> + eps KL(P | a x b)``, with the cost
    ``c(x, y) = 1 - cos(x, y)`` and ``eps = blur ** 2``. So it is 0 for equal sets, at most 2, symmetric, and does not
    depend on the vectors' lengths. Gradients flow to both sets. Computed in float32 or better, also under autocast.

    Args:
        first: sets of ``n`` vectors.
        second: sets of ``m`` vectors.
        blur: scale of the regularisation; below it, sets look alike.
        scaling: ratio of successive scales while ``blur`` is approached from the sphere's diameter. 0.5 takes few
            iterations, and for sets of equal size differs little from convergence; towards 1 is slower and nearer.
    """
    # Imported here because it takes a tenth of a second.
    from geomloss import SamplesLoss

    *batch, n, dim = first.shape
    with torch.autocast(first.device.type, enabled=False):
        x, y = (_on_sphere(points) for points in (first, second))
        solve = SamplesLoss(
            "sinkhorn",
            p=2,
            blur=blur,
            scaling=scaling,
            diameter=_DIAMETER,
            cost=_one_minus_cosine,
            backend="tensorized",
        )
        values = solve(x.reshape(-1, n, dim), y.reshape(-1, second.shape[-2], dim))
    return values.view(batch)


def _on_sphere(points: Tensor) -> Tensor:
    return functional.normalize(points.to(torch.promote_types(points.dtype, torch.float32)), dim=-1)


def _one_minus_cosine(x: Float[Tensor, "b n d"], y: Float[Tensor, "b m d"]) -> Float[Tensor, "b n m"]:
    return 1 - x @ y.mT
