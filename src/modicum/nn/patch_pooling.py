"""Mean of a vision transformer's patch tokens, a new norm, and a head whose first logits are near zero.

This is how foundation models for radiographs are fine-tuned (MAE, He et al. 2022; MRM, arXiv 2301.13155; Lian et al.,
arXiv 2401.12215), whatever pooling they were pre-trained with.
"""

from typing import Any, Literal

from torch import nn

Pool = Literal["backbone", "mean"]
"""How a backbone's tokens become features: its own pooling, or :func:`pool_patches`."""


def pool_patches(body: Any) -> None:
    """Replaces a vision transformer's pooling with the mean of its patch tokens and a new norm, in place.

    The encoder's final norm is dropped; the new one (weight 1, bias 0, same epsilon) is trained (Lian et al., arXiv
    2401.12215). This is timm's network with ``global_pool="avg"``.
    """
    old = body.norm if isinstance(body.norm, nn.LayerNorm) else body.fc_norm
    eps = old.eps if isinstance(old, nn.LayerNorm) else 1e-6
    body.norm = nn.Identity()
    body.fc_norm = nn.LayerNorm(body.embed_dim, eps=eps)
    body.attn_pool = None
    body.global_pool = "avg"


def near_zero_head(num_features: int, num_outputs: int) -> nn.Linear:
    """A linear layer whose weights are drawn with a standard deviation of 2e-5, cut at two in absolute size; zero bias.

    The first binary cross-entropy is that of even odds, ln 2.
    """
    head = nn.Linear(num_features, num_outputs)
    nn.init.trunc_normal_(head.weight, std=2e-5)
    nn.init.zeros_(head.bias)
    return head
