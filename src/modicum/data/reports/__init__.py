"""Radiology reports: from files and table cells to texts, sections, sentences and tokens."""

from modicum.data.reports.placeholders import PLACEHOLDER, normalise_placeholders
from modicum.data.reports.sections import join_sections, select_sections, split_sections
from modicum.data.reports.sentence_tokens import NumberedReports, encode_sentences
from modicum.data.reports.sentences import split_sentences
from modicum.data.reports.texts import Reports, Unusual, read_reports
from modicum.data.reports.tokenizer import (
    EncodedReports,
    ReportTokenizer,
    Vocabulary,
    load_tokenizer,
    tokenizer_of_json,
    train_tokenizer,
)
from modicum.data.reports.word_masking import masked_words

__all__ = [
    "PLACEHOLDER",
    "EncodedReports",
    "NumberedReports",
    "ReportTokenizer",
    "Reports",
    "Unusual",
    "Vocabulary",
    "encode_sentences",
    "join_sections",
    "load_tokenizer",
    "masked_words",
    "normalise_placeholders",
    "read_reports",
    "select_sections",
    "split_sections",
    "split_sentences",
    "tokenizer_of_json",
    "train_tokenizer",
]
