"""The stages of a method, in words, known without data or weights."""

from modicum.engine.recipe.new_recipe import make_recipe
from modicum.errors import ModicumError
from modicum.methods import ExtractStage, FitStage, Method, Stage
from modicum.planning.data_facts import assumed_facts
from modicum.planning.fake_method import fake_method


def stage_kinds(method: type[Method]) -> dict[str, str]:
    """By name, in their order, what kind each stage of a method is.

    The method is made with shapes and no values. Where that cannot be done (a backbone that timm no longer has, say), the
    kinds are not said.
    """
    try:
        recipe = make_recipe("data", method.name, {})
        stages = fake_method(recipe, assumed_facts(recipe)).stages()
    except (ModicumError, RuntimeError, TypeError, ValueError):
        return dict.fromkeys(method.stage_training, "")
    return {stage.name: _kind(stage) for stage in stages}


def _kind(stage: Stage) -> str:
    if isinstance(stage, ExtractStage):
        return "extracts once from each image, without learning"
    if isinstance(stage, FitStage):
        return "is fitted to the training images without gradients"
    return f"learns by gradients, {'scored by the task' if stage.scored else 'selected by its own loss'}"
