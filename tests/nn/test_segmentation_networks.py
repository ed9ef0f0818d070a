"""Segmentation networks: the papers' counts to the unit, timm's own answers, sizes, weights, and what does not fit."""

import subprocess
import sys

import pytest
import timm
import torch

from modicum.errors import InputError
from modicum.nn import Backbone, SegmentationNetwork, VitPyramid, count_parameters, load_encoder_weights

ARCHITECTURES = ["unet", "deeplabv3plus", "segformer", "upernet", "fpn"]


def small(
    architecture: str, encoder: str = "test_resnet", outputs: int = 2, **options
) -> SegmentationNetwork:
    torch.manual_seed(0)
    return SegmentationNetwork(architecture, encoder, outputs, decoder_width=64, **options).eval()


def parameters_of(module: torch.nn.Module) -> int:
    return count_parameters(module)[0]


# The network of AADG


@pytest.mark.parametrize("encoder", ["mobilenetv2_100", "mobilenet_v2"])
def test_deeplab_on_mobilenet_is_the_network_of_aadg_to_the_unit(encoder):
    for outputs, expected in ((1, 4_378_513), (2, 4_378_770)):
        network = SegmentationNetwork("deeplabv3plus", encoder, outputs)
        assert parameters_of(network) == expected
        assert parameters_of(network.encoder) == 2_223_872
        assert parameters_of(network.decoder) == 2_154_384


def test_maps_of_its_encoder_are_those_of_aadg():
    network = SegmentationNetwork("deeplabv3plus", "mobilenetv2_100", 1).eval()
    with torch.no_grad():
        maps = network.encoder(torch.zeros(1, 3, 256, 256))
    shapes = [(part.shape[1], part.shape[2]) for part in maps]
    assert shapes == [(3, 256), (16, 128), (24, 64), (32, 32), (96, 16), (1280, 16)]
    assert network.num_features == 1280


def test_images_enter_between_minus_1_and_1_unless_told_otherwise():
    network = small("unet")
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = network.head(network.decoder(network.encoder(2 * images - 1)))
    torch.testing.assert_close(network(images), expected)


def test_the_pooled_feature_is_the_mean_of_the_last_map():
    network = small("deeplabv3plus", "mobilenetv2_100")
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        features, logits = network.features_and_logits(images)
        torch.testing.assert_close(features, network.encoder(2 * images - 1)[-1].mean((2, 3)))
        torch.testing.assert_close(logits, network(images))


# Sizes


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("size", [(64, 64), (61, 90)])
def test_logits_have_the_size_of_the_image(architecture, size):
    network = small(architecture)
    with torch.no_grad():
        assert network(torch.rand(2, 3, *size)).shape == (2, 2, *size)
        assert network(torch.rand(2, 1, *size)).shape == (2, 2, *size)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_repeats_the_edge_to_the_right_and_below(architecture):
    network = small(architecture)
    image = torch.rand(1, 3, 50, 70)
    right = 10 if architecture == "deeplabv3plus" else 26  # to multiples of 16, or of 32
    whole = torch.nn.functional.pad(image, (0, right, 0, 14), mode="replicate")
    with torch.no_grad():
        torch.testing.assert_close(network(image), network(whole)[..., :50, :70])


def test_gradients_reach_every_parameter():
    for architecture, encoder in (("unet", "test_resnet"), ("upernet", "vit_tiny_patch16_224")):
        network = small(architecture, encoder, image_size=(64, 64)).train()
        network(torch.rand(2, 3, 64, 64)).square().mean().backward()
        without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
        assert without == []


# Vision transformers


def test_the_pyramid_of_width_768_has_the_published_count():
    with torch.device("meta"):
        pyramid = VitPyramid("vit_base_patch16_224", (512, 512))
    assert parameters_of(pyramid.steps) == 7_081_728
    assert pyramid.taps == [3, 5, 7, 11]


def test_the_pyramid_has_maps_of_4_2_1_and_half_times_the_grid():
    pyramid = VitPyramid("vit_tiny_patch16_224", (64, 96)).eval()
    with torch.no_grad():
        maps = pyramid(torch.rand(2, 3, 64, 96))
    assert [tuple(part.shape[1:]) for part in maps[2:]] == [
        (192, 16, 24),
        (192, 8, 12),
        (192, 4, 6),
        (192, 2, 3),
    ]


def test_the_pyramid_reads_the_blocks_of_timm():
    pyramid = VitPyramid("vit_tiny_patch16_224", (64, 64)).eval()
    theirs = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=0).eval()
    theirs.load_state_dict(pyramid.body.state_dict(), strict=False)
    images = torch.rand(1, 3, 64, 64)
    tokens = theirs._pos_embed(theirs.patch_embed(images))
    with torch.no_grad():
        for block in theirs.blocks[:8]:
            tokens = block(tokens)
        expected = tokens[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
        torch.testing.assert_close(pyramid(images)[4], expected)


@pytest.mark.parametrize(
    "encoder", ["vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2", "swin_tiny_patch4_window7_224"]
)
def test_upernet_takes_transformers_at_their_own_and_at_another_size(encoder):
    network = small("upernet", encoder, image_size=(112, 112))
    with torch.no_grad():
        assert network(torch.rand(1, 3, 112, 112)).shape == (1, 2, 112, 112)
        if not encoder.startswith("swin"):
            assert network(torch.rand(1, 3, 60, 130)).shape == (1, 2, 60, 130)


# Weights


@pytest.mark.parametrize(
    ("architecture", "encoder"),
    [
        ("unet", "test_resnet"),
        ("fpn", "test_convnext"),
        ("segformer", "test_efficientnet"),
        ("deeplabv3plus", "mobilenetv2_100"),
        ("upernet", "vit_tiny_patch16_224"),
    ],
)
def test_the_encoder_of_a_backbone_computes_what_the_backbone_computes(architecture, encoder):
    torch.manual_seed(1)
    backbone = Backbone(encoder, (96, 96)).eval()
    for module in backbone.modules():  # statistics that are not those of a fresh network
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    network = SegmentationNetwork.on_backbone(architecture, backbone, 1, decoder_width=64).eval()
    torch.testing.assert_close(network.normalise.mean, backbone.mean)
    images = torch.rand(2, 3, 96, 96)
    body, normalised = backbone.body, backbone.normalise(images)
    with torch.no_grad():
        last = network.encoder(network.normalise(images))[-1]
        if encoder == "mobilenetv2_100":
            # Dilated, the last stage has another stride; an undilated one must agree.
            plain = SegmentationNetwork.on_backbone("unet", backbone, 1, decoder_width=64).eval()
            last, expected = plain.encoder(normalised)[-1], body.forward_features(normalised)
        elif encoder.startswith("vit"):
            tokens = body.forward_intermediates(normalised, [11], norm=False, intermediates_only=True)[0]
            expected = torch.nn.functional.max_pool2d(tokens, 2)
        else:
            expected = timm.create_model(encoder, features_only=True).eval()
            own = body.state_dict()
            expected.load_state_dict({name: renamed(name, own) for name in expected.state_dict()})
            expected = expected(normalised)[-1]
    torch.testing.assert_close(last, expected, rtol=1e-4, atol=1e-4)


def renamed(name: str, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    first, _, rest = name.partition(".")
    stage = first.rsplit("_", 1)
    return weights[name] if name in weights else weights[".".join([*stage, rest])]


@pytest.mark.parametrize("counted", [True, False])
def test_weights_of_torchvision_fit_mobilenet_by_name(counted):
    from torchvision.models import mobilenet_v2

    theirs = mobilenet_v2(weights=None).eval()
    network = SegmentationNetwork("unet", "mobilenetv2_100", 1).eval()
    weights = {n: t for n, t in theirs.state_dict().items() if counted or "num_batches" not in n}
    load_encoder_weights(network, weights, "file.pth")
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network.encoder(images)[-1], theirs.features(images))


@pytest.mark.parametrize(
    ("architecture", "encoder"),
    [
        ("unet", "test_resnet"),
        ("unet", "test_convnext"),
        ("deeplabv3plus", "mobilenetv2_100"),
        ("upernet", "test_vit"),
    ],
)
def test_the_way_back_to_a_backbone_keeps_every_tensor_of_the_encoder(architecture, encoder):
    torch.manual_seed(2)
    backbone = Backbone(encoder, (160, 160))
    backbone.set_normalisation((0.2, 0.3, 0.4), (0.1, 0.2, 0.3))
    network = SegmentationNetwork.on_backbone(architecture, backbone, 1, decoder_width=64)
    again = network.backbone((160, 160))
    assert again.name == encoder
    assert not again.random
    assert again.normalisation == backbone.normalisation
    expected = backbone.body.state_dict()
    for name, tensor in again.body.state_dict().items():
        if name.startswith(
            ("norm.", "fc_norm.", "head.norm.")
        ):  # behind the last map: a norm that does nothing
            assert torch.equal(tensor, torch.full_like(tensor, float(name.endswith("weight"))))
        else:
            assert torch.equal(tensor, expected[name]), name


def test_an_encoder_without_its_networks_last_convolution_is_no_backbone():
    network = small("unet", "test_efficientnet")
    with pytest.raises(InputError, match=r"lacks \d+ tensors of the end of 'test_efficientnet' .*'conv_head"):
        network.backbone((64, 64))


def test_weights_that_do_not_fit_change_nothing_and_are_named():
    network = small("unet")
    before = {name: tensor.clone() for name, tensor in network.encoder.state_dict().items()}
    others = timm.create_model("test_convnext").state_dict()
    with pytest.raises(InputError, match=r"weights 'other.pth' do not fit encoder 'test_resnet'"):
        load_encoder_weights(network, others, "other.pth")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.encoder.state_dict().items())


def test_a_network_is_saved_and_made_again_with_its_normalisation():
    network = small("unet", mean=(0.2, 0.3, 0.4), std=(0.1, 0.2, 0.3))
    again = SegmentationNetwork("unet", "test_resnet", 2, decoder_width=64).eval()
    again.load_state_dict(network.state_dict())
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(images), again(images))


# What does not fit


@pytest.mark.parametrize(
    ("architecture", "encoder", "words"),
    [
        ("u-net", "resnet18", "did you mean 'unet'"),
        ("unet", "resnet81", "encoder 'resnet81' is not a timm model"),
        ("unet", "vit_tiny_patch16_224", "use upernet"),
        ("deeplabv3plus", "vit_tiny_patch16_224", "use upernet"),
        ("deeplabv3plus", "swin_tiny_patch4_window7_224", "does not work with deeplabv3plus"),
    ],
)
def test_what_does_not_fit_is_an_error_with_a_remedy(architecture, encoder, words):
    with pytest.raises(InputError, match=words):
        SegmentationNetwork(architecture, encoder, 1)


@pytest.mark.parametrize(
    ("architecture", "width", "words"),
    [
        (
            "fpn",
            96,
            r"decoder_width 96 is not a multiple of 64, which fpn needs \(group norm\); set decoder_width=64 or 128",
        ),
        ("fpn", 16, r"decoder_width 16 is not .*; set decoder_width=64$"),
        ("unet", 3, "decoder_width 3 is too narrow; set decoder_width=4 or more"),
        ("segformer", 1, "set decoder_width=4 or more"),
    ],
)
def test_a_width_that_a_decoder_cannot_have_names_the_next(architecture, width, words):
    with pytest.raises(InputError, match=words):
        SegmentationNetwork(architecture, "test_resnet", 1, decoder_width=width)


def test_a_narrow_unet_keeps_four_channels_at_every_level_and_a_wide_one_is_halved():
    for width, expected in ((16, [16, 8, 4, 4, 4]), (64, [64, 32, 16, 8, 4]), (256, [256, 128, 64, 32, 16])):
        network = SegmentationNetwork("unet", "test_resnet", 1, decoder_width=width)
        assert [block.conv2[0].out_channels for block in network.decoder.blocks] == expected


def test_one_image_alone_cannot_be_trained_on_where_there_is_a_global_pooling():
    for architecture in ARCHITECTURES:
        network = small(architecture).train()
        if network.needs_batches:
            with pytest.raises(InputError, match="one image at a time"):
                network(torch.rand(1, 3, 32, 32))
        else:
            network(torch.rand(1, 3, 64, 64))


def test_the_library_of_decoders_is_loaded_when_first_used():
    code = (
        "import sys, modicum.nn; print('segmentation_models_pytorch' in sys.modules, 'timm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "False"
