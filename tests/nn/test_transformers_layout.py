"""Vision transformers under the names of the transformers library compute in timm what that library's formulae say."""

import pytest
import timm
import torch
from torch.nn import functional as F

from modicum.nn import Backbone, load_backbone_weights
from modicum.nn.transformers_layout import with_timm_names

WIDTH, HEADS, DEPTH, PATCH, SIDE, HIDDEN = 64, 2, 2, 16, 32, 256
TOKENS = (SIDE // PATCH) ** 2


THEIR_PARTS = (
    ("blocks.", "encoder.layer."), ("norm1", "layernorm_before"), ("norm2", "layernorm_after"),
    ("attn.proj", "attention.output.dense"), ("mlp.fc1", "intermediate.dense"), ("mlp.fc2", "output.dense"),
    ("patch_embed.proj", "embeddings.patch_embeddings.projection"), ("cls_token", "embeddings.cls_token"),
    ("pos_embed", "embeddings.position_embeddings"),
)  # fmt: skip


def draw(*shape):
    return torch.randn(*shape) * 0.2


def affine(state, name, out, inside):
    state[f"{name}.weight"], state[f"{name}.bias"] = draw(out, inside), draw(out)


def norm(state, name):
    state[f"{name}.weight"], state[f"{name}.bias"] = 1 + draw(WIDTH), draw(WIDTH)


def vit_state(scale):
    """Of ``ViTModel``, or with layer scales of ``Dinov2Model``."""
    torch.manual_seed(0)
    state = {
        "embeddings.cls_token": draw(1, 1, WIDTH),
        "embeddings.position_embeddings": draw(1, TOKENS + 1, WIDTH),
        "embeddings.patch_embeddings.projection.weight": draw(WIDTH, 3, PATCH, PATCH),
        "embeddings.patch_embeddings.projection.bias": draw(WIDTH),
    }
    for number in range(DEPTH):
        layer = f"encoder.layer.{number}"
        norm(state, f"{layer}.norm1" if scale else f"{layer}.layernorm_before")
        norm(state, f"{layer}.norm2" if scale else f"{layer}.layernorm_after")
        for part in ("query", "key", "value"):
            affine(state, f"{layer}.attention.attention.{part}", WIDTH, WIDTH)
        affine(state, f"{layer}.attention.output.dense", WIDTH, WIDTH)
        affine(state, f"{layer}.mlp.fc1" if scale else f"{layer}.intermediate.dense", HIDDEN, WIDTH)
        affine(state, f"{layer}.mlp.fc2" if scale else f"{layer}.output.dense", WIDTH, HIDDEN)
        if scale:
            state[f"{layer}.layer_scale1.lambda1"], state[f"{layer}.layer_scale2.lambda1"] = (
                draw(WIDTH),
                draw(WIDTH),
            )
    norm(state, "layernorm")
    if scale:
        state["embeddings.mask_token"] = draw(1, WIDTH)
    else:
        affine(state, "pooler.dense", WIDTH, WIDTH)
    return state


def siglip_state():
    """Of ``SiglipModel``, with a tensor of its text tower."""
    torch.manual_seed(0)
    state = {
        "embeddings.patch_embedding.weight": draw(WIDTH, 3, PATCH, PATCH),
        "embeddings.patch_embedding.bias": draw(WIDTH),
        "embeddings.position_embedding.weight": draw(TOKENS, WIDTH),
        "head.probe": draw(1, 1, WIDTH),
        "head.attention.in_proj_weight": draw(3 * WIDTH, WIDTH),
        "head.attention.in_proj_bias": draw(3 * WIDTH),
    }
    for number in range(DEPTH):
        layer = f"encoder.layers.{number}"
        norm(state, f"{layer}.layer_norm1")
        norm(state, f"{layer}.layer_norm2")
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            affine(state, f"{layer}.self_attn.{part}", WIDTH, WIDTH)
        affine(state, f"{layer}.mlp.fc1", HIDDEN, WIDTH)
        affine(state, f"{layer}.mlp.fc2", WIDTH, HIDDEN)
    norm(state, "post_layernorm")
    affine(state, "head.attention.out_proj", WIDTH, WIDTH)
    norm(state, "head.layernorm")
    affine(state, "head.mlp.fc1", HIDDEN, WIDTH)
    affine(state, "head.mlp.fc2", WIDTH, HIDDEN)
    named = {f"vision_model.{name}": tensor for name, tensor in state.items()}
    return {**named, "text_model.embeddings.token_embedding.weight": draw(4, WIDTH), "logit_scale": draw(1)}


def attend(q, k, v):
    """Attention of [tokens, width] in heads."""
    parts = [part.view(len(part), HEADS, -1).transpose(0, 1) for part in (q, k, v)]
    weights = (parts[0] @ parts[1].transpose(1, 2) / (WIDTH / HEADS) ** 0.5).softmax(-1)
    return (weights @ parts[2]).transpose(0, 1).reshape(len(q), WIDTH)


def linear(state, name, x):
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def normed(state, name, x):
    return F.layer_norm(x, (WIDTH,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)


def patches(image, weight, bias):
    return F.conv2d(image[None], weight, bias, stride=PATCH)[0].flatten(1).T


def vit_forward(state, image, scale):
    """``ViTModel`` or ``Dinov2Model`` up to its last norm: the class token."""
    at = "embeddings.patch_embeddings.projection"
    x = torch.cat(
        [state["embeddings.cls_token"][0], patches(image, state[f"{at}.weight"], state[f"{at}.bias"])]
    )
    x = x + state["embeddings.position_embeddings"][0]
    for number in range(DEPTH):
        layer = f"encoder.layer.{number}"
        y = normed(state, f"{layer}.norm1" if scale else f"{layer}.layernorm_before", x)
        y = attend(
            *(linear(state, f"{layer}.attention.attention.{part}", y) for part in ("query", "key", "value"))
        )
        y = linear(state, f"{layer}.attention.output.dense", y)
        x = x + (y * state[f"{layer}.layer_scale1.lambda1"] if scale else y)
        y = normed(state, f"{layer}.norm2" if scale else f"{layer}.layernorm_after", x)
        y = F.gelu(linear(state, f"{layer}.mlp.fc1" if scale else f"{layer}.intermediate.dense", y))
        y = linear(state, f"{layer}.mlp.fc2" if scale else f"{layer}.output.dense", y)
        x = x + (y * state[f"{layer}.layer_scale2.lambda1"] if scale else y)
    return normed(state, "layernorm", x)[0]


def siglip_forward(state, image):
    """``SiglipVisionTransformer``: the pooled vector."""
    s = {name.removeprefix("vision_model."): tensor for name, tensor in state.items()}
    at = "embeddings.patch_embedding"
    x = patches(image, s[f"{at}.weight"], s[f"{at}.bias"]) + s["embeddings.position_embedding.weight"]
    for number in range(DEPTH):
        layer = f"encoder.layers.{number}"
        y = normed(s, f"{layer}.layer_norm1", x)
        y = attend(*(linear(s, f"{layer}.self_attn.{part}_proj", y) for part in "qkv"))
        x = x + linear(s, f"{layer}.self_attn.out_proj", y)
        y = F.gelu(linear(s, f"{layer}.mlp.fc1", normed(s, f"{layer}.layer_norm2", x)))
        x = x + linear(s, f"{layer}.mlp.fc2", y)
    x = normed(s, "post_layernorm", x)
    q, k, v = (
        F.linear(source, weight, bias)
        for source, weight, bias in zip(
            (s["head.probe"][0], x, x),
            s["head.attention.in_proj_weight"].chunk(3),
            s["head.attention.in_proj_bias"].chunk(3),
            strict=True,
        )
    )
    pooled = linear(s, "head.attention.out_proj", attend(q, k, v))
    y = F.gelu(linear(s, "head.mlp.fc1", normed(s, "head.layernorm", pooled)))
    return (pooled + linear(s, "head.mlp.fc2", y))[0]


@pytest.fixture(scope="module")
def image():
    torch.manual_seed(1)
    return torch.rand(3, SIDE, SIDE)


def in_timm(state, image, **settings):
    network = timm.models.VisionTransformer(
        img_size=SIDE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        num_classes=0,
        **settings,
    )
    network.load_state_dict(dict(with_timm_names(state)), strict=True)
    with torch.no_grad():
        return network.eval()(image[None])[0]


@pytest.mark.parametrize("before", ["", "vit."])
def test_a_vit_answers_as_in_transformers(image, before):
    state = vit_state(scale=False)
    named = {f"{before}{name}": tensor for name, tensor in state.items()}
    torch.testing.assert_close(in_timm(named, image), vit_forward(state, image, False), atol=1e-4, rtol=1e-4)


def test_a_dinov2_answers_as_in_transformers(image):
    state = vit_state(scale=True)
    found = in_timm(state, image, init_values=1.0)
    torch.testing.assert_close(found, vit_forward(state, image, True), atol=1e-4, rtol=1e-4)


def test_the_image_tower_of_a_siglip_answers_as_in_transformers(image):
    state = siglip_state()
    found = in_timm(state, image, class_token=False, global_pool="map")
    torch.testing.assert_close(found, siglip_forward(state, image), atol=1e-4, rtol=1e-4)


def test_other_names_stay():
    state = {"blocks.0.attn.qkv.weight": torch.zeros(3, 1)}
    assert with_timm_names(state) is state


def test_a_backbone_takes_them_and_resizes_positions():
    """``test_vit`` has registers, as the layouts have not; a network of timm's without."""
    backbone = Backbone("vit_tiny_patch16_224", (SIDE, SIDE))
    assert backbone.body.embed_dim == 192
    ours = backbone.body.state_dict()
    theirs = {}
    for name, tensor in ours.items():
        tensor = tensor.clone() if name != "pos_embed" else torch.randn(1, 1 + 9, 192)  # of 48 pixels
        for ours_part, part in THEIR_PARTS:
            name = name.replace(ours_part, part)
        name = name.replace("norm.", "layernorm.") if name.startswith("norm.") else name
        if ".attn.qkv." in name:
            for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                theirs[name.replace("attn.qkv", f"attention.attention.{part}")] = piece
        else:
            theirs[name] = tensor
    assert not set(theirs) & set(ours)
    load_backbone_weights(backbone, theirs, "theirs")
    loaded = backbone.body.state_dict()
    assert loaded["pos_embed"].shape == (1, 1 + TOKENS, 192)
    assert all(torch.equal(loaded[name], ours[name]) for name in ours if name != "pos_embed")
