"""Memory accounts against sizes worked out by hand."""

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from modicum.engine.training.meters import memory_account, saved_tensors, tensor_bytes


def test_one_linear_layer_saves_its_input_only():
    layer = nn.Linear(8, 4)
    images = torch.rand(16, 8)
    with saved_tensors(layer.parameters()) as account:
        layer(images).sum().backward()
    assert account.bytes == 16 * 8 * 4  # weight.grad needs the input; the weight itself is excluded


def test_relu_saves_its_output_once_though_the_next_layer_reads_it_too():
    network = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    with saved_tensors(network.parameters()) as account:
        network(torch.rand(10, 8)).sum().backward()
    assert account.bytes == 10 * 8 * 4 + 10 * 32 * 4


def test_views_of_one_storage_count_once():
    weight = nn.Parameter(torch.rand(4, 4))
    whole = torch.rand(4, 4)
    with saved_tensors([weight]) as account:
        ((weight * whole).sum() + (weight.T * whole.T).sum()).backward()
    assert account.bytes == 4 * 4 * 4


def test_activations_grow_linearly_with_the_batch():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.Flatten(), nn.LazyLinear(2))
    network(torch.rand(1, 3, 16, 16))
    sizes = []
    for batch in (1, 2, 4):
        with saved_tensors([*network.parameters(), *network.buffers()]) as account:
            network(torch.rand(batch, 3, 16, 16)).sum().backward()
        sizes.append(account.bytes)
    assert sizes[1] == 2 * sizes[0]
    assert sizes[2] == 4 * sizes[0]


def test_a_frozen_part_saves_nothing():
    frozen = nn.Linear(8, 8).requires_grad_(False)
    head = nn.Linear(8, 2)
    network = nn.Sequential(frozen, head)
    with saved_tensors(network.parameters()) as account:
        network(torch.rand(5, 8)).sum().backward()
    assert account.bytes == 5 * 8 * 4  # the head's input


def test_adamw_account_is_four_times_the_learnable_weights_plus_step_counters():
    network = nn.Linear(100, 10)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.rand(3, 100)).sum().backward()
    optimizer.step()
    account = memory_account(network, [optimizer], activations=1000, average=None)
    parameters = 4 * (100 * 10 + 10)
    assert account["weights_bytes"] == parameters
    assert account["gradients_bytes"] == parameters
    assert account["optimizer_bytes"] == 2 * parameters + 2 * 4  # two moments, and a step counter each
    assert account["peak_bytes"] == 4 * parameters + 8 + 1000


def test_shared_storages_count_once_in_tensor_bytes():
    whole = torch.zeros(10, 10)
    assert tensor_bytes([whole, whole[2:], whole.T]) == 400


def test_fake_tensors_are_counted_like_real_ones():
    def counted():
        network = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)
        )
        optimizer = torch.optim.AdamW(network.parameters(), fused=True)
        with saved_tensors([*network.parameters(), *network.buffers()]) as account:
            network(torch.rand(5, 3, 8, 8)).sum().backward()
        optimizer.step()
        return memory_account(network, [optimizer], account.bytes, None)

    real = counted()
    with FakeTensorMode():
        assert counted() == real
