"""MixStyle as in its paper, and where an encoder takes it."""

import pytest
import torch

from modicum.errors import InputError
from modicum.nn import FlipAveraged, MixStyle, SegmentationNetwork, insert_mixstyle


def statistics(maps):
    return maps.mean((2, 3)), maps.var((2, 3), unbiased=False).sqrt()


def test_mixed_maps_have_statistics_between_those_of_two_images():
    torch.manual_seed(0)
    maps = torch.randn(2, 5, 9, 9) * torch.tensor([1.0, 4.0]).view(2, 1, 1, 1) + torch.tensor(
        [0.0, 7.0]
    ).view(2, 1, 1, 1)
    means, spreads = statistics(maps)
    for _ in range(10):
        mean, spread = statistics(MixStyle(p=1.0, alpha=1.0)(maps))
        for found, given in ((mean, means), (spread, spreads)):
            assert (found >= given.min(0).values - 1e-4).all()
            assert (found <= given.max(0).values + 1e-4).all()


def test_what_is_seen_stays_and_only_the_style_changes():
    torch.manual_seed(0)
    maps = torch.rand(4, 3, 8, 8)
    mixed = MixStyle(p=1.0)(maps)
    for given, found in zip(maps.flatten(0, 1), mixed.flatten(0, 1), strict=True):
        assert torch.corrcoef(torch.stack((given.flatten(), found.flatten())))[0, 1] > 0.9999


def test_nothing_happens_outside_training_and_with_the_other_probability():
    maps = torch.rand(4, 3, 8, 8)
    assert MixStyle(p=1.0).eval()(maps) is maps
    assert MixStyle(p=0.0)(maps) is maps
    layer = MixStyle(p=0.25)
    torch.manual_seed(0)
    assert 0.68 < sum(layer(maps) is maps for _ in range(400)) / 400 < 0.82


def test_statistics_carry_no_gradient():
    torch.manual_seed(0)
    maps = torch.rand(4, 3, 8, 8, requires_grad=True)
    MixStyle(p=1.0)(maps).sum().backward()
    # With constant mean and spread the layer is affine: one slope for all pixels of a map.
    assert torch.allclose(maps.grad, maps.grad.mean((2, 3), keepdim=True).expand_as(maps))


@pytest.mark.parametrize("encoder", ["resnet10t", "test_convnext"])
def test_an_encoder_mixes_styles_in_training_and_keeps_its_weights_and_their_names(encoder):
    torch.manual_seed(0)
    network = SegmentationNetwork("unet", encoder, 1, image_size=(64, 64), decoder_width=16)
    images, names = torch.rand(4, 3, 64, 64), list(network.state_dict())
    before = network.eval()(images)
    insert_mixstyle(network, 1.0)
    assert list(network.state_dict()) == names
    assert sum(isinstance(module, MixStyle) for module in network.modules()) == 2
    assert torch.equal(network.eval()(images), before)
    network.train()
    torch.manual_seed(1)
    first = network(images)
    torch.manual_seed(2)
    assert not torch.allclose(first, network(images))


def test_a_vision_transformer_has_no_stages_for_it():
    network = SegmentationNetwork("upernet", "test_vit", 1, image_size=(160, 160), decoder_width=16)
    with pytest.raises(InputError, match="test_vit"):
        insert_mixstyle(network, 0.5)


def test_averaged_flips_make_any_network_blind_to_mirrors():
    torch.manual_seed(0)
    network = FlipAveraged(torch.nn.Conv2d(3, 2, 3, padding=1))
    images = torch.rand(2, 3, 10, 14)
    for axes in ((3,), (2,), (2, 3)):
        assert torch.allclose(network(images.flip(axes)).flip(axes), network(images), atol=1e-6)


def test_averaged_flips_change_nothing_where_the_network_is_symmetric():
    network = torch.nn.AvgPool2d(3, stride=1, padding=1)
    images = torch.rand(1, 3, 10, 14)
    assert torch.allclose(FlipAveraged(network)(images), network(images), atol=1e-6)
