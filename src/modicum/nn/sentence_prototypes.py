"""A bank of prototypes of sentences (PRIOR, Cheng et al., ICCV 2023)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.distributed import gather_without_gradient


class SentencePrototypes(nn.Module):
    """Writes a sentence as a soft mixture of learned vectors. Learned by gradients alone: no clusters, no averages.

    Args:
        count: prototypes.
        width: features of a sentence.
        temperature: of the Gumbel softmax, and of the plain softmax in evaluation mode. The release draws noise there
            too, so that its scores differ from call to call.

    Attributes:
        usage: how often each prototype was a training sentence's nearest since the last :meth:`forget_usage`.
    """

    usage: Tensor

    def __init__(self, count: int = 512, width: int = 768, temperature: float = 0.9) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(torch.randn(count, width))
        self.temperature = temperature
        self.register_buffer("usage", torch.zeros(count))

    def logits(self, sentences: Float[Tensor, "*s width"]) -> Float[Tensor, "*s count"]:
        """Dot products with the prototypes, as they are."""
        return sentences @ self.prototypes.T

    def forward(
        self, sentences: Float[Tensor, "*s width"], temperature: float | None = None
    ) -> Float[Tensor, "*s width"]:
        """The mixtures. In training, weights have Gumbel noise, of PyTorch's global generator."""
        temperature = self.temperature if temperature is None else temperature
        logits = self.logits(sentences).float()
        noisy = self.training
        weights = (
            F.gumbel_softmax(logits, temperature, dim=-1) if noisy else (logits / temperature).softmax(-1)
        )
        return weights.to(self.prototypes.dtype) @ self.prototypes

    @torch.no_grad()
    def count_usage(self, sentences: Float[Tensor, "b s width"], present: Tensor) -> None:
        """Adds these sentences to :attr:`usage`, and those of the other processes that train together."""
        nearest = self.logits(sentences).argmax(-1).flatten()
        counts = torch.zeros_like(self.usage).index_add_(0, nearest, present.flatten().to(self.usage.dtype))
        self.usage += gather_without_gradient(counts[None]).sum(0)

    def forget_usage(self) -> None:
        """Begins to count anew."""
        self.usage.zero_()

    def perplexity(self) -> float:
        """The exponential of the entropy of :attr:`usage`: how many prototypes are used, as if equally often."""
        shares = self.usage / self.usage.sum().clamp_min(1)
        return float(torch.exp(-(shares * shares.clamp_min(1e-12).log()).sum()))
