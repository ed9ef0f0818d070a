"""Networks of NICE-GAN, UNIT and MUNIT: counts by hand from the published layouts, and what they compute."""

import doctest
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

from modicum.engine.training.meters import saved_tensors
from modicum.errors import InputError
from modicum.nn import (
    InstanceNorm,
    MultiScaleDiscriminator,
    MunitDecoder,
    MunitStyleEncoder,
    NiceDiscriminator,
    NiceEncoder,
    NiceGenerator,
    UnitDecoder,
    UnitEncoder,
    count_parameters,
    nice_gan,
    unit,
)
from modicum.nn.munit import StyledBlock
from modicum.nn.nice_gan import InstanceLayerNorm, global_depth
from modicum.nn.unit import SampleNorm, discriminator_scales


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 1


def size(module: nn.Module) -> int:
    return count_parameters(module)[0]


def convolution(before: int, after: int, kernel: int, bias: bool = True) -> int:
    return before * after * kernel**2 + after * bias


def test_docstring_examples_run():
    assert doctest.testmod(unit).failed == 0
    assert doctest.testmod(nice_gan).failed == 0


# --- counts -----------------------------------------------------------------------------------------------------


def test_unit_has_the_counts_of_its_layout():
    blocks = 4 * 2 * convolution(256, 256, 3)
    down = convolution(1, 64, 7) + convolution(64, 128, 4) + convolution(128, 256, 4)
    up = convolution(256, 128, 5) + 2 * 128 + convolution(128, 64, 5) + 2 * 64 + convolution(64, 1, 7)
    assert size(UnitEncoder()) == down + blocks == 5_379_584
    assert size(UnitDecoder()) == blocks + up == 5_748_353


def test_a_scale_of_the_discriminator_has_the_counts_of_its_layout():
    widths = [1, 64, 128, 256, 512]
    scale = sum(convolution(b, a, 4) for b, a in pairwise(widths)) + 513
    assert scale == 2_755_009
    assert size(MultiScaleDiscriminator()) == 3 * scale


def test_munit_has_the_counts_of_its_layout():
    style = convolution(1, 64, 7) + convolution(64, 128, 4) + convolution(128, 256, 4)
    style += 2 * convolution(256, 256, 4) + 256 * 8 + 8
    assert size(MunitStyleEncoder()) == style == 2_758_664
    mapping = (8 * 256 + 256) + (256 * 256 + 256) + (256 * 4096 + 4096)  # 4 blocks, 2 norms, shift and scale
    assert size(MunitDecoder()) == size(UnitDecoder()) + mapping == 6_869_121


def test_nice_gan_has_the_counts_of_its_layout():
    """For colour images, as its release has them."""
    blocks = 6 * 2 * (convolution(256, 256, 3, bias=False) + 2 * 256)
    modulation = 4 * 256 * 256
    up = 0
    for width in (256, 128):
        half = width // 2
        up += convolution(width, half, 3, bias=False) + convolution(half, 4 * half, 1) + 2 * 4 * half
    head, tail = convolution(128, 256, 3) + 4 * 256, convolution(64, 3, 7, bias=False)
    assert size(NiceGenerator(3)) == head + modulation + blocks + up + tail == 8_104_640
    encoder = convolution(3, 64, 4) + convolution(64, 128, 4) + 256 + convolution(256, 128, 1) + 1
    patches = convolution(128, 256, 4) + convolution(256, 512, 4) + convolution(512, 1, 4, bias=False)
    parts = convolution(256, 512, 4) + convolution(512, 1024, 4)
    parts += convolution(1024, 2048, 4) + convolution(2048, 1, 4, bias=False)
    assert size(NiceEncoder(3)) == encoder
    with torch.device("meta"):
        assert size(NiceDiscriminator(3)) == encoder + patches + parts == 46_874_433
        full = size(NiceGenerator(3, image_size=(256, 256))) - size(NiceGenerator(3))
    assert full == (64 * 64 - 1) * 256 * 256


# --- shapes -----------------------------------------------------------------------------------------------------


def test_published_shapes():
    with torch.device("meta"):
        images = torch.empty(2, 1, 256, 192)
        assert UnitEncoder()(images).shape == (2, 256, 64, 48)
        assert UnitDecoder()(UnitEncoder()(images)).shape == images.shape
        assert MunitStyleEncoder()(images).shape == (2, 8)
        assert NiceGenerator()(NiceEncoder()(images)).shape == images.shape
        square = torch.empty(2, 1, 256, 256)
        scales = [tuple(scores.shape) for scores in MultiScaleDiscriminator()(square)]
        assert scales == [(2, 1, 16, 16), (2, 1, 8, 8), (2, 1, 4, 4)]
        scores = [tuple(scores.shape) for scores in NiceDiscriminator()(square)]
        assert scores == [(2, 1, 30, 30), (2, 1, 6, 6), (2, 1)]


@pytest.mark.parametrize("side", [24, 28, 44, 48, 60, 64, 92, 96])
def test_discriminators_fit_themselves_to_small_images(side):
    images = noise(1, 1, side, side + 4)
    scales = discriminator_scales((side, side + 4))
    assert len(MultiScaleDiscriminator(width=2, scales=scales)(images)) == scales
    depth = global_depth((side, side + 4))
    assert all(scores.numel() for scores in NiceDiscriminator(width=2, depth=depth)(images))
    if scales < 3:
        with pytest.raises(InputError, match=f"too small for 3 scales; use {scales}"):
            MultiScaleDiscriminator(width=2)(images)


def test_too_small_images_are_told():
    with pytest.raises(InputError, match="at least 16x16"):
        discriminator_scales((15, 90))
    with pytest.raises(InputError, match="at least 24x24"):
        global_depth((90, 23))


def test_a_part_of_nice_gans_patches_sees_70_pixels():
    """As its release notes beside the layer."""
    discriminator = NiceDiscriminator(width=2)
    body = nn.Sequential(discriminator.encoder.body, discriminator.shared, discriminator.patches)
    image = noise(1, 1, 256, 256).requires_grad_()
    body(image)[0, 0, 15, 15].backward()
    rows, columns = image.grad[0, 0].nonzero(as_tuple=True)
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (70, 70)


# --- normalisations ---------------------------------------------------------------------------------------------


def test_instance_norm_is_pytorchs_in_either_layout():
    features = 3 * noise(2, 5, 6, 7) + 1
    expected = nn.InstanceNorm2d(5)(features)
    torch.testing.assert_close(InstanceNorm(5)(features), expected)
    laid = features.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(InstanceNorm(5)(laid), expected)
    assert InstanceNorm(5)(laid).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("gradient_layout", [torch.contiguous_format, torch.channels_last])
def test_the_gradient_of_instance_norm_is_right_in_every_layout(batch, layout, gradient_layout):
    """Of one image in channels_last, PyTorch's own is not. The reference has explicit means."""
    features = (3 * noise(batch, 5, 6, 7) + 1).double()
    incoming = noise(batch, 5, 6, 7, seed=1).double().contiguous(memory_format=gradient_layout)
    plain = features.clone().requires_grad_()
    centred = plain - plain.mean((2, 3), keepdim=True)
    (centred / (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()).backward(incoming)
    laid = features.clone(memory_format=layout).requires_grad_()
    made = InstanceNorm(5)(laid)
    made.backward(incoming)
    assert made.is_contiguous(memory_format=layout)
    torch.testing.assert_close(laid.grad, plain.grad, atol=1e-10, rtol=1e-8)


def test_a_mixture_at_its_ends_is_instance_norm_and_layer_norm():
    """Both with the standard deviation of a sample."""
    features = 3 * noise(2, 5, 6, 7) + noise(1, 5, 1, 1, seed=1)
    channel = (features - features.mean((2, 3), keepdim=True)) / features.std((2, 3), keepdim=True)
    image = (features - features.mean((1, 2, 3), keepdim=True)) / features.std((1, 2, 3), keepdim=True)
    for towards, expected in (
        ((40.0, 0.0), channel),
        ((0.0, 40.0), image),
        ((7.0, 7.0), (channel + image) / 2),
    ):
        mixed = InstanceLayerNorm(5, towards)(features)
        torch.testing.assert_close(mixed, expected, atol=1e-4, rtol=1e-4)
    scale, shift = noise(2, 5), noise(2, 5, seed=1)
    given = InstanceLayerNorm(5, (40.0, 0.0), affine=False)(features, scale, shift)
    torch.testing.assert_close(
        given, channel * scale[..., None, None] + shift[..., None, None], atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("norm", [InstanceLayerNorm(16), SampleNorm(16), InstanceNorm(16)])
def test_a_normalisation_keeps_one_map_for_the_backward_pass(norm):
    features = noise(2, 16, 32, 32)
    with saved_tensors(norm.parameters()) as account:
        norm((2 * features).requires_grad_())
    assert account.bytes < 1.1 * features.nbytes


def test_sample_norm_gives_every_image_its_mean_and_deviation():
    norm, features = SampleNorm(5), 3 * noise(2, 5, 6, 7) + 1
    assert 0 <= norm.scale.min() < norm.scale.max() <= 1
    nn.init.ones_(norm.scale)
    made = norm(features).flatten(1)
    torch.testing.assert_close(made.mean(1), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(made.std(1), torch.ones(2), atol=1e-4, rtol=0)


def test_a_styled_blocks_features_have_the_styles_mean_and_deviation():
    block, features, style = StyledBlock(5), noise(2, 5, 6, 7), 1 + noise(2, 2, 2, 5)
    added = (block(features, style) - features).flatten(2)
    torch.testing.assert_close(added.mean(2), style[:, 1, 0])
    torch.testing.assert_close(added.std(2, correction=0), style[:, 1, 1].abs(), atol=1e-3, rtol=1e-3)


# --- what is special --------------------------------------------------------------------------------------------


def test_nice_gans_attention_is_the_published_one_over_doubled_features():
    encoder, images = NiceEncoder(1, 4).eval(), noise(2, 1, 32, 32)
    nn.init.constant_(encoder.attention, 0.7)
    features = encoder.body(images)
    weights = encoder.evidence.parametrizations.weight.original
    doubled = torch.cat([features, features], 1) * weights[..., None, None]
    expected = functional.leaky_relu(0.7 * encoder.mix(doubled) + features, 0.2)
    torch.testing.assert_close(encoder(images), expected)


def test_evidence_is_a_normalised_weighting_of_means_and_maxima():
    encoder, images = NiceEncoder(1, 4), noise(3, 1, 32, 32)
    features, evidence = encoder.look(images)
    assert torch.equal(features, encoder.eval()(images))
    body = encoder.body(images)
    weights = encoder.evidence.parametrizations.weight.original
    pooled = torch.cat([body.flatten(2).mean(2), body.flatten(2).max(2).values], 1)
    torch.testing.assert_close(encoder.look(images)[1], pooled @ (weights / weights.norm()).T)
    assert evidence.shape == (3, 1)


def test_spectral_norms_of_nice_gans_discriminator_are_one():
    torch.manual_seed(0)
    discriminator = NiceDiscriminator(width=2, depth=0)
    for _ in range(30):
        discriminator(noise(1, 1, 32, 32))
    discriminator.eval()
    normed = [module for module in discriminator.modules() if hasattr(module, "parametrizations")]
    assert len(normed) == 2 + 1 + 1 + 2 + 2
    for module in normed:
        assert torch.linalg.matrix_norm(module.weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-2)


def test_without_a_style_munit_decodes_the_mean_style():
    decoder, content = MunitDecoder(2, width=4, blocks=2), noise(3, 16, 8, 8)
    made = decoder(content)
    assert made.shape == (3, 2, 32, 32)
    assert torch.equal(made, decoder(content, torch.zeros(3, 8)))
    assert (made - decoder(content, noise(3, 8))).abs().max() > 1e-3
