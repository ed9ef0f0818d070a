"""How the controller learns: normalised rewards, and the losses of PPO and of REINFORCE."""

import torch
from jaxtyping import Float
from torch import Tensor

PerPolicy = Float[Tensor, "policies"]
Scalar = Float[Tensor, ""]


def normalised(rewards: PerPolicy) -> PerPolicy:
    """``(R - mean) / (std + 1e-5)`` with the unbiased deviation; zeros where all rewards are equal."""
    # Relative to one of them: the mean of equal numbers can differ from them by a rounding error.
    rewards = rewards - rewards[0]
    return (rewards - rewards.mean()) / (rewards.std() + 1e-5)


def ppo_loss(log_prob: PerPolicy, old_log_prob: PerPolicy, rewards: PerPolicy, clip: float = 0.2) -> Scalar:
    """Clipped surrogate of Schulman et al. 2017 (arXiv 1707.06347) with the likelihood ratio of whole policies.

    Args:
        log_prob: of each policy now.
        old_log_prob: of each policy when it was drawn.
        rewards: normalised; no critic.
        clip: ratios count within ``1 - clip`` and ``1 + clip``.
    """
    ratio = (log_prob - old_log_prob.detach()).exp()
    return -torch.minimum(ratio * rewards, ratio.clamp(1 - clip, 1 + clip) * rewards).mean()


def reinforce_loss(log_prob: PerPolicy, rewards: PerPolicy) -> Scalar:
    """Williams 1992: ``mean(-log p * reward)``."""
    return -(log_prob * rewards).mean()
