"""Which backbones are plain vision transformers, and the numbers that describe them."""

import pytest
import torch

from modicum.errors import InputError
from modicum.nn import Backbone
from modicum.nn.plain_vit import VitShape, plain_vit, vit_shape


def shape_of(name: str, size: tuple[int, int]) -> VitShape:
    with torch.device("meta"):
        return vit_shape(plain_vit(Backbone(name, size), "fpt"))


# Width, depth, heads and patch as the papers of the networks give them; one class token unless said otherwise.
PUBLISHED = {
    "vit_base_patch16_224": ((512, 512), VitShape(768, 12, 12, 64, (16, 16), (32, 32), 1)),
    "vit_tiny_patch16_224": ((224, 384), VitShape(192, 12, 3, 64, (16, 16), (14, 24), 1)),
    "deit_tiny_distilled_patch16_224": ((224, 224), VitShape(192, 12, 3, 64, (16, 16), (14, 14), 2)),
    "vit_small_patch14_reg4_dinov2": ((518, 518), VitShape(384, 12, 6, 64, (14, 14), (37, 37), 5)),
    "vit_huge_patch14_gap_224": ((224, 224), VitShape(1280, 32, 16, 80, (14, 14), (16, 16), 0)),
    "eva02_tiny_patch14_224": ((224, 224), VitShape(192, 12, 3, 64, (14, 14), (16, 16), 1)),
    "vit_small_patch16_dinov3": ((256, 256), VitShape(384, 12, 6, 64, (16, 16), (16, 16), 5)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_numbers_of_a_network_are_its_papers(name):
    size, expected = PUBLISHED[name]
    assert shape_of(name, size) == expected


def test_tokens_of_vit_base_at_512_pixels_are_1025():
    assert shape_of("vit_base_patch16_224", (512, 512)).tokens == 1025


@pytest.mark.parametrize(
    ("name", "pixels"),
    [("vit_base_r50_s16_224", 16), ("vit_tiny_r_s16_p8_224", 32), ("vit_base_mci_224", 16)],
)
def test_a_patch_behind_a_convolutional_stem_is_counted_in_pixels_of_the_image(name, pixels):
    shape = shape_of(name, (224, 224))
    assert shape.patch_size == (pixels, pixels)
    assert shape.grid == (224 // pixels, 224 // pixels)


@pytest.mark.parametrize(
    "name",
    [
        "test_resnet",  # convolutions
        "swin_tiny_patch4_window7_224",  # windows of a hierarchy
        "beit_base_patch16_224",  # attention with a bias by position
        "vit_relpos_small_patch16_224",  # the same
        "cait_xxs24_224",  # talking heads
        "vit_dpwee_patch16_reg1_gap_256",  # attention and MLP side by side
        "vit_small_patch16_18x2_224",  # two attentions in a block
        "vit_dwee_patch16_reg1_gap_256",  # differential attention: two maps a head
    ],
)
def test_other_networks_are_refused_with_names_of_some_that_serve(name):
    with torch.device("meta"):
        backbone = Backbone(name, (224, 224))
    with pytest.raises(InputError) as refused:
        plain_vit(backbone, "fpt_plus")
    assert "fpt_plus" in str(refused.value)
    assert name in str(refused.value)
    offered = [word.strip(",") for word in str(refused.value).split() if word.startswith(("vit_", "deit3_"))]
    assert len(offered) >= 3
    for other in offered:
        with torch.device("meta"):
            plain_vit(Backbone(other, (224, 224)), "fpt_plus")
