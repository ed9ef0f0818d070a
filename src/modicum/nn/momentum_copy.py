"""A copy of a network that follows it slowly (He et al., "Momentum Contrast", CVPR 2020, arXiv 1911.05722)."""

import copy
from typing import Any

import torch
from torch import nn


class MomentumCopy(nn.Module):
    """Starts as a network's equal; each :meth:`follow` moves it towards the network: ``m copy + (1 - m) network``.

    What is a parameter there is a buffer here: no optimiser sees it, and checkpoints keep it. Statistics of batch
    norms are the copy's own, of what it has seen.

    Args:
        network: is not registered, and not changed.
        momentum: ``m``, 0 to 1.

    >>> network = nn.Linear(1, 1, bias=False)
    >>> _ = network.weight.data.fill_(1.0)
    >>> follower = MomentumCopy(network, 0.75)
    >>> _ = network.weight.data.fill_(5.0)
    >>> follower.follow()
    >>> follower(torch.ones(1, 1)).item()
    2.0
    """

    def __init__(self, network: nn.Module, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.module = copy.deepcopy(network)
        self._network = [network]  # not a module of this one: it has an owner
        for part in self.module.modules():
            for name, parameter in list(part.named_parameters(recurse=False)):
                delattr(part, name)
                part.register_buffer(name, parameter.detach())

    @torch.no_grad()
    def start(self) -> None:
        """Makes the copy the network's equal, statistics and all."""
        self.module.load_state_dict(self._network[0].state_dict())

    @torch.no_grad()
    def follow(self) -> None:
        """Moves the copy towards the network as it is now."""
        followers = dict(self.module.named_buffers(remove_duplicate=False))
        for name, parameter in self._network[0].named_parameters():
            follower = followers[name]
            follower.lerp_(parameter.to(follower.dtype), 1 - self.momentum)

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The copy's answer, without gradients."""
        return self.module(*args, **kwargs)
