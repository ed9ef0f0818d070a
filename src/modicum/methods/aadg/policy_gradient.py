"""Policy gradient of the controller: normalised rewards, and the losses of PPO and of REINFORCE."""

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
    """Clipped surrogate loss of Schulman et al. 2017 (arXiv 1707.06347), with the likelihood ratio of whole policies.

    Args:
        log_prob: current log-probability of each policy.
        old_log_prob: log-probability of each policy when it was sampled.
        rewards: normalised; no critic.
        clip: ratios are clipped to ``1 - clip`` and ``1 + clip``.
    """
    ratio = (log_prob - old_log_prob.detach()).exp()
    return -torch.minimum(ratio * rewards, ratio.clamp(1 - clip, 1 + clip) * rewards).mean()


def reinforce_loss(log_prob: PerPolicy, rewards: PerPolicy) -> Scalar:
    """REINFORCE loss ``mean(-log p * reward)`` (Williams 1992)."""
    return -(log_prob * rewards).mean()
