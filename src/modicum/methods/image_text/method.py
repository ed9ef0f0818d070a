"""The frame of a method that learns from images with their reports, and its text network."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field, model_validator
from torch import nn

from modicum.data.reports import Vocabulary
from modicum.data.reports.bert_folder import bert_sizes, bert_weights
from modicum.data.weights_file import read_weights
from modicum.methods.base import Context, Method, MethodConfig, Stage
from modicum.methods.image_text.model import ImageTextModel
from modicum.methods.image_text.pairs import PairStage
from modicum.nn import Backbone, Bert, BertSize


class TextConfig(MethodConfig):
    """Settings of the text network, and of how reports are read."""

    text_weights: str | None = Field(
        None,
        description="Folder of a BERT (config.json, vocab.txt, model.safetensors), Bio_ClinicalBERT as published; "
        "its sizes and words are used. None: a BERT of the sizes below learns from the reports alone.",
    )
    text_width: int = Field(256, ge=1, description="Features of a token (768 as published).")
    text_depth: int = Field(4, ge=1, description="Layers of the text network (12 as published).")
    text_heads: int = Field(4, ge=1, description="Attention heads of a layer (12 as published).")
    text_hidden: int = Field(1024, ge=1, description="Hidden features of a layer (3,072 as published).")
    text_positions: int = Field(512, ge=2, description="Tokens that the text network can take.")
    text_segments: int = Field(2, ge=1, description="Segments of the text network; the first is used.")
    text_dropout: float = Field(
        0.1, ge=0, lt=1, description="Share of features and attention weights set to zero in training."
    )
    report_length: int = Field(256, ge=3, description="Tokens of a report; longer ones are cut.")
    max_sentences: int = Field(
        32, ge=1, description="Sentences of a report that are read; later ones are left out."
    )
    min_sentences: int = Field(
        1, ge=1, description="Reports of fewer sentences are not learned from (4 as published for MIMIC-CXR)."
    )
    shuffle_sentences: bool = Field(
        True, description="Put sentences in another order at every access, as published."
    )
    same_reports: str = Field(
        "excluded",
        pattern="^(excluded|negatives)$",
        description="Rows of a batch whose report is the same text: excluded from each other's negatives, or negatives "
        "like all others (as published, where a study is one row).",
    )

    @model_validator(mode="before")
    @classmethod
    def _sizes_of_weights(cls, values: Any) -> Any:
        """Sizes of the network in ``text_weights``, unless they are known already (in a run's own recipe)."""
        if not isinstance(values, dict) or not values.get("text_weights") or "text_width" in values:
            return values
        return {**values, **bert_sizes(values["text_weights"])}


def make_bert(config: TextConfig, vocabulary: Vocabulary, *, load: bool, pooler: bool = False) -> Bert:
    """The text network of a configuration.

    Args:
        config: its sizes.
        vocabulary: of the tokenizer.
        load: whether to read ``text_weights``; a run that is opened has its own.
        pooler: see :class:`~modicum.nn.Bert`.

    Raises:
        InputError: the weights cannot be read or do not fit.
    """
    size = BertSize(
        config.text_width,
        config.text_depth,
        config.text_heads,
        config.text_hidden,
        config.text_positions,
        config.text_segments,
    )
    bert = Bert(vocabulary.size, size, config.text_dropout, vocabulary.pad, pooler=pooler)
    if load and config.text_weights is not None:
        bert.load_weights(read_weights(bert_weights(config.text_weights)), config.text_weights)
    return bert


class ImageTextMethod(Method):
    """Learns an image network and a text network together; the image network is what later runs start from."""

    tasks: ClassVar[tuple[str, ...]] = ("image-text",)
    Config: ClassVar[type[MethodConfig]] = TextConfig
    image_backbone: Backbone
    pair_stages: Sequence[PairStage]

    @classmethod
    def task_options(cls, config: MethodConfig) -> Mapping[str, Any]:
        """Reports with numbered sentences; scored by how images and reports find each other."""
        assert isinstance(config, TextConfig)
        words = {} if config.text_weights is None else {"vocabulary": config.text_weights}
        return {
            "report_length": config.report_length,
            "sentences": config.max_sentences,
            "scores": "retrieval",
            **words,
        }

    def bert(self, config: TextConfig, context: Context, *, pooler: bool = False) -> Bert:
        """The text network for the task's vocabulary."""
        vocabulary: Vocabulary = context.task.vocabulary  # type: ignore[attr-defined]
        return make_bert(config, vocabulary, load=context.has_data, pooler=pooler)

    def stages(self) -> Sequence[Stage]:
        return self.pair_stages

    def image_text(self) -> ImageTextModel:
        return self.pair_stages[-1].model()

    def predictor(self) -> nn.Module:
        """The image network with its own pooling, from images in [0, 1]: what is transferred."""
        return self.image_backbone

    def merge(self) -> nn.Module:
        """The image network as a timm network, without a head."""
        return self.image_backbone.eval()
