"""The search: an epoch's policies, their rewards, and the controller's learning from them.

Everything is in the module's state (buffers), so that an interrupted search resumes with the same policies, rewards
and moments of Adam.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from modicum.losses import sinkhorn_divergence
from modicum.methods.aadg.config import AadgConfig
from modicum.methods.aadg.controller import Controller
from modicum.methods.aadg.policy_gradient import normalised, ppo_loss, reinforce_loss
from modicum.progress import say
from modicum.transforms import POLICY_OPERATIONS
from modicum.wording import count_of

# One row an epoch of the search.
_HISTORY = (
    "past_epochs",
    "past_policies",
    "past_rewards",
    "past_operations",
    "past_magnitudes",
    "past_entropy",
)


class PolicySearch(nn.Module):
    """Samples policies, sums their rewards, and trains the controller once an epoch.

    Args:
        config: the method's settings.
    """

    def __init__(self, config: AadgConfig) -> None:
        super().__init__()
        self.config = config
        self.controller = Controller(
            len(config.operations),
            config.magnitudes,
            config.sub_policies,
            config.length,
            width=config.controller_width,
            embedding=config.controller_embedding,
            temperature=config.temperature,
            bound=config.bound,
        )
        many = config.policies
        decisions = 2 * config.length * config.sub_policies
        learnable = sum(parameter.numel() for parameter in self.controller.parameters())
        self.policies: Tensor
        self.log_prob: Tensor
        self.rewards: Tensor
        self.finite_rewards: Tensor
        self.skipped_rewards: Tensor
        self.operations: Tensor
        self.magnitudes: Tensor
        self.entropy: Tensor
        self.first_moment: Tensor
        self.second_moment: Tensor
        self.steps: Tensor
        self.past_epochs: Tensor
        self.register_buffer("policies", torch.zeros(many, decisions, dtype=torch.int64))
        self.register_buffer("log_prob", torch.zeros(many))
        self.register_buffer("rewards", torch.zeros(many))
        self.register_buffer("finite_rewards", torch.zeros(many))
        self.register_buffer("skipped_rewards", torch.zeros(many))
        self.register_buffer("operations", torch.zeros(len(config.operations)))
        self.register_buffer("magnitudes", torch.zeros(config.magnitudes))
        self.register_buffer("entropy", torch.zeros(()))
        self.register_buffer("first_moment", torch.zeros(learnable))
        self.register_buffer("second_moment", torch.zeros(learnable))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("past_epochs", torch.zeros(0, dtype=torch.int64))
        for name in _HISTORY[1:]:
            now = getattr(self, name.removeprefix("past_"))
            self.register_buffer(name, now.new_zeros(0, *now.shape))

    # --- an epoch ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Samples the policies of an epoch, with PyTorch's default generator of the CPU."""
        sampled = self.controller.sample(self.config.policies)
        self.policies.copy_(sampled.policies)
        # Computed as in training, so that the first likelihood ratio is exactly 1.
        with torch.no_grad():
            self.log_prob.copy_(self.controller(self.policies).log_prob)
        self.operations.copy_(sampled.operations)
        self.magnitudes.copy_(sampled.magnitudes)
        self.entropy.copy_(sampled.entropy.mean())
        for sums in (self.rewards, self.finite_rewards, self.skipped_rewards):
            sums.zero_()

    def table(self) -> Int64[Tensor, "policies sub_policies length 2"]:
        """The policies as indices into :data:`~modicum.transforms.POLICY_OPERATIONS` and bins, on the CPU."""
        config = self.config
        steps = self.policies.cpu().view(config.policies, config.sub_policies, config.length, 2)
        operation_index = torch.tensor([POLICY_OPERATIONS.index(name) for name in config.operations])
        return torch.stack((operation_index[steps[..., 0]], steps[..., 1]), -1)

    @torch.no_grad()
    def reward(self, features: Float[Tensor, "policies domains n width"]) -> None:
        """Adds to each policy's reward the distance between the domains under it, summed over all pairs.

        A distance that is not finite (features that overflowed) is skipped and counted: one would make all of the
        controller's weights NaN.

        Args:
            features: features of the same number of images of each domain.
        """
        first, second = zip(*itertools.combinations(range(features.shape[1]), 2), strict=True)
        distances = sinkhorn_divergence(
            features[:, list(first)], features[:, list(second)], blur=self.config.blur
        )
        step = distances.sum(1)
        finite = step.isfinite()
        self.rewards += torch.where(finite, step, 0.0)
        self.finite_rewards += finite
        self.skipped_rewards += ~finite

    def end(self, epoch: int) -> None:
        """Trains the controller with the epoch's rewards and records them."""
        for sums in (self.rewards, self.finite_rewards, self.skipped_rewards):
            _sum_over_processes(sums)
        missing = ~self.rewards.isfinite() | ((self.finite_rewards == 0) & (self.skipped_rewards > 0))
        if self.skipped_rewards.any() or missing.any():
            self._make_up_for_skipped(missing, epoch)
        if not missing.any():
            self._learn(normalised(self.rewards))
        elif (~missing).sum() > 1:  # of fewer policies rewards do not say which is better
            advantages = torch.zeros_like(self.rewards)
            advantages[~missing] = normalised(self.rewards[~missing])
            self._learn(advantages)
        self._record(epoch)

    def _make_up_for_skipped(self, missing: Bool[Tensor, "policies"], epoch: int) -> None:
        """Counts the mean of a policy's finite rewards in place of those skipped, so that sums compare; 0 without any."""
        steps = (self.finite_rewards + self.skipped_rewards).max().clamp(min=1)
        share = self.finite_rewards.clamp(min=1) / steps
        whole = torch.where(self.skipped_rewards > 0, self.rewards / share, self.rewards)
        self.rewards.copy_(torch.where(missing, 0.0, whole))
        skipped = int(torch.maximum(self.skipped_rewards, missing.float()).sum())
        say(
            f"AADG, epoch {epoch + 1}: {count_of(skipped, 'reward')} of {int(steps) * len(self.rewards):,} skipped, as "
            "the distance between the domains was not finite"
        )

    def _record(self, epoch: int) -> None:
        # An epoch that is repeated after an interruption replaces its earlier record.
        before = int((self.past_epochs < epoch).sum())
        for name in _HISTORY:
            past: Tensor = getattr(self, name)
            now = (
                past.new_tensor(epoch) if name == "past_epochs" else getattr(self, name.removeprefix("past_"))
            )
            setattr(self, name, torch.cat((past[:before], now.unsqueeze(0))))

    def _learn(self, rewards: Float[Tensor, "policies"]) -> None:
        config = self.config
        optimizer = self._adam()
        with torch.enable_grad(), torch.autocast(rewards.device.type, enabled=False):
            for _ in range(config.ppo_steps if config.learner == "ppo" else 1):
                sampled = self.controller(self.policies)
                if config.learner == "ppo":
                    loss = ppo_loss(sampled.log_prob, self.log_prob, rewards, config.ppo_clip)
                else:
                    loss = reinforce_loss(sampled.log_prob, rewards)
                if config.learner == "reinforce" or config.ppo_entropy:
                    loss = loss - config.entropy_weight * sampled.entropy.mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                self.steps += 1
        optimizer.zero_grad(set_to_none=True)

    def _adam(self) -> torch.optim.Adam:
        """An optimiser whose moments are this module's buffers."""
        parameters = list(self.controller.parameters())
        sizes = [parameter.numel() for parameter in parameters]
        # foreach=False: the buffers are updated in place.
        optimizer = torch.optim.Adam(parameters, lr=self.config.controller_lr, foreach=False)
        moments = zip(self.first_moment.split(sizes), self.second_moment.split(sizes), strict=True)
        for parameter, (first, second) in zip(parameters, moments, strict=True):
            optimizer.state[parameter] = {
                "step": self.steps.cpu().float(),
                "exp_avg": first.view_as(parameter),
                "exp_avg_sq": second.view_as(parameter),
            }
        return optimizer

    # --- results ------------------------------------------------------------------------------------------------------

    def findings(self) -> dict[str, Any]:
        """The results of the search so far, as plain values.

        Returns:
            ``policy``: the policies of the last epoch of the search, as a ``policy`` operation of an augmentation
            without its name; None before the search. ``history``: for each epoch of the search the mean probability of
            each operation and magnitude bin, the summed rewards, the entropy (nats a policy) and the policies.
            ``left_out``: operations that the search could not choose, if any.
        """
        history = [
            {
                "epoch": int(epoch),
                "operations": dict(zip(self.config.operations, _rounded(operations), strict=True)),
                "magnitudes": _rounded(magnitudes),
                "rewards": _rounded(rewards),
                "entropy": round(float(entropy), 4),
                "policies": self._named(policies),
            }
            for epoch, policies, rewards, operations, magnitudes, entropy in zip(
                *(getattr(self, name).cpu() for name in _HISTORY), strict=True
            )
        ]
        policy = history and {
            "magnitudes": self.config.magnitudes,
            "cutout_labels": self.config.cutout_labels,
            "policies": history[-1]["policies"],
        }
        left_out = [name for name in POLICY_OPERATIONS if name not in self.config.operations]
        results = {"policy": policy or None, "history": history}
        return {**results, "left_out": left_out} if left_out else results

    def _named(self, policies: Int64[Tensor, "policies decisions"]) -> list[list[list[list[Any]]]]:
        config, names = self.config, self.config.operations
        shape = (config.policies, config.sub_policies, config.length, 2)
        return [
            [[[names[operation], magnitude] for operation, magnitude in steps] for steps in sub_policies]
            for sub_policies in policies.view(shape).tolist()
        ]

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """Loads a history of any length. Weights of an earlier epoch do not delete the records of later ones."""
        loaded = dict(state_dict)
        # Checkpoints of earlier versions have no counts.
        for name in ("finite_rewards", "skipped_rewards"):
            loaded.setdefault(prefix + name, torch.zeros_like(self.get_buffer(name)))
        for name in _HISTORY:
            stored, current = state_dict.get(prefix + name), getattr(self, name)
            if stored is None:
                continue
            if len(current) > len(stored) and torch.equal(current[: len(stored)].cpu(), stored.cpu()):
                loaded[prefix + name] = current
            else:
                setattr(self, name, current.new_empty(stored.shape))
        super()._load_from_state_dict(loaded, prefix, *rest)


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 6) for value in values.tolist()]


def _sum_over_processes(values: Tensor) -> None:
    """Sums in place over processes: each sees its share of the images, and all controllers must learn the same."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(values)
