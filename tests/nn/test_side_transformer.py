"""The side network against timm's vision transformer, and the tokens that come and go at its blocks."""

from functools import partial

import pytest
import torch

from modicum.nn.side_transformer import SideTransformer

DEPTH, WIDTH, HEADS = 3, 24, 4


def made(**changes):
    torch.manual_seed(0)
    settings = {"patch_size": (8, 8), "image_size": (32, 24), "num_outputs": 5, **changes}
    return SideTransformer(DEPTH, WIDTH, HEADS, **settings)


def images(batch=2):
    return torch.randn(batch, 3, 32, 24, generator=torch.Generator().manual_seed(1))


def extra(count, batch=2):
    return torch.randn(DEPTH, batch, count, WIDTH, generator=torch.Generator().manual_seed(2))


def as_timm(side):
    """timm's network with the same weights."""
    from timm.models.vision_transformer import VisionTransformer

    body = VisionTransformer(
        (32, 24), 8, num_classes=5, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-12),
    )  # fmt: skip
    renamed = {"positions": "pos_embed", "patch_embed.": "patch_embed.proj."}
    inner = {"qkv": "attn.qkv", "proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    state = {}
    for name, tensor in side.state_dict().items():
        if name.startswith("blocks."):
            blocks, number, layer, kind = name.split(".")
            name = ".".join([blocks, number, inner.get(layer, layer), kind])
        for ours, theirs in renamed.items():
            name = theirs + name.removeprefix(ours) if name.startswith(ours) else name
        state[name] = tensor
    body.load_state_dict(state)
    return body.eval()


def test_without_further_tokens_it_is_timms_vision_transformer():
    side = made().eval()
    with torch.no_grad():
        torch.testing.assert_close(side(images(), extra(0)), as_timm(side)(images()), atol=1e-6, rtol=1e-5)


def test_further_tokens_stand_at_the_end_and_are_dropped_behind_each_block():
    side, added, given, made_of = made().eval(), extra(4), [], []
    for block in side.blocks:
        block.register_forward_pre_hook(lambda _, tokens: given.append(tokens[0]))
        block.register_forward_hook(lambda *call: made_of.append(call[2]))
    side(images(), added)
    assert [tokens.shape for tokens in given] == [(2, 1 + 12 + 4, WIDTH)] * DEPTH
    for number, tokens in enumerate(given):
        assert torch.equal(tokens[:, 13:], added[number])
        if number:
            assert torch.equal(tokens[:, :13], made_of[number - 1][:, :13])


def test_each_blocks_tokens_matter():
    side, added = made().eval(), extra(4)
    torch.nn.init.normal_(side.head.weight)
    with torch.no_grad():
        for block in side.blocks:
            block.qkv.weight.mul_(10)
            block.proj.weight.mul_(10)
        expected = side(images(), added)
        for number in range(DEPTH):
            changed = added.clone()
            changed[number] += torch.randn_like(changed[number])
            assert (side(images(), changed) - expected).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("image", "prompts", "length"), [((224, 224), 16, 213), ((128, 128), 16, 81), ((96, 160), 4, 65)]
)
def test_tokens_of_a_block(image, prompts, length):
    with torch.device("meta"):
        side = SideTransformer(1, 96, 12, (16, 16), image, 2)
        lengths = []
        side.blocks[0].register_forward_pre_hook(lambda _, tokens: lengths.append(tokens[0].shape[1]))
        assert side(torch.empty(3, 3, *image), torch.empty(1, 3, prompts, 96)).shape == (3, 2)
    assert lengths == [length]


def test_it_starts_as_published():
    """Weights, class token and positions truncated normal (0.02), biases 0, LayerNorm with weight 1 and bias 0."""
    torch.manual_seed(0)
    side = SideTransformer(6, 96, 12, (16, 16), (128, 128), 5)
    for name, parameter in side.named_parameters():
        if "norm" in name:
            assert torch.equal(parameter, torch.full_like(parameter, float(name.endswith("weight")))), name
        elif name.endswith("bias"):
            assert not parameter.any(), name
        else:
            few = parameter.numel() < 1000
            assert parameter.std().item() == pytest.approx(0.02, rel=0.25 if few else 0.05), name
    assert {module.eps for module in side.modules() if isinstance(module, torch.nn.LayerNorm)} == {1e-12}


def test_nothing_is_random_in_training():
    side, added = made().train(), extra(4)
    assert torch.equal(side(images(), added), side(images(), added))


def test_an_image_does_not_depend_on_its_batch():
    side, added = made().eval(), extra(4, batch=5)
    together = side(images(5), added)
    torch.testing.assert_close(side(images(5)[3:4], added[:, 3:4]), together[3:4], atol=1e-6, rtol=1e-5)
