"""Weights in the forms in which masked autoencoders are published."""

import pytest
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from modicum.data.weights_file import read_weights
from modicum.errors import InputError
from modicum.nn import MaskedAutoencoder, MaskedEncoder, load_mae_weights, vision_transformer

SMALL = {"image_size": 32, "patch_size": 8, "width": 32, "depth": 2, "heads": 4}


def encoder_of(seed: int, **changes) -> MaskedEncoder:
    torch.manual_seed(seed)
    return MaskedEncoder(vision_transformer(**(SMALL | changes)))


def same(first: MaskedEncoder, second: MaskedEncoder) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture
def published() -> dict[str, torch.Tensor]:
    return encoder_of(1).body.state_dict()


def test_an_encoder_in_a_pth_file_under_model(published, tmp_path):
    torch.save({"model": published}, tmp_path / "mae.pth")
    encoder = encoder_of(0)
    assert load_mae_weights(encoder, read_weights(tmp_path / "mae.pth"), "mae.pth") == []
    assert same(encoder, encoder_of(1))


def test_an_encoder_in_a_safetensors_file(published, tmp_path):
    save_file(published, tmp_path / "mae.safetensors")
    encoder = encoder_of(0)
    load_mae_weights(encoder, read_weights(tmp_path / "mae.safetensors"), "mae")
    assert same(encoder, encoder_of(1))


@pytest.mark.parametrize("prefix", ["encoder.", "module.", "backbone.", "module.encoder.", "model."])
def test_prefixes_are_taken_off(published, prefix):
    encoder = encoder_of(0)
    load_mae_weights(encoder, {prefix + name: tensor for name, tensor in published.items()}, "file")
    assert same(encoder, encoder_of(1))


def test_of_a_whole_checkpoint_the_decoder_is_left_out_and_listed(published):
    others = {
        "mask_token": torch.zeros(1, 1, 8),
        "decoder_embed.weight": torch.zeros(8, 32),
        "decoder_pos_embed": torch.zeros(1),
    }
    encoder = encoder_of(0)
    assert load_mae_weights(encoder, {**published, **others}, "mae.pth") == sorted(others)
    assert same(encoder, encoder_of(1))


def test_what_this_library_pre_trains_is_read_too():
    trained = MaskedAutoencoder(encoder_of(1), width=16, depth=1, heads=2)
    encoder = encoder_of(0)
    left = load_mae_weights(encoder, trained.encoder.state_dict(), "run")
    assert left == []
    assert same(encoder, encoder_of(1))


def test_weights_of_timms_network_are_read(published):
    plain = VisionTransformer(32, 8, num_classes=5, embed_dim=32, depth=2, num_heads=4)
    encoder = encoder_of(0)
    left = load_mae_weights(encoder, plain.state_dict(), "timm")
    assert left == ["head.bias", "head.weight"]
    assert torch.equal(encoder.body.blocks[1].mlp.fc2.weight, plain.blocks[1].mlp.fc2.weight)


def test_positions_of_another_image_size_are_made_anew_and_listed():
    encoder = encoder_of(0)
    before = encoder.body.pos_embed.clone()
    assert load_mae_weights(encoder, encoder_of(1, image_size=64).body.state_dict(), "mae") == ["pos_embed"]
    assert torch.equal(encoder.body.pos_embed, before)


def test_a_missing_block_is_refused_by_name_and_nothing_changes(published):
    shallow = {name: tensor for name, tensor in published.items() if not name.startswith("blocks.1.")}
    encoder = encoder_of(0)
    with pytest.raises(
        InputError, match=r"weights 'mae.pth' lack 12 of the encoder's 30 .*blocks.1.norm1.weight.*depth"
    ):
        load_mae_weights(encoder, shallow, "mae.pth")
    assert same(encoder, encoder_of(0))


def test_another_width_or_patch_is_refused_with_both_shapes():
    encoder = encoder_of(0)
    with pytest.raises(InputError, match=r"'cls_token' is \[1, 1, 64\], not \[1, 1, 32\]"):
        load_mae_weights(encoder, encoder_of(1, width=64).body.state_dict(), "mae")
    with pytest.raises(
        InputError, match=r"'patch_embed.proj.weight' is \[32, 3, 4, 4\], not \[32, 3, 8, 8\]"
    ):
        load_mae_weights(encoder, encoder_of(1, patch_size=4).body.state_dict(), "mae")


def test_fine_tuned_weights_with_another_norm_are_told_from_pre_trained_ones(published):
    tuned = {
        name.replace("norm.", "fc_norm.") if name.startswith("norm.") else name: t
        for name, t in published.items()
    }
    with pytest.raises(InputError, match="fine-tuned with another final norm"):
        load_mae_weights(encoder_of(0), tuned, "tuned.pth")


def test_weights_of_something_else_are_refused():
    with pytest.raises(InputError, match=r"lack 29 of the encoder's 30 tensors.*masked autoencoder"):
        load_mae_weights(encoder_of(0), {"conv1.weight": torch.zeros(3)}, "resnet.pth")
