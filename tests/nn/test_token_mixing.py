"""Mixing inside a network: at the ends it is one image's answer, and gradients go to both by their shares."""

import pytest
import timm
import torch

from modicum.errors import InputError
from modicum.nn import Backbone
from modicum.nn.hybrid_vit import NAME
from modicum.nn.token_mixing import has_tokens, mixed_at, mixed_features, mixed_pixels, mixing_layer


@pytest.fixture(scope="module")
def vit():
    return Backbone("test_vit", (32, 32)).eval()


@pytest.fixture(scope="module")
def cnn():
    return Backbone("test_resnet", (32, 32)).eval()


def shares(value, count=2):
    return lambda grid: torch.full((count, grid[0] * grid[1]), float(value))


@pytest.mark.parametrize("where", ["tokens", "features"])
def test_a_share_of_one_is_the_foregrounds_answer_and_of_zero_the_backgrounds(vit, cnn, where):
    backbone = vit if where == "tokens" else cnn
    first, second = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    for value, alone in ((1, first), (0, second)):
        with torch.no_grad():
            mixed = mixed_features(backbone, where, first, second, shares(value))
        with torch.no_grad():
            assert torch.equal(mixed, backbone(alone))
    assert torch.equal(mixed_pixels(first, second, shares(1), 16), first)
    assert torch.equal(mixed_pixels(first, second, shares(0), 16), second)


def test_networks_are_as_before_afterwards_also_after_an_error(vit):
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        before = vit(image)
    with pytest.raises(ZeroDivisionError):
        mixed_features(vit, "tokens", image, image, lambda grid: 1 / 0)
    with torch.no_grad():
        assert torch.equal(vit(image), before)


def test_tokens_are_mixed_row_by_row_on_the_networks_own_grid(vit):
    """Token 1 is the right one of the first row: it alone is the background's."""
    grids = []

    def share(grid):
        grids.append(grid)
        return torch.tensor([[1.0, 0.0, 1.0, 1.0]])

    first, second = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    pasted = first.clone()
    pasted[:, :, :16, 16:] = second[:, :, :16, 16:]
    with torch.no_grad():
        mixed = mixed_features(vit, "tokens", first, second, share)
    assert grids == [(2, 2)]
    with torch.no_grad():
        assert torch.allclose(mixed, vit(pasted), atol=1e-5)


def test_both_images_receive_gradient_by_their_shares_and_the_shares_none(vit):
    first = torch.rand(1, 3, 32, 32, requires_grad=True)
    second = first.detach().clone().requires_grad_()
    share = torch.full((1, 4), 0.8, requires_grad=True)
    embed = vit.body.patch_embed
    with mixed_at(embed, lambda grid: share.detach()):
        embed(torch.cat([first, second])).sum().backward()
    assert torch.allclose(first.grad * 0.2, second.grad * 0.8, atol=1e-6)
    assert share.grad is None


def test_pixels_take_the_share_of_their_patch():
    first, second = torch.ones(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    mixed = mixed_pixels(first, second, lambda grid: torch.tensor([[0.5, 0.6, 0.7, 0.8]]), 16)
    assert mixed[0, 0, 0, 0].item() == pytest.approx(0.5)
    assert mixed[0, 0, 15, 16].item() == pytest.approx(0.6)
    assert mixed[0, 0, 16, 0].item() == pytest.approx(0.7)
    assert mixed[0, 0, 31, 31].item() == pytest.approx(0.8)


def test_channels_last_embeddings_and_images_of_any_size():
    body = timm.create_model("test_vit", num_classes=0, dynamic_img_size=True).eval()
    embed = body.patch_embed
    first, second = torch.rand(1, 3, 48, 32), torch.rand(1, 3, 48, 32)
    grids = []
    with torch.no_grad(), mixed_at(embed, lambda grid: grids.append(grid) or torch.ones(1, 6)):
        mixed = embed(torch.cat([first, second]))
        assert grids == [(3, 2)]
    with torch.no_grad():
        assert torch.equal(mixed, embed(first))


def test_layers_that_a_network_does_not_have_are_refused(vit, cnn):
    assert has_tokens(vit)
    assert not has_tokens(cnn)
    with pytest.raises(InputError, match="'test_resnet' has no patch tokens to mix"):
        mixing_layer(cnn, "tokens")
    with pytest.raises(InputError, match=r"no feature map of stride 16.*mix=tokens"):
        mixing_layer(vit, "features")


def test_the_reference_network_to_the_unit():
    """Spec 8: stem, projection, blocks, norm, class token and positions; built without memory for its values."""
    with torch.device("meta"):
        backbone = Backbone(NAME, (224, 224))
    body = backbone.body

    def count(module):
        return sum(parameter.numel() for parameter in module.parameters())

    assert count(body) == 56_762_976
    assert count(body.patch_embed.backbone) == 8_562_528
    assert count(body.patch_embed.proj) == 787_200
    assert count(body.blocks) == 47_259_648
    assert count(body.norm) == 1_536
    assert body.cls_token.numel() + body.pos_embed.numel() == 152_064
    assert body.patch_embed.grid_size == (14, 14)
    assert has_tokens(backbone)
