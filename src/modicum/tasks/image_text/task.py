"""Image and text: learning without labels, from images with their reports or from images alone."""

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
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
    load_tokenizer,
    read_reports,
    tokenizer_of_json,
)
from modicum.data.stores.report_store import Encoding, encode_reports, learned_tokenizer
from modicum.data.table_cells import spreadsheet_safe
from modicum.errors import InputError
from modicum.tasks.base import STORES, Example, Scores, Task, TaskOptions
from modicum.tasks.image_text.metric_table import METRICS, RETRIEVAL
from modicum.tasks.image_text.report_counts import (
    finding_sets,
    report_counts,
    report_digest,
    study_numbers,
)
from modicum.tasks.image_text.retrieval_scores import RetrievalScores
from modicum.tasks.image_text.scores import CompletionScores
from modicum.tasks.image_text.vocabulary_values import vocabulary_of, vocabulary_values
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
        whole: the same before sections of them were selected.
        stores: folder where encoded reports are kept for other stages and runs; None to keep nothing.
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
        stores: Path | None = None,
    ) -> None:
        self.options = options
        self.kind = "images with reports" if options.report_length else "images"
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary if tokenizer is None else tokenizer.vocabulary
        self._reports = reports
        # Held, so that targets of the same manifest find what was read of its files.
        self._whole = whole
        self._stores = stores
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
        stores: Path | None = options.get(STORES)
        if not settings.report_length:
            return cls(settings)
        cls.check_columns(manifest, options)
        whole = read_reports(manifest, stores=stores)
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
            tokenizer = load_tokenizer(settings.vocabulary)
        else:
            tokenizer = learned_tokenizer(texts, settings.vocabulary_size, stores)
        return cls(settings, tokenizer, reports=reports, whole=whole, stores=stores)

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

    def graph_outputs(self) -> tuple[str, ...]:
        return ("features",)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "options": self.options.model_dump(mode="json"),
            "vocabulary": None if self._vocabulary is None else vocabulary_values(self._vocabulary),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ImageText":
        stored = values.get("vocabulary")
        return cls(
            ImageTextOptions(**values["options"]),
            vocabulary=None if stored is None else vocabulary_of(stored),
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
        """Tokens, with their sentences where these are numbered; of the same reports only once."""
        assert self._tokenizer is not None, "an opened run tokenizes nothing without its tokenizer"
        if self._encoded is None or self._encoded[0].texts != reports.texts:
            encoding = Encoding(self.options.report_length, self.options.sentences)
            self._encoded = reports, encode_reports(self._tokenizer, reports.texts, encoding, self._stores)
        return self._encoded[1]

    def content_digests(self) -> dict[str, str]:
        return {} if self._reports is None else {"report": report_digest(self._reports)}

    def with_artefacts(self, read: Callable[[str], str | None], stores: Path | None = None) -> "ImageText":
        """The task of an opened run with its tokenizer, so that other reports can be read.

        Args:
            read: gives the text of a file in the run folder.
            stores: folder where encoded reports are kept; None to keep nothing.

        Raises:
            InputError: the tokenizer is not there.
        """
        if not self.options.report_length:
            return self
        if (text := read(TOKENIZER)) is None:
            raise InputError(f"the run has no {TOKENIZER}, which knows its words", "restore the run folder")
        made = ImageText(self.options, tokenizer_of_json(text), stores=stores)
        known = self._vocabulary
        if known is not None and vocabulary_values(made.vocabulary) != vocabulary_values(known):
            problem = f"{TOKENIZER} is not the one that the run has learned with"
            raise InputError(problem, "restore the run folder")
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
        """``tokens`` ``[rows, report_length]``, ``tokens_mask``, False for padding, and ``study`` ``[rows]``, the number
        of a row's study; nothing without reports.

        Where sentences are numbered also ``sentence_index`` (from 1; -1 for tokens of none) and ``finding_set``
        ``[rows]``, the number of a row's labels taken together (-1 where it has none). A row without a usable report has
        ``[CLS]`` alone.
        """
        if not self.options.report_length:
            return {}
        assert self._tokenizer is not None, "an opened run tokenizes nothing"
        reports = _selected(read_reports(manifest), self.options)
        numbered = self._numbered(reports)
        study = study_numbers(manifest, reports)
        if self.options.sentences:
            return {
                "tokens": numbered.tokens,
                "tokens_mask": numbered.mask,
                "sentence_index": numbered.sentence_index,
                "finding_set": finding_sets(manifest),
                "study": study,
            }
        return {"tokens": numbered.tokens.astype(np.int64), "tokens_mask": numbered.mask, "study": study}

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
                "study": np.arange(count, dtype=np.int64),
            }
        mask = np.ones_like(tokens, dtype=bool)
        return {"tokens": tokens, "tokens_mask": mask, "study": np.arange(count, dtype=np.int64)}

    def sampling_labels(self, targets: Mapping[str, np.ndarray]) -> np.ndarray:
        """The numbers of studies, for ``sampling=one_per_study``."""
        return targets["study"]

    @classmethod
    def samples_studies(cls, options: Mapping[str, Any]) -> bool:
        return bool(options.get("report_length"))

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
