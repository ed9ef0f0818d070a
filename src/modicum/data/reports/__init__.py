"""Radiology reports: from files and table cells to texts, sections, sentences and tokens."""

from modicum.data.reports.placeholders import PLACEHOLDER, normalise_placeholders
from modicum.data.reports.sections import join_sections, select_sections, split_sections
from modicum.data.reports.sentences import split_sentences
from modicum.data.reports.texts import Reports, Unusual, read_reports
from modicum.data.reports.tokenizer import (
    EncodedReports,
    ReportTokenizer,
    Vocabulary,
    load_tokenizer,
    train_tokenizer,
)
from modicum.data.reports.word_masking import masked_words

__all__ = [
    "PLACEHOLDER",
    "EncodedReports",
    "ReportTokenizer",
    "Reports",
    "Unusual",
    "Vocabulary",
    "join_sections",
    "load_tokenizer",
    "masked_words",
    "normalise_placeholders",
    "read_reports",
    "select_sections",
    "split_sections",
    "split_sentences",
    "train_tokenizer",
]
