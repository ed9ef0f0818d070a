"""The recipes of DR grading are the published settings, and each makes a run."""

import pytest

from modicum.engine.recipe.given_recipe import given_recipe
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.recipes import shipped_recipes
from modicum.transforms import PRESETS

NAMES = [name for name in shipped_recipes() if name.startswith("dr/")]


def resolved(name: str):
    return make_recipe("photographs", None, {}, given_recipe(name))


def test_the_reference_is_the_published_table():
    recipe = resolved("dr/reference")
    one = recipe.training_of("one_eye")
    assert (one.optimizer, one.momentum, one.nesterov, one.lr, one.weight_decay) == (
        "sgd",
        0.9,
        True,
        1e-3,
        5e-4,
    )
    assert (one.epochs, one.batch_size, one.warmup_epochs, one.clip_norm) == (25, 16, 0, 0)
    assert (one.schedule, one.schedule_by, one.min_lr, one.ema_decay) == ("cosine", "epoch", 0, 0)
    assert (one.loss, one.sampling, one.class_weights, one.monitor) == (
        "mse",
        "natural",
        "none",
        "quadratic_kappa",
    )
    assert (recipe.image.size, recipe.backbone.name, recipe.seed) == ((512, 512), "resnet50", 1)
    assert recipe.backbone.mean == (0.425753653, 0.297374517, 0.212937579)
    assert recipe.backbone.std == (0.276702310, 0.202405274, 0.168624178)
    assert recipe.config == {"fusion": False}
    assert recipe.image.filter == "lanczos", "as the release's tool crops and resizes"


def test_both_eyes_are_learned_with_the_published_settings():
    recipe = resolved("dr/both_eyes")
    both, one = recipe.training_of("both_eyes"), recipe.training_of("one_eye")
    assert (both.lr, both.schedule, both.epochs, both.batch_size, both.clip_norm) == (
        0.02,
        "constant",
        50,
        64,
        1,
    )
    assert (both.momentum, both.nesterov, both.weight_decay, both.loss) == (0.9, True, 5e-4, "mse")
    assert one == resolved("dr/reference").training_of("one_eye")
    names = [operation.name for operation in PRESETS[both.augment]]
    assert names.index("random_resized_crop") < names.index("color_jitter")
    of_one = [operation.name for operation in PRESETS[one.augment]]
    assert of_one.index("color_jitter") < of_one.index("random_resized_crop")
    assert sorted(names) == sorted(of_one)


def test_the_method_alone_has_the_recipes_settings():
    by_method = make_recipe("photographs", "dr_grading", {})
    by_recipe = resolved("dr/both_eyes")
    for stage in ("one_eye", "both_eyes"):
        given, own = by_recipe.training_of(stage), by_method.training_of(stage)
        assert given.model_copy(update={"monitor": None}) == own.model_copy(update={"monitor": None})
    assert (by_method.image, by_method.backbone) == (by_recipe.image, by_recipe.backbone)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_one_line_with_its_source(name):
    recipe = shipped_recipes()[name]
    assert "\n" not in recipe.summary
    assert "Huang et al." in recipe.source
    assert resolved(name).method in ("dr_grading", "lesion_contrast", "linear")


def test_linear_evaluation_trains_as_the_reference_does():
    linear, reference = resolved("dr/linear"), resolved("dr/reference")
    held = linear.training_of("tune")
    assert held.augment == "none", "the features are of the images as they are"
    same = held.model_copy(update={"augment": reference.training_of("one_eye").augment})
    assert same == reference.training_of("one_eye")
    assert (linear.image, linear.backbone, linear.seed) == (
        reference.image,
        reference.backbone,
        reference.seed,
    )


def test_lesion_contrast_is_the_published_table():
    recipe = resolved("dr/lesion_contrast")
    training = recipe.training_of("contrast")
    assert (training.batch_size, training.epochs, training.lr) == (768, 1000, 0.02), (
        "786 is a slip of the release"
    )
    assert (training.schedule, training.schedule_by, training.validate_every) == ("cosine", "epoch", 10)
    assert recipe.data.box_options == {"max_side": 128, "border": 5, "above_score": 0.8}
    by_method = make_recipe("photographs", "lesion_contrast", {})
    assert by_method.training == recipe.training
    assert by_method.config == recipe.config
