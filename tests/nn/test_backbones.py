"""Backbones against timm itself, and what happens when something does not fit."""

import pytest
import timm
import torch
from torch import nn

from modicum.errors import InputError
from modicum.nn import (
    Backbone,
    Classifier,
    Frozen,
    count_parameters,
    learned_tensors,
    linear_head,
    load_backbone_weights,
)
from modicum.nn.patch_pooling import pool_patches


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_equals_the_timm_model_on_normalised_images(name):
    backbone = Backbone(name, (160, 160)).eval()
    theirs = timm.create_model(name, num_classes=0).eval()
    theirs.load_state_dict(backbone.body.state_dict())
    images = torch.rand(2, 3, 160, 160)
    config = theirs.pretrained_cfg
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), theirs((images - mean) / std))


def test_grey_images_are_repeated():
    backbone = Backbone("test_resnet", (64, 64)).eval()
    grey = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(grey), backbone(grey.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_pooled_feature_map_is_the_forward_pass(name):
    backbone = Backbone(name, (96, 96)).eval()
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(backbone.pool(backbone.feature_map(images)), backbone(images))


def test_transformer_tokens_are_laid_out_in_rows():
    backbone = Backbone("test_vit", (64, 96)).eval()
    with torch.no_grad():
        tokens = backbone.feature_map(torch.rand(1, 3, 64, 96))
    planes = backbone.spatial(tokens)
    assert planes.shape[-2:] == (4, 6)
    torch.testing.assert_close(planes[0, :, 1, 2], tokens[0, 1 + 1 * 6 + 2])


@pytest.mark.parametrize("size", [(96, 160), (224, 224)])
def test_position_embeddings_are_fitted_to_another_size_as_timm_does(size):
    weights = timm.create_model("vit_tiny_patch16_224", num_classes=7).state_dict()
    backbone = Backbone("vit_tiny_patch16_224", size)
    load_backbone_weights(backbone, weights, "file")
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=size)
    from timm.models.vision_transformer import checkpoint_filter_fn

    theirs.load_state_dict(checkpoint_filter_fn(dict(weights), theirs), strict=False)
    torch.testing.assert_close(backbone.body.pos_embed, theirs.pos_embed)


def test_weights_of_another_network_are_refused_by_name():
    weights = timm.create_model("test_resnet").state_dict()
    with pytest.raises(InputError, match=r"'file' do not fit backbone 'test_vit'"):
        load_backbone_weights(Backbone("test_vit", (160, 160)), weights, "file")


def test_a_missing_tensor_is_never_left_at_random():
    weights = timm.create_model("test_resnet").state_dict()
    weights.pop("conv1.weight" if "conv1.weight" in weights else next(iter(weights)))
    with pytest.raises(InputError, match="1 of its"):
        load_backbone_weights(Backbone("test_resnet", (64, 64)), weights, "file")


def test_unknown_name_gets_a_suggestion():
    with pytest.raises(InputError, match=r"'resnet51'.*resnet50"):
        Backbone("resnet51", (64, 64))
    with pytest.raises(InputError, match="weights tag"):
        Backbone("resnet50.imagenet", (64, 64))


def test_image_smaller_than_a_patch_is_an_error():
    with pytest.raises(InputError, match=r"smaller than one 16-pixel patch.*--image-size 16"):
        Backbone("vit_tiny_patch16_224", (8, 8))


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "test_vit"])
def test_image_that_patches_do_not_divide_is_an_error_with_sizes_that_they_do(name):
    with pytest.raises(InputError, match=r"not a multiple of the 16-pixel patches.*--image-size 96 or 112"):
        Backbone(name, (100, 100))


def test_frozen_stays_frozen_when_its_parent_trains():
    network = nn.Sequential(Frozen(Backbone("test_resnet", (64, 64))), nn.Linear(1, 1)).train()
    before = {name: value.clone() for name, value in network[0].state_dict().items()}
    network[0](torch.rand(4, 3, 64, 64))
    assert all(torch.equal(value, before[name]) for name, value in network[0].state_dict().items())
    assert not any(parameter.requires_grad for parameter in network[0].parameters())


def test_learned_tensors_leave_out_what_is_frozen():
    backbone = Frozen(Backbone("test_resnet", (64, 64)))
    network = Classifier(backbone, nn.Sequential(nn.BatchNorm1d(4), linear_head(4, 2)))
    assert set(learned_tensors(network)) == {
        "head.0.weight", "head.0.bias", "head.0.running_mean", "head.0.running_var", "head.0.num_batches_tracked",
        "head.1.1.weight", "head.1.1.bias",
    }  # fmt: skip


def test_resnet50_has_the_published_number_of_parameters():
    # Huang et al., Diagnostics 2023: 23,518,277 with five outputs.
    backbone = Backbone("resnet50", (64, 64))
    network = Classifier(backbone, linear_head(backbone.num_features, 5))
    assert count_parameters(network) == (23_518_277, 23_518_277)
    assert count_parameters(Classifier(Frozen(backbone), linear_head(2048, 5)))[1] == 2048 * 5 + 5


def test_weights_of_mean_pooling_start_another_backbone():
    learned = Backbone("test_vit", (96, 96))
    pool_patches(learned.body)
    with torch.no_grad():
        learned.body.fc_norm.weight.fill_(2)
    started = Backbone("test_vit", (96, 96))
    load_backbone_weights(started, learned.body.state_dict(), "run:runs/lora")
    assert torch.equal(started.body.norm.weight, learned.body.fc_norm.weight)
    assert torch.equal(started.body.blocks[0].attn.qkv.weight, learned.body.blocks[0].attn.qkv.weight)
