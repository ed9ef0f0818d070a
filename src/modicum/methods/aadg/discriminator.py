"""The discriminator of domains, its slow copy that rewards are taken from, and the labels that it learns."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

_SLOPE = 0.2


class DomainDiscriminator(nn.Module):
    """Tells domains apart by a segmentation encoder's pooled features.

    Args:
        channels: of the pooled features.
        domains: how many there are.
        width: of the domain feature in between.
    """

    def __init__(self, channels: int = 1280, domains: int = 3, width: int = 128) -> None:
        super().__init__()
        self.embed = nn.Linear(channels, width)
        self.classify = nn.Linear(width, domains)

    def features(self, pooled: Float[Tensor, "b channels"]) -> Float[Tensor, "b width"]:
        """The domain feature."""
        return functional.leaky_relu(self.embed(pooled), _SLOPE)

    def forward(self, pooled: Float[Tensor, "b channels"]) -> Float[Tensor, "b domains"]:
        """Logits of the domains."""
        return self.classify(self.features(pooled))


class SlowCopy(nn.Module):
    """A copy of a discriminator that follows it slowly. Its tensors are buffers: in the state, without gradients.

    Args:
        source: what is copied; it stays its own.
    """

    def __init__(self, source: DomainDiscriminator) -> None:
        super().__init__()
        for name, tensor in source.state_dict().items():
            self.register_buffer(name.replace(".", "_"), tensor.detach().clone())
        self.embed_weight: Tensor
        self.embed_bias: Tensor

    @torch.no_grad()
    def follow(self, source: DomainDiscriminator, momentum: float) -> None:
        """Keeps ``momentum`` of itself and takes the rest from the source; 0 makes it equal."""
        for name, tensor in source.state_dict().items():
            self.get_buffer(name.replace(".", "_")).lerp_(tensor, 1 - momentum)

    @torch.no_grad()
    def features(self, pooled: Float[Tensor, "b channels"]) -> Float[Tensor, "b width"]:
        """The domain feature, without a graph."""
        return functional.leaky_relu(functional.linear(pooled, self.embed_weight, self.embed_bias), _SLOPE)


def soft_domain_labels(
    domain: Int64[Tensor, "b"], domains: int, generator: torch.Generator | None = None, whole: bool = True
) -> Float[Tensor, "b domains"]:
    """Targets of 0.8 to 1 for the true domain, and the rest split at random over the others.

    The others take, in their order, a uniform share of what is still there, the last all of it.

    Args:
        domain: the true ones.
        domains: how many there are, at least 2.
        generator: on the CPU; PyTorch's own by default.
        whole: False for the labels of the release, where nobody takes what is left if the last domain is the true one.
    """
    count = len(domain)
    drawn = torch.rand(count, domains, generator=generator).to(domain.device)
    true = 0.8 + 0.2 * drawn[:, 0]
    left = 1 - true
    shares = []
    for other in range(1, domains):
        share = left * drawn[:, other]
        if other == domains - 1:
            share = left if whole else torch.where(domain == domains - 1, share, left)
        shares.append(share)
        left = left - share
    # The shares' places: all but the true domain's, in order.
    places = torch.arange(domains - 1, device=domain.device).expand(count, -1)
    places = places + (places >= domain.unsqueeze(1))
    labels = torch.zeros(count, domains, device=domain.device)
    labels.scatter_(1, places, torch.stack(shares, 1))
    return labels.scatter_(1, domain.unsqueeze(1), true.unsqueeze(1))


def soft_cross_entropy(
    logits: Float[Tensor, "b domains"], targets: Float[Tensor, "b domains"]
) -> Float[Tensor, ""]:
    """Mean over the batch of ``-sum_k t_k log softmax_k``."""
    return -(targets * logits.float().log_softmax(1)).sum(1).mean()
