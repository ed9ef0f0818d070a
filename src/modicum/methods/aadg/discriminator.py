"""The domain discriminator, its slow-moving copy that computes the rewards, and its soft labels."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

_SLOPE = 0.2


class DomainDiscriminator(nn.Module):
    """Classifies domains from a segmentation encoder's pooled features.

    Args:
        channels: channels of the pooled features.
        domains: number of domains.
        width: width of the domain feature in between.
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
    """A moving average of a discriminator. Its tensors are buffers: in the state, without gradients.

    Args:
        source: the discriminator to copy; it is not changed.
    """

    def __init__(self, source: DomainDiscriminator) -> None:
        super().__init__()
        for name, tensor in source.state_dict().items():
            self.register_buffer(name.replace(".", "_"), tensor.detach().clone())
        self.embed_weight: Tensor
        self.embed_bias: Tensor

    @torch.no_grad()
    def follow(self, source: DomainDiscriminator, momentum: float) -> None:
        """Updates to ``momentum * self + (1 - momentum) * source``; 0 makes both equal."""
        for name, tensor in source.state_dict().items():
            self.get_buffer(name.replace(".", "_")).lerp_(tensor, 1 - momentum)

    @torch.no_grad()
    def features(self, pooled: Float[Tensor, "b channels"]) -> Float[Tensor, "b width"]:
        """The domain feature, without a graph."""
        return functional.leaky_relu(functional.linear(pooled, self.embed_weight, self.embed_bias), _SLOPE)


def soft_domain_labels(
    domain: Int64[Tensor, "b"], domains: int, generator: torch.Generator | None = None, whole: bool = True
) -> Float[Tensor, "b domains"]:
    """Targets of 0.8 to 1 for the true domain, with the rest split at random over the others.

    The others take, in order, a uniform share of what is left, the last all of it.

    Args:
        domain: the true domains.
        domains: number of domains, at least 2.
        generator: on the CPU; PyTorch's default generator if None.
        whole: False for the labels of the release, where what is left is lost if the last domain is the true one.
    """
    count = len(domain)
    drawn = torch.rand(count, domains, generator=generator).to(domain.device)
    true = 0.8 + 0.2 * drawn[:, 0]
    left = 1 - true
    shares = []
    for number in range(1, domains):
        share = left * drawn[:, number]
        if number == domains - 1:
            share = left if whole else torch.where(domain == domains - 1, share, left)
        shares.append(share)
        left = left - share
    # The shares' columns: all but the true domain's, in order.
    columns = torch.arange(domains - 1, device=domain.device).expand(count, -1)
    columns = columns + (columns >= domain.unsqueeze(1))
    labels = torch.zeros(count, domains, device=domain.device)
    labels.scatter_(1, columns, torch.stack(shares, 1))
    return labels.scatter_(1, domain.unsqueeze(1), true.unsqueeze(1))


def soft_cross_entropy(
    logits: Float[Tensor, "b domains"], targets: Float[Tensor, "b domains"]
) -> Float[Tensor, ""]:
    """Mean over the batch of ``-sum_k t_k log softmax_k``."""
    return -(targets * logits.float().log_softmax(1)).sum(1).mean()
