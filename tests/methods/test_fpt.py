"""FPT and FPT+ as methods: the papers' defaults and counts, what learns, and prediction as in training."""

import pytest
import torch
from rivals import made
from torch.nn import functional as F

from modicum.engine.model import backbone_in
from modicum.errors import InputError
from modicum.methods import Context, method_class
from modicum.methods.fpt.config import side_pixels, tapped_layers
from modicum.nn import Backbone, Frozen, count_parameters, learnable_parameters
from modicum.nn.key_value_taps import KeyValueTaps
from modicum.tasks import Classification

NAMES = ("fpt", "fpt_plus")
SIZE = 64


def small(name, **config):
    """On ``test_vit`` (6 blocks of width 64) at 64 pixels, with side images of 32."""
    return made(name, "test_vit", SIZE, **{"side_size": 32, "rho": 0.5, **config})


def tuning(method):
    return method.stages()[-1]


def large_images(batch=3, size=SIZE, channels=3, seed=0):
    return torch.rand(batch, channels, size, size, generator=torch.Generator().manual_seed(seed))


def as_stored(method, images):
    """What the extract stages keep of images, as a batch of the tuning gets it."""
    features, side_images, _ = (stage.eval() for stage in method.stages())
    small_images = side_images({"image": images}).permute(0, 3, 1, 2) / 255
    return {"features": features({"image": images}), "image": small_images}


# --- the papers ---------------------------------------------------------------------------------------------------


def test_defaults_are_the_papers():
    for name, expected in {
        "fpt": ("all", 8, False, True, 224),
        "fpt_plus": ("last-half", 1, True, False, 128),
    }.items():
        found = method_class(name)
        config = found.Config()
        prompts = config.prompt_reduction or config.side_reduction
        own = config.layers, prompts, config.prompt_norm, config.prompt_projection
        assert (*own, config.side_size) == expected
        assert (config.rho, config.score, config.prefix_tokens) == (0.2, "global", "keep")
        assert (config.num_prompts, config.prompt_std, config.side_reduction) == (16, 1e-6, 8)
        assert (config.fusion_dropout, config.normalisation, config.views) == (0.5, "dataset", ["identity"])
        training = found.training
        assert (training["epochs"], training["batch_size"]) == (20, 16)
        assert (training["weight_decay"], training["clip_norm"], training["warmup_epochs"]) == (0.1, 1.0, 0)
        assert [step["name"] for step in training["augment"]] == [
            "horizontal_flip", "color_jitter", "random_resized_crop",
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "learnable"),
    [("fpt", {2: 1_602_050, 5: 1_602_341, 7: 1_602_535}), ("fpt_plus", {3: 900_771, 5: 900_965})],
)
def test_counts_with_vit_base_at_512_pixels(name, learnable):
    for classes, expected in learnable.items():
        method = made(name, "vit_base_patch16_224", 512, classes=classes, device="meta")
        assert sum(p.numel() for p in learnable_parameters(tuning(method))) == expected
        total, own = count_parameters(method.predictor())
        assert own == expected
        assert total - own == count_parameters(backbone_in(method.predictor()))[0]


def test_vit_base_at_384_pixels_has_86_million_parameters():
    with torch.device("meta"):
        backbone = Backbone("vit_base_patch16_384", (384, 384))
    assert count_parameters(backbone)[0] == 86_090_496
    assert 86_090_496 + 769 * 1000 == 86_859_496  # with its head


@pytest.mark.parametrize(("name", "layers", "depth"), [("fpt", range(12), 12), ("fpt_plus", range(6, 12), 6)])
def test_layers_of_vit_base(name, layers, depth):
    method = made(name, "vit_base_patch16_224", 512, device="meta")
    assert method.stages()[0].taps.module.layers == tuple(layers)
    assert len(tuning(method).network.side.blocks) == depth
    assert method.stages()[0].taps.module.tokens == 205


# --- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("all", [0, 1, 2, 3, 4, 5, 6]), ("last-half", [3, 4, 5, 6]), ("2-4", [2, 3, 4]), ("5", [5]),
        ("0,3,6", [0, 3, 6]), ("6,0-1", [0, 1, 6]), ("1,1", [1]),
    ],
)  # fmt: skip
def test_layers_by_range_list_and_name(text, layers):
    assert tapped_layers(text, 7) == layers


@pytest.mark.parametrize("text", ["7", "0-7", "4-2"])
def test_layers_that_are_not_there_are_refused(text):
    with pytest.raises(InputError, match="the backbone has 7 blocks; choose numbers from 0 to 6"):
        tapped_layers(text, 7)


def test_layers_as_a_list_of_numbers():
    assert method_class("fpt").Config(layers=[0, 3]).layers == "0,3"
    with pytest.raises(ValueError, match="write all, last-half, a range"):
        method_class("fpt").Config(layers="first")


@pytest.mark.parametrize(
    ("setting", "reason"),
    [({"layers": "2,9-6"}, "the range 9-6 is empty; write 6-9"), ({"side_size": 0}, "at least 1 pixel"),
     ({"side_size": "-5x32"}, "at least 1 pixel")],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(setting, reason):
    with pytest.raises(ValueError, match=reason):
        method_class("fpt").Config(**setting)


@pytest.mark.parametrize(
    ("size", "patch", "pixels"),
    [
        (224, (16, 16), (224, 224)), (128, (14, 14), (126, 126)), ((128, 100), (16, 16), (128, 96)),
        (8, (16, 16), (16, 16)),
    ],
)  # fmt: skip
def test_side_images_are_whole_patches(size, patch, pixels):
    assert side_pixels(size, patch) == pixels
    assert method_class("fpt").Config(side_size="128x96").side_size == (128, 96)


@pytest.mark.parametrize("backbone", ["test_resnet", "beit_base_patch16_224", "swin_tiny_patch4_window7_224"])
def test_backbones_that_are_no_plain_transformers_are_refused(backbone):
    with pytest.raises(InputError, match=rf"method fpt_plus .*'{backbone}'.*vit_base_patch16_224"):
        made("fpt_plus", backbone, 224, device="meta")


def test_views_that_the_side_image_does_not_have_are_refused_where_it_is_turned_too():
    small("fpt", views=["rot90"], side_size=(32, 16))
    with pytest.raises(InputError, match="'rot90' needs square images, these have 32x16 pixels"):
        small("fpt", views=["rot90"], side_size=(32, 16), aligned_views=True)


# --- what learns --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_step_changes_what_is_learned_and_nothing_else(name):
    method = small(name)
    stage, images = tuning(method), large_images(4)
    batch = {**as_stored(method, images), "label": torch.tensor([0, 1, 2, 3])}
    records = batch["features"].clone()
    frozen = {key: value.clone() for key, value in backbone_in(method.predictor()).state_dict().items()}
    learned = {key: value.clone() for key, value in stage.network.named_parameters()}
    for part in method.stages():
        part.train()
    (update,) = stage.updates()
    optimizer = torch.optim.AdamW(update.parameters, 1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        sum(update.losses(batch).values()).backward()
        assert all(parameter.grad.abs().max() > 0 for parameter in stage.network.parameters())
        optimizer.step()
    backbone = backbone_in(method.predictor())
    assert all(parameter.grad is None for parameter in backbone.parameters())
    assert not any(module.training for module in backbone.modules())
    assert all(torch.equal(value, frozen[key]) for key, value in backbone.state_dict().items())
    assert batch["features"].grad is None
    assert torch.equal(batch["features"], records)
    assert not any(torch.equal(value, learned[key]) for key, value in stage.network.named_parameters())


def test_the_frozen_network_is_no_part_of_the_tuning():
    for name in NAMES:
        stage = tuning(small(name))
        assert not any(isinstance(module, Frozen | KeyValueTaps | Backbone) for module in stage.modules())


# --- prediction ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8", "lowrank4"])
def test_the_predictor_is_the_tuned_stage_on_what_is_stored(name, dtype):
    method = small(name, store_dtype=dtype, prompt_std=0.5)
    images, stage = large_images(), tuning(method).eval()
    with torch.no_grad():
        expected = stage(as_stored(method, images))
        found = method.predictor().eval()(images)
    assert torch.equal(found, expected)
    assert found.std() > 0


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_moves_logits_by_less_than_a_thousandth_of_their_range(name):
    logits = {}
    for dtype in ("float32", "float16"):
        with torch.no_grad():
            logits[dtype] = small(name, store_dtype=dtype).predictor().eval()(large_images(8))
    width = logits["float32"].max() - logits["float32"].min()
    assert 0 < (logits["float16"] - logits["float32"]).abs().max() < 1e-3 * width


def test_single_precision_predicts_as_the_published_modules_would():
    """Taps, normalisation and side network called one after the other, without any codec."""
    method = small("fpt_plus", store_dtype="float32", prompt_std=0.5)
    features, _, stage = (part.eval() for part in method.stages())
    images = large_images()
    normalised = features.normalise(images)
    found = features.taps.module(normalised)
    keys, values, network = found[:, :, 0], found[:, :, 1], stage.network
    read = (network.fusion.queries() @ keys.transpose(-2, -1) / 32**0.5).softmax(-1) @ values
    read = read.permute(1, 0, 3, 2, 4).flatten(-2)
    fused = network.fusion.out(read + network.fusion.prompts)
    with torch.no_grad():
        small_images = F.interpolate(images, (40, 40), mode="bilinear", antialias=True)
        small_images = F.interpolate(
            (small_images * 255).round() / 255, (32, 32), mode="bilinear", antialias=True
        )
        expected = network.side(features.normalise(small_images), fused)
        logits = method.predictor().eval()(images)
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=0)


def test_both_images_are_normalised_with_the_training_images_statistics():
    found = method_class("fpt")
    task = Classification("multi-class", ["0", "1"])
    statistics = ((0.4844, 0.2238, 0.0758), (0.2939, 0.1472, 0.0635))  # Messidor-2
    context = Context(task, lambda: Backbone("test_vit", (SIZE, SIZE)), {}, {}, lambda: statistics)
    method = found(found.Config(side_size=32), context)
    for stage in (method.stages()[0], tuning(method)):
        white = stage.normalise(torch.ones(1, 3, 2, 2))[0, :, 0, 0].tolist()
        assert white == pytest.approx([(1 - m) / s for m, s in zip(*statistics, strict=True)], rel=1e-5)
    own = found(found.Config(side_size=32, normalisation="backbone"), context)
    assert own.stages()[0].normalise(torch.ones(1, 3, 2, 2)).unique().tolist() == pytest.approx([1.0])


def test_grey_images_are_as_three_equal_channels():
    for name in NAMES:
        network = small(name, prompt_std=0.5).predictor().eval()
        grey = large_images(channels=1)
        torch.testing.assert_close(network(grey), network(grey.expand(-1, 3, -1, -1)), atol=1e-4, rtol=0)


def test_side_images_are_never_enlarged():
    side_images = small("fpt", side_size=64).stages()[1]
    assert side_images({"image": large_images()}).shape == (3, SIZE, SIZE, 3)
    side_images = small("fpt", side_size=(32, 16)).stages()[1]
    assert side_images({"image": large_images()}).shape == (3, 40, 20, 3)


@pytest.mark.parametrize(
    "config",
    [{}, {"store_dtype": "int8"}, {"prefix_tokens": "drop"}, {"layers": "1,4", "score": "class_token"}],
)
@pytest.mark.parametrize("name", NAMES)
def test_a_prediction_is_explained_by_the_patches_that_were_read(name, config):
    method = small(name, prompt_std=0.5, **config)
    torch.nn.init.normal_(tuning(method).network.side.head.weight)
    for parameter in tuning(method).network.side.blocks.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.2)
    network, image = method.predictor().eval(), large_images(1)
    maps = [network.explain(image, output)[0] for output in range(5)]
    for found in maps:
        assert found.shape == (1, 1, 4, 4)
        assert (found >= 0).all()
        assert found.max() > 0
    assert not torch.allclose(maps[0] / maps[0].max(), maps[1] / maps[1].max(), atol=1e-3)
    assert network.explain(image, 0)[1] == "tokens read by the prompts"
    assert all(parameter.grad is None for parameter in network.parameters())


def test_prompts_of_fpt_follow_another_side_width():
    """The skip connection joins prompts and side network: they have one width unless somebody says otherwise."""
    network = small("fpt", side_reduction=16).stages()[-1].network
    assert network.fusion.prompts.shape[-1] == network.side.positions.shape[-1] == 64 // 16


@pytest.mark.parametrize("name", NAMES)
def test_the_large_image_has_512_pixels_unless_another_size_is_given(name):
    from modicum.engine.recipe.new_recipe import make_recipe

    assert make_recipe("data", name, {}).image.size == (512, 512)
    assert make_recipe("data", name, {"image_size": 384}).image.size == (384, 384)
