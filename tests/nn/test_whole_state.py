"""All tensors of a network out of it and into another: shared ones once, buffers of any size."""

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from modicum.errors import InputError
from modicum.nn.whole_state import load_whole_state, whole_state


class Tied(nn.Module):
    """A weight with two names, a bank that two modules share, and a buffer that is a view of another."""

    def __init__(self, size: int = 0) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.register_buffer("bank", torch.randn(size, 3))
        self.reader = nn.Module()
        self.reader.register_buffer("bank", self.bank)
        self.register_buffer("head", self.bank[:2])
        self.register_buffer("late", None)


def test_everything_comes_back_through_a_file():
    network = Tied(5)
    network.late = torch.arange(4)
    tensors = load(save(whole_state(network)))
    assert "second.weight" not in tensors
    assert "reader.bank" not in tensors
    again = Tied()
    load_whole_state(again, tensors)
    expected = network.state_dict()
    assert again.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in again.state_dict().items())
    assert again.second.weight is again.first.weight
    assert again.reader.bank is again.bank
    assert again.first.weight.requires_grad


def test_tensors_of_the_network_are_not_the_files():
    network = Tied()
    tensors = whole_state(Tied(5))
    load_whole_state(network, tensors)
    tensors["bank"].zero_()
    tensors["first.bias"].zero_()
    assert network.bank.any()
    assert network.first.bias.any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop("first.bias"), r"1 tensors .* instance 'first.bias'"),
        (lambda tensors: tensors.update(other=torch.zeros(1)), "instance 'other'"),
        (lambda tensors: tensors.update({"nobody.bank": torch.zeros(1)}), "instance 'nobody.bank'"),
        (lambda tensors: tensors.update({"first.bias": torch.zeros(4)}), "instance 'first.bias'"),
        (lambda tensors: tensors.update({"first.bias": torch.zeros(3).half()}), "instance 'first.bias'"),
    ],
)
def test_what_does_not_fit_is_named(change, said):
    tensors = whole_state(Tied(5))
    change(tensors)
    with pytest.raises(InputError, match=said):
        load_whole_state(Tied(5), tensors)
