"""Image and text: learning without labels, from images with their reports or from images alone."""

import csv
import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modicum.data.manifest import Manifest
from modicum.data.prepared import StoreSettings
from modicum.data.reports import (
    NumberedReports,
    Reports,
    ReportTokenizer,
    Vocabulary,
    encode_sentences,
    load_tokenizer,
    read_reports,
    tokenizer_of_json,
    train_tokenizer,
)
from modicum.data.table_cells import spreadsheet_safe
from modicum.errors import InputError
from modicum.tasks.base import Example, Scores, Task, TaskOptions
from modicum.tasks.image_text.metric_table import METRICS, RETRIEVAL
from modicum.tasks.image_text.report_counts import finding_sets, report_counts
from modicum.tasks.image_text.retrieval_scores import RetrievalScores
from modicum.tasks.image_text.scores import CompletionScores
from modicum.tasks.metric import Metric, with_classes

TOKENIZER = "tokenizer.json"
"""The tokenizer's file in a run folder."""


class ImageTextOptions(TaskOptions):
    """Settings of images with reports."""

    report_length: int = Field(
        0, ge=0, description="Tokens of a report; 0: reports are not read. The method's setting decides."
    )
    target_scale: Literal[1, 2] = Field(
        1,
        description="Size that images are stored in, in sizes of the network's input. The method's setting decides.",
    )
    vocabulary: str | None = Field(
        None,
        description="A tokenizer.json or BERT vocab.txt; by default one is learned from the training rows' reports.",
    )
    vocabulary_size: int = Field(30_000, ge=5, description="Tokens of a learned vocabulary at most.")
    sentences: int = Field(
        0,
        ge=0,
        description="Sentences of a report that are numbered, later ones left out; 0: tokens do not know theirs. The "
        "method's setting decides.",
    )
    scores: Literal["completion", "retrieval"] = Field(
        "completion",
        description="What is measured: how well hidden parts are completed, or how well images and reports find each "
        "other. The method's setting decides.",
    )
    sections: list[Literal["findings", "impression"]] = Field(
        default_factory=list, description="Sections that reports are cut down to; all of a report by default."
    )


class ImageText(Task):
    """Images, with or without the reports that were written of them.

    Args:
        options: the task's settings.
        tokenizer: of the reports; None where they are not read, and in an opened run, whose weights know its words.
        vocabulary: of the tokenizer.
        reports: the reports as they were read, for notes about them.
    """

    name: ClassVar[str] = "image-text"
    Options: ClassVar[type[TaskOptions]] = ImageTextOptions
    metric_table: ClassVar[tuple[Metric, ...]] = METRICS
    needs_labels: ClassVar[bool] = False
    made_of_the_table: ClassVar[bool] = False

    def __init__(
        self,
        options: ImageTextOptions,
        tokenizer: ReportTokenizer | None = None,
        vocabulary: Vocabulary | None = None,
        reports: Reports | None = None,
        whole: Reports | None = None,
    ) -> None:
        self.options = options
        self.kind = "images with reports" if options.report_length else "images"
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary if tokenizer is None else tokenizer.vocabulary
        self._reports = reports
        # Held, so that targets of the same manifest find what was read of its files.
        self._whole = whole
        self._encoded: tuple[Reports, NumberedReports] | None = None

    @classmethod
    def from_manifest(cls, manifest: Manifest, options: Mapping[str, Any]) -> "ImageText":
        """Reads the reports, where the method does, and learns a vocabulary from those of the rows in ``train``.

        Raises:
            InputError: there is no column of reports, no training row has a usable one, or the vocabulary cannot be read.
        """
        own_options = {
            name: value for name, value in options.items() if name in ImageTextOptions.model_fields
        }
        settings = ImageTextOptions(**own_options)
        if not settings.report_length:
            return cls(settings)
        cls.check_columns(manifest, options)
        whole = read_reports(manifest)
        reports = _selected(whole, settings)
        rows = np.flatnonzero(manifest.table["split"].to_numpy() == "train")
        texts = reports.present(rows.tolist())
        if not texts:
            notes = "; ".join(reports.notes()) or "all cells are blank"
            raise InputError(
                f"{manifest.source}: no training image has a report that can be used ({notes})",
                "give training rows a report, or choose a method that learns from images alone",
            )
        if settings.vocabulary is not None:
            return cls(settings, load_tokenizer(settings.vocabulary), reports=reports, whole=whole)
        tokenizer = train_tokenizer(texts, settings.vocabulary_size)
        return cls(settings, tokenizer, reports=reports, whole=whole)

    @classmethod
    def check_columns(cls, manifest: Manifest, options: Mapping[str, Any]) -> None:
        if options.get("report_length") and "report" not in manifest.table:
            columns = ", ".join(str(name) for name in manifest.table.columns)
            raise InputError(
                f"{manifest.source}: no column 'report' (columns: {columns})",
                "name the column of the table with --report COLUMN, or choose a method that learns from images alone",
            )

    @classmethod
    def from_options(cls, options: Mapping[str, Any], num_classes: int | None = None) -> "ImageText":
        """Where reports are read, with the vocabulary that is named, or one as large as may be learned."""
        settings = ImageTextOptions(**options)
        if not settings.report_length:
            return cls(settings)
        if settings.vocabulary is not None:
            return cls(settings, load_tokenizer(settings.vocabulary))
        size = settings.vocabulary_size
        made_up = Vocabulary(size, np.zeros(size, dtype=bool), pad=0, unknown=1, start=2, mask=3)
        return cls(settings, vocabulary=made_up)

    @classmethod
    def store_settings(cls, image: StoreSettings, options: Mapping[str, Any]) -> StoreSettings:
        """Images that are learned from in more detail than the network sees are stored larger than its input."""
        scale = options.get("target_scale", 1)
        settings = super().store_settings(image, options)
        return replace(settings, height=scale * image.height, width=scale * image.width)

    def output_values(self) -> dict[str, Any]:
        """Features of an encoder."""
        return {"values": "features"}

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "options": self.options.model_dump(mode="json"),
            "vocabulary": None if self._vocabulary is None else _as_dict(self._vocabulary),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ImageText":
        stored = values.get("vocabulary")
        return cls(
            ImageTextOptions(**values["options"]),
            vocabulary=None if stored is None else _vocabulary_of(stored),
        )

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of the tokenizer for the ``tokens`` of batches."""
        assert self._vocabulary is not None, "reports are not read"
        return self._vocabulary

    @property
    def notes(self) -> list[str]:
        """Which reports were set aside or changed; where sentences are numbered, also which are missing, cut or alike."""
        if self._reports is None:
            return []
        counts = report_counts(self._reports, self._numbered(self._reports)) if self.options.sentences else []
        return [*self._reports.notes(), *counts]

    def _numbered(self, reports: Reports) -> NumberedReports:
        """Tokens with their sentences; of the same reports only once."""
        assert self._tokenizer is not None, "an opened run tokenizes nothing without its tokenizer"
        if self._encoded is None or self._encoded[0].texts != reports.texts:
            options = self.options
            encoded = encode_sentences(
                self._tokenizer, reports.texts, options.report_length, options.sentences
            )
            self._encoded = reports, encoded
        return self._encoded[1]

    def content_digests(self) -> dict[str, str]:
        if self._reports is None:
            return {}
        digest = hashlib.sha256()
        for text in self._reports.texts:
            digest.update(f"{text is None}\n{text}\0".encode())
        return {"report": digest.hexdigest()}

    def with_artefacts(self, read: Callable[[str], str | None]) -> "ImageText":
        """The task of an opened run with its tokenizer, so that other reports can be read.

        Raises:
            InputError: the tokenizer is not there.
        """
        if not self.options.report_length:
            return self
        if (text := read(TOKENIZER)) is None:
            raise InputError(f"the run has no {TOKENIZER}, which knows its words", "restore the run folder")
        made = ImageText(self.options, tokenizer_of_json(text))
        if self._vocabulary is not None and _as_dict(made.vocabulary) != _as_dict(self._vocabulary):
            raise InputError(
                f"{TOKENIZER} is not the one that the run has learned with", "restore the run folder"
            )
        return made

    @property
    def tokenizer(self) -> ReportTokenizer:
        """What makes tokens of reports; an opened run has one after :meth:`with_artefacts`."""
        assert self._tokenizer is not None, "reports are not read"
        return self._tokenizer

    def artefacts(self) -> dict[str, str]:
        """``tokenizer.json``, and ``reports.csv`` with a row for each report that was set aside or changed."""
        if self._tokenizer is None or self._reports is None:
            return {}
        listed = io.StringIO()
        table = csv.writer(listed, lineterminator="\n")
        table.writerow(["place", "what", "reason"])
        for what, unusual in (("set aside", self._reports.set_aside), ("changed", self._reports.changed)):
            table.writerows([spreadsheet_safe(item.origin), what, item.reason] for item in unusual)
        return {TOKENIZER: self._tokenizer.to_json(), "reports.csv": listed.getvalue()}

    def targets(self, manifest: Manifest) -> dict[str, np.ndarray]:
        """``tokens`` ``[rows, report_length]`` and ``tokens_mask``, False for padding; nothing without reports.

        Where sentences are numbered also ``sentence_index`` (from 1; -1 for tokens of none) and ``finding_set``
        ``[rows]``, the number of a row's labels taken together (-1 where it has none). A row without a usable report has
        ``[CLS]`` alone.
        """
        if not self.options.report_length:
            return {}
        assert self._tokenizer is not None, "an opened run tokenizes nothing"
        reports = _selected(read_reports(manifest), self.options)
        if self.options.sentences:
            numbered = self._numbered(reports)
            return {
                "tokens": numbered.tokens,
                "tokens_mask": numbered.mask,
                "sentence_index": numbered.sentence_index,
                "finding_set": finding_sets(manifest),
            }
        encoded = self._tokenizer.encode(reports.texts, self.options.report_length)
        return {"tokens": encoded.tokens, "tokens_mask": encoded.mask}

    def example_targets(self, count: int) -> dict[str, np.ndarray]:
        """Reports that are as long as reports may be."""
        length = self.options.report_length
        if not length:
            return {}
        tokens = np.full((count, length), self.vocabulary.unknown, dtype=np.int64)
        tokens[:, 0] = self.vocabulary.start
        if self.options.sentences:
            index = 1 + np.arange(length - 1) * self.options.sentences // (length - 1)
            index = np.concatenate([[-1], index]).astype(np.int16)
            return {
                "tokens": tokens.astype(np.int32),
                "tokens_mask": np.ones_like(tokens, dtype=bool),
                "sentence_index": np.tile(index, (count, 1)),
                "finding_set": np.full(count, -1, dtype=np.int64),
            }
        return {"tokens": tokens, "tokens_mask": np.ones_like(tokens, dtype=bool)}

    def sampling_labels(self, targets: Mapping[str, np.ndarray]) -> np.ndarray:
        """One group: all rows are sampled equally."""
        return np.zeros(len(targets["tokens"]), dtype=np.int64)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of a training stage's values for each image in validation, where hidden parts are completed."""
        return ("image", "report", "report_accuracy") if self.options.report_length else ("image",)

    @property
    def num_outputs(self) -> int:
        return len(self.outputs)

    @property
    def scored_in_pairs(self) -> bool:
        return self.options.scores == "retrieval"

    @property
    def monitor(self) -> str:
        return "mrr" if self.scored_in_pairs else "image"

    def metrics(self) -> dict[str, Metric]:
        if self.scored_in_pairs:
            return with_classes(RETRIEVAL, ())
        return with_classes((metric for metric in METRICS if metric.name in self.outputs), ())

    def scores(self) -> Scores:
        return RetrievalScores() if self.scored_in_pairs else CompletionScores(self.outputs)

    def loss(self, targets: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> nn.Module:
        """Raises :class:`~modicum.errors.InputError`: what is hidden, and so the loss, is the method's own."""
        raise InputError(
            f"task '{self.name}' has no loss of its own",
            "choose a method of this task: `modicum methods` lists them",
        )

    def activate(self, outputs: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return outputs

    def examples(self, scores: Scores, count: int) -> list[Example]:
        """Empty: a completed image is not a prediction."""
        return []


def _selected(reports: Reports, options: ImageTextOptions) -> Reports:
    return reports.select(options.sections) if options.sections else reports


def _as_dict(vocabulary: Vocabulary) -> dict[str, Any]:
    """JSON values; the tokens that continue a word as bits, in hexadecimal digits."""
    return {
        "size": vocabulary.size,
        "continuation": np.packbits(vocabulary.continuation).tobytes().hex(),
        **{name: getattr(vocabulary, name) for name in ("pad", "unknown", "start", "mask")},
    }


def _vocabulary_of(values: Mapping[str, Any]) -> Vocabulary:
    bits = np.frombuffer(bytes.fromhex(values["continuation"]), dtype=np.uint8)
    continuation = np.unpackbits(bits, count=values["size"]).astype(bool)
    return Vocabulary(**{**values, "continuation": continuation})
