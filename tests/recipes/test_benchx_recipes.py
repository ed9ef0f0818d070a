"""BenchX's recipes are the values of its code's configurations, and `full` is as it was where they are not asked for."""

import pytest
import torch
from torch import nn

from modicum.engine.recipe.given_recipe import given_recipe
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.methods.full import FullConfig, _prepared
from modicum.nn import Backbone
from modicum.recipes import shipped_recipes
from modicum.transforms import PRESETS

NAMES = [name for name in shipped_recipes() if name.startswith("benchx/")]
# config/classification/{NIH,CheXpert,RSNA,SIIM}/gloria.yml of the code: rate, batch, early_stop_metric.
PUBLISHED = {
    "nih": (1e-4, 64, "auroc"),
    "chexpert": (1e-5, 32, "auroc"),
    "rsna": (1e-4, 32, "macro_f1"),
    "siim": (1e-5, 128, "macro_f1"),
}


def resolved(name: str):
    return make_recipe("radiographs", None, {"weights": "random"}, given_recipe(name))


@pytest.mark.parametrize("data", PUBLISHED)
@pytest.mark.parametrize("percent", [1, 10, 100])
def test_classification_is_the_published_configuration(data, percent):
    recipe = resolved(f"benchx/{data}_{percent}pct")
    one = recipe.training
    assert (one.lr, one.batch_size, one.monitor) == PUBLISHED[data]
    assert (one.optimizer, one.weight_decay, one.clip_norm, one.schedule) == ("adam", 0, 1, "cosine")
    assert (one.epochs, one.validate_every, one.patience, one.select) == (200, 5, 10, "best")
    assert (recipe.seed, recipe.image.size, recipe.image.resize) == (42, (224, 224), "crop")
    assert recipe.backbone.mean == (0.4978,) * 3
    assert recipe.backbone.std == (0.2449,) * 3
    assert recipe.data.label_fraction == percent / 100
    assert recipe.config["backbone_lr_scale"] == 0.1
    assert recipe.config["head_norm"]
    crop, flip = PRESETS[one.augment]
    assert (crop.area, crop.aspect, flip.name) == ((0.08, 1.0), (3 / 4, 4 / 3), "horizontal_flip")


def test_all_are_one_line_with_their_source_and_take_any_encoder():
    assert len(NAMES) == 13
    for name in NAMES:
        shipped = shipped_recipes()[name]
        assert len(shipped.summary) < 120
        assert "2410.21969" in shipped.source
        assert shipped.weights is None
    upernet = resolved("benchx/siim_upernet")
    assert (upernet.training.optimizer, upernet.training.lr, upernet.training.batch_size) == (
        "adamw",
        2e-5,
        8,
    )
    assert (upernet.image.size, upernet.config["architecture"], upernet.method) == (
        (512, 512),
        "upernet",
        "segment",
    )


def test_a_layer_norm_stands_before_the_head_where_it_is_asked_for():
    plain = _prepared(Backbone("test_resnet", (32, 32)), FullConfig(), 3)
    normed = _prepared(Backbone("test_resnet", (32, 32)), FullConfig(pool="auto", head_norm=True), 3)
    assert [type(part) for part in plain] == [nn.Dropout, nn.Linear]
    assert [type(part) for part in normed] == [nn.LayerNorm, nn.Dropout, nn.Linear]
    features = torch.randn(4, normed[0].normalized_shape[0]) * 50 + 7
    assert normed[0](features).mean(1).abs().max() < 1e-5


def test_patches_of_a_transformer_are_averaged_and_have_one_norm():
    backbone = Backbone("test_vit", (32, 32))
    head = _prepared(backbone, FullConfig(pool="auto", head_norm=True), 3)
    assert not any(isinstance(part, nn.LayerNorm) for part in head)
    assert isinstance(backbone.body.fc_norm, nn.LayerNorm)
    assert backbone.body.global_pool == "avg"
