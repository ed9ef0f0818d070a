"""The controller: a small recurrent network that samples augmentation policies, one decision after another."""

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

Decisions = Int64[Tensor, "policies decisions"]


@dataclass(frozen=True)
class SampledPolicies:
    """Policies, with the controller's log-probabilities, entropies and mean distributions.

    Attributes:
        policies: [policies, 2 x length x sub_policies]; of each sub-policy operation, magnitude, operation, ...
        log_prob: log-probability of each whole policy, the sum over its decisions.
        entropy: entropy of each policy, summed over its decisions, in nats.
        operations: mean distribution of operations, over policies, sub-policies and steps.
        magnitudes: the same of magnitude bins.
    """

    policies: Tensor
    log_prob: Tensor
    entropy: Tensor
    operations: Tensor
    magnitudes: Tensor


class Controller(nn.Module):
    """Samples policies of ``sub_policies`` chains of ``length`` operations, each with a magnitude.

    The LSTM's state is reset for every sub-policy, so the sub-policies of a policy are drawn independently from one
    distribution. Logits are squashed to ``bound * tanh(logit) / temperature``: with the defaults and ten choices each
    keeps a probability between 0.00904 and 0.57512, and the search cannot collapse.

    Args:
        operations: number of operations to choose from.
        magnitudes: number of magnitude bins.
        sub_policies: number of sub-policies of each policy (Q).
        length: number of operations of a sub-policy (L).
        width: units of the LSTM.
        embedding: size of the embedding of the last decision, which is the LSTM's input.
        temperature: T.
        bound: C.
    """

    def __init__(
        self,
        operations: int = 10,
        magnitudes: int = 10,
        sub_policies: int = 5,
        length: int = 2,
        *,
        width: int = 100,
        embedding: int = 32,
        temperature: float = 2.0,
        bound: float = 2.5,
    ) -> None:
        super().__init__()
        self.choices = (operations, magnitudes)
        self.sub_policies = sub_policies
        self.length = length
        self.temperature = temperature
        self.bound = bound
        self.embedding = nn.Embedding(operations + magnitudes, embedding)
        self.cell = nn.LSTMCell(embedding, width)
        self.operation_head = nn.Linear(width, operations)
        self.magnitude_head = nn.Linear(width, magnitudes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all parameters uniformly from [-0.1, 0.1], except the heads' biases, which are 0."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)
        nn.init.zeros_(self.operation_head.bias)
        nn.init.zeros_(self.magnitude_head.bias)

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator | None = None) -> SampledPolicies:
        """Samples policies, without a graph.

        Args:
            count: number of policies.
            generator: on the CPU; PyTorch's default generator if None.
        """
        return self._decide(count, None, generator)

    def forward(self, policies: Decisions) -> SampledPolicies:
        """Log-probabilities and entropies of given policies, to learn from."""
        return self._decide(len(policies), policies, None)

    def _decide(
        self, count: int, policies: Tensor | None, generator: torch.Generator | None
    ) -> SampledPolicies:
        rows = count * self.sub_policies
        device = self.embedding.weight.device
        fixed = None if policies is None else policies.to(device).view(rows, 2 * self.length)
        previous = torch.zeros(rows, self.embedding.embedding_dim, device=device)
        state: tuple[Tensor, Tensor] | None = None
        decisions, log_probs, entropies = [], [], []
        distributions: tuple[list[Tensor], list[Tensor]] = ([], [])
        for step, kind in enumerate(itertools.islice(itertools.cycle((0, 1)), 2 * self.length)):
            state = self.cell(previous, state)
            log_p = self._log_probabilities(state[0], kind)
            if fixed is None:
                # Drawn on the CPU: the same seed writes the same policies on every device.
                decision = torch.multinomial(log_p.exp().cpu(), 1, generator=generator).squeeze(1).to(device)
            else:
                decision = fixed[:, step]
            decisions.append(decision)
            log_probs.append(log_p.gather(1, decision.unsqueeze(1)).squeeze(1))
            entropies.append(-(log_p.exp() * log_p).sum(1))
            distributions[kind].append(log_p.detach().exp().mean(0))
            previous = self.embedding(decision + kind * self.choices[0])
        return SampledPolicies(
            torch.stack(decisions, 1).view(count, -1),
            torch.stack(log_probs, 1).view(count, -1).sum(1),
            torch.stack(entropies, 1).view(count, -1).sum(1),
            torch.stack(distributions[0]).mean(0),
            torch.stack(distributions[1]).mean(0),
        )

    def _log_probabilities(self, hidden: Float[Tensor, "rows width"], kind: int) -> Tensor:
        head = self.magnitude_head if kind else self.operation_head
        return (self.bound * torch.tanh(head(hidden)) / self.temperature).log_softmax(1)
