"""SPMix and GPaCo as methods."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from modicum.losses import GPaCoLoss
from modicum.methods.base import Context, Method, MethodConfig, Stage
from modicum.methods.long_tail import check_one_class, class_counts, fed_prior
from modicum.methods.spmix.config import GPaCoConfig, SPMixConfig
from modicum.methods.spmix.saliency_stage import SaliencyStage
from modicum.methods.spmix.stage import SPMixStage
from modicum.nn import Backbone, Classifier, linear_head
from modicum.nn.token_mixing import has_tokens, mixing_layer
from modicum.tasks.base import AuxiliaryImage


class GPaCo(Method):
    """Supervised contrast with class centres, corrected by the class prior."""

    name: ClassVar[str] = "gpaco"
    summary: ClassVar[str] = "long tails: supervised contrast with class centres, a queue and the class prior"
    source: ClassVar[str] = "Cui et al., TPAMI 2023 (arXiv 2209.12400)"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    Config: ClassVar[type[MethodConfig]] = GPaCoConfig
    training: ClassVar[Mapping[str, Any]] = {"weight_decay": 0.1}
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tune": {"augment": "none"}}
    """The views have augmentations of their own."""

    config: GPaCoConfig

    def __init__(self, config: GPaCoConfig, context: Context) -> None:
        super().__init__(config, context)
        training = {**context.training, **context.stage_training.get("tune", {})}
        own_loss = "GPaCo's loss (or pass --set contrast=false)" if config.contrast else None
        check_one_class(self.name, context, own_loss)
        backbone = context.backbone()
        network = Classifier(backbone, linear_head(backbone.num_features, context.task.num_outputs))
        counts = class_counts(context)
        self._stage = SPMixStage(
            network,
            config,
            self._mix(backbone),
            context.loss(),
            counts,
            self._contrast(counts, training) if config.contrast else None,
            context.task.classes,  # type: ignore[attr-defined]
            context.image_size,
        )

    def _mix(self, backbone: Backbone) -> str:
        """Where images are mixed."""
        return "none"

    def _labels_by(self, training: Mapping[str, Any]) -> str:
        """How the images whose labels are kept are drawn."""
        return str(training.get("sampling", "natural"))

    def _contrast(self, counts: Tensor | None, training: Mapping[str, Any]) -> GPaCoLoss:
        config = self.config
        prior = fed_prior(self.context, counts, self._labels_by(training), config.queue)
        return GPaCoLoss(
            config.projection,
            prior,
            queue=config.queue,
            temperature=config.temperature,
            alpha=config.same_class_weight,
            gamma=config.others_weight,
            label_smoothing=float(training.get("label_smoothing", 0.0)),
        )

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return self._stage.network

    def merge(self) -> nn.Module:
        return self._stage.network.eval()


class SPMix(GPaCo):
    """Rare classes on the backgrounds of common ones."""

    name: ClassVar[str] = "spmix"
    summary: ClassVar[str] = (
        "long tails: rare classes mixed onto common backgrounds by saliency, with supervised contrast"
    )
    source: ClassVar[str] = "arXiv 2406.10801 (2024); Sensors 2026, 26(11), 3343"
    Config: ClassVar[type[MethodConfig]] = SPMixConfig

    config: SPMixConfig

    def __init__(self, config: SPMixConfig, context: Context) -> None:
        super().__init__(config, context)
        self._saliency: SaliencyStage | None = None
        computed = config.saliency_by if config.saliency_by in ("fine_grained", "spectral_residual") else None
        if computed is not None and config.guide != "constant" and config.mix != "none":
            self._saliency = SaliencyStage(computed, context.image_size)

    @classmethod
    def auxiliary_images(cls, config: SPMixConfig) -> tuple[AuxiliaryImage, ...]:  # type: ignore[override]
        if config.mix == "none" or config.guide == "constant":
            return ()
        if config.saliency_by in ("column", "mask"):
            # Also a mask is read as a map: of 0 and 255, or of codes, whose contrast is what counts.
            column = "mask" if config.saliency_by == "mask" else "saliency"
            return (AuxiliaryImage(column, "saliency"),)
        return ()

    def _mix(self, backbone: Backbone) -> str:
        asked = self.config.mix
        if asked == "auto":
            return "tokens" if has_tokens(backbone) else "pixels"
        if asked in ("tokens", "features"):
            mixing_layer(backbone, asked)  # refused before anything is read
        return asked

    def _labels_by(self, training: Mapping[str, Any]) -> str:
        balanced = self.config.mix != "none" and self.config.foreground == "balanced"
        return SPMixStage.partner_sampling if balanced else super()._labels_by(training)

    def stages(self) -> Sequence[Stage]:
        return [self._stage] if self._saliency is None else [self._saliency, self._stage]
