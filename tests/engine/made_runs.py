"""Run folders of every method as training leaves them, without training: for the tests of what is done with runs."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from modicum.data.reports import Vocabulary
from modicum.engine.checkpoint import save_tensors
from modicum.engine.frozen_backbone import weights_origin
from modicum.engine.model import backbone_in, check_backbone, learned_of, make_method
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.run_folder import RunFolder, write_json
from modicum.methods import FitStage
from modicum.nn import learnable_parameters
from modicum.tasks import Classification, Task
from modicum.tasks.encoder import Encoder
from modicum.tasks.image_text.task import ImageText, ImageTextOptions
from modicum.tasks.image_to_image.task import ImageToImage, ImageToImageOptions
from modicum.tasks.segmentation.targets import MaskCodes
from modicum.tasks.segmentation.task import Segmentation, SegmentationOptions
from modicum.tasks.value_range import ValueRange

CLASSES = Classification("multi-class", ["a", "b", "c"])
TRANSLATION = ImageToImage(
    (1, 1), ImageToImageOptions(), ValueRange(0.0, 900.0, "percentile", background=0.0)
)
MASKS = Segmentation(
    "binary",
    {"mask": MaskCodes("binary", ("vessel",), {"vessel": ((1, 255),), "background": ((0, 0),)})},
    SegmentationOptions(),
)
GRADES = Classification("multi-class", ("0", "1", "2"), ordered=True, output="score")
SMALL_GAN = {"width": 4, "blocks": 1, "discriminator_width": 4, "registration_width": 4, "image_size": 32}
SMALL_DECODER = {"backbone": "test_resnet", "weights": "random", "architecture": "unet", "image_size": 32}
SMALL_ENCODER = {
    "backbone": "test_vit", "weights": "random", "image_size": 32, "decoder_width": 32, "decoder_depth": 1,
    "decoder_heads": 4,
}  # fmt: skip
SMALL_FPT = {"backbone": "test_vit", "weights": "random", "image_size": 64, "side_size": 32}
SMALL_REPORTS = {"report_width": 32, "report_depth": 1, "report_heads": 4, "report_length": 8}


def usual(method: str) -> tuple[Task, dict[str, Any]]:
    """A task and the smallest settings for a method."""
    if method == "reggan":
        return TRANSLATION, SMALL_GAN
    if method in {"segment", "aadg"}:
        return MASKS, SMALL_DECODER
    if method == "mae":
        return ImageText(ImageTextOptions(report_length=0, target_scale=1)), SMALL_ENCODER
    if method == "mrm":
        words = Vocabulary(24, np.zeros(24, dtype=bool), pad=0, unknown=1, start=2, mask=3)
        options = ImageTextOptions(report_length=8, target_scale=2)
        return ImageText(options, vocabulary=words), {**SMALL_ENCODER, **SMALL_REPORTS}
    if method in {"fpt", "fpt_plus"}:
        return CLASSES, SMALL_FPT
    if method == "lesion_contrast":
        return Encoder(), {"backbone": "test_resnet", "weights": "random", "image_size": 32}
    if method == "dr_grading":
        return GRADES, {"backbone": "test_resnet", "weights": "random", "image_size": 32}
    return CLASSES, {"backbone": "test_vit", "weights": "random", "image_size": 32}


def made_run(path: Path, method: str, task: Task | None = None, **settings: Any) -> RunFolder:
    """A run folder with weights that are not those of the start; a relative path of weights is as it is given.

    Args:
        path: of the new folder.
        method: by name.
        task: the method's usual by default.
        settings: besides :func:`usual` ones.
    """
    usual_task, small = usual(method)
    task = task or usual_task
    recipe = make_recipe("made", method, {**small, **settings})
    made = make_method(recipe, task, {}, lambda: ((0.3, 0.4, 0.5), (0.2, 0.3, 0.25)))
    _change(made.stages())
    folder = RunFolder(path)
    path.mkdir(parents=True)
    folder.recipe.write_text(recipe.to_yaml())
    content = {
        "schema": 1,
        "task": task.to_dict(),
        "weights_sha256": save_tensors(folder.weights, learned_of(made)),
        "frozen_backbone_sha256": check_backbone(made, None),
    }
    if content["frozen_backbone_sha256"] and (origin := weights_origin(recipe.backbone, folder)):
        content["frozen_backbone"] = origin
    if (backbone := backbone_in(made.predictor())) is not None:
        content["normalisation"] = backbone.normalisation
    write_json(folder.model, content)
    return folder


@torch.no_grad()
def _change(stages: Any) -> None:
    generator = torch.Generator().manual_seed(1)
    for stage in stages:
        if isinstance(stage, FitStage):
            stage.see({"image": torch.rand(7, 3, 32, 32, generator=generator)})
            stage.finish()
            continue
        for parameter in learnable_parameters(stage):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        for norm in stage.modules():
            if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) and not any(
                part is norm for part in _frozen_parts(stage)
            ):
                norm.running_mean.normal_(0, 0.1, generator=generator)
                norm.running_var.uniform_(0.5, 2, generator=generator)


def _frozen_parts(stage: nn.Module) -> list[nn.Module]:
    from modicum.nn import Frozen

    return [inner for part in stage.modules() if isinstance(part, Frozen) for inner in part.modules()]
