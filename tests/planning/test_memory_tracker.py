"""The birth and death of storages against sums done by hand, PyTorch's own tracker, and properties."""

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

from modicum.planning.memory_tracker import MemoryTracker, Peak

FLOAT = 4  # bytes


def chain(widths):
    return nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in pairwise(widths)))


def peak_of_a_step(network, images):
    """Forward and backward pass of the sum of the outputs, no gradients before it."""
    with MemoryTracker() as memory:
        memory.name(network.parameters(), "weights")
        memory.name([images], "features")
        network(images).sum().backward()
        memory.name([p.grad for p in network.parameters()], "gradients")
    return memory.peak()


def test_two_vectors_are_alive_while_the_second_is_made_and_their_views_take_nothing():
    with FakeTensorMode(), MemoryTracker() as memory:
        vector = torch.ones(1000)
        again = vector.view(10, 100).T + 1
        del vector, again
        torch.ones(10)
    assert memory.peak().bytes == 2 * 1000 * FLOAT


def test_what_died_does_not_count():
    with FakeTensorMode(), MemoryTracker() as memory:
        for _ in range(10):
            torch.ones(500)
    assert memory.peak().bytes == 500 * FLOAT


def test_sizes_are_rounded_up_to_blocks():
    with FakeTensorMode(), MemoryTracker(block=512) as memory:
        kept = [torch.ones(1), torch.ones(128), torch.ones(129)]
    assert memory.peak().bytes == 512 + 512 + 1024
    assert len(kept) == 3


@settings(max_examples=20, deadline=None)
@given(batch=st.integers(1, 64), widths=st.lists(st.integers(1, 64), min_size=3, max_size=6))
def test_no_layer_of_a_chain_without_gradients_keeps_more_than_its_input_and_output(batch, widths):
    with FakeTensorMode(), torch.no_grad(), MemoryTracker() as memory:
        network = chain(widths)
        memory.name(network.parameters(), "weights")
        began = memory.moment()
        network(torch.ones(batch, widths[0]))
    weights = sum(a * b for a, b in pairwise(widths))
    # The caller holds on to the input of the chain; of each layer, input and output are there together.
    first = widths[0] + widths[1]
    later = (widths[0] + a + b for a, b in pairwise(widths[1:]))
    assert memory.peak(began).bytes == FLOAT * (weights + batch * max(first, *later))


def test_peak_of_a_chain_is_in_its_last_backward_product():
    """Five equal layers: when the first layer's gradient comes, all gradients are there, and two activations."""
    batch, width, depth = 7, 64, 5
    with FakeTensorMode():
        peak = peak_of_a_step(chain([width] * (depth + 1)), torch.ones(batch, width))
    layer, activation = FLOAT * width * width, FLOAT * batch * width
    assert peak.parts == {
        "weights": depth * layer,
        "gradients": depth * layer,
        "features": activation,
        "activations": activation + 2 * FLOAT,  # the gradient of the first output; the sum and its gradient
    }


@settings(max_examples=10, deadline=None)
@given(batch=st.integers(1, 32), widths=st.lists(st.integers(1, 48), min_size=2, max_size=5))
def test_peak_equals_that_of_pytorchs_tracker(batch, widths):
    with FakeTensorMode():
        network, images = chain(widths), torch.ones(batch, widths[0])
        found = peak_of_a_step(network, images)
        network.zero_grad(set_to_none=True)
        tracker = MemTracker()
        tracker.track_external(network, images)
        with tracker:
            network(images).sum().backward()
    (theirs,) = tracker.get_tracker_snapshot("peak").values()
    assert found.bytes == theirs["Total"]


def test_parts_sum_to_the_peak():
    with FakeTensorMode():
        peak = peak_of_a_step(nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 2)), torch.ones(4, 8))
    assert sum(peak.parts.values()) == peak.bytes


def test_nothing_has_no_peak():
    with MemoryTracker() as memory:
        pass
    assert memory.peak() == Peak(0)


def test_only_what_lives_after_a_moment_is_its_peak():
    with FakeTensorMode(), MemoryTracker() as memory:
        torch.ones(1000)
        kept = torch.ones(10)
        now = memory.moment()
        torch.ones(100)
    assert memory.peak(now).bytes == 110 * FLOAT
    assert memory.peak().bytes == 1000 * FLOAT
    assert kept.shape == (10,)
