"""Splits a report into sentences."""

import re

_ABBREVIATIONS = (
    "a.m",
    "approx",
    "cf",
    "dr",
    "drs",
    "e.g",
    "etc",
    "fig",
    "i.e",
    "mr",
    "mrs",
    "ms",
    "p.m",
    "pt",
    "s.p",
    "st",
    "vs",
)
_ENDS_IN_ABBREVIATION = re.compile(
    rf"(?:^|[^\w.])(?:{'|'.join(map(re.escape, _ABBREVIATIONS))})\.$", re.IGNORECASE
)
# A full stop, closing brackets or quotes, blanks, and a character that can begin a sentence.
_STOP = re.compile(r"(?<=[.?!])(?P<close>[)\]\"'”’]*)\s+(?=[\"'“‘(\[]*[A-Z0-9_])")
_NUMBER = re.compile(r"(?:(?<=\s)|^)(\d{1,2})[.)]\s+(?=[\"'(\[]*[A-Z_])")
_PARAGRAPH = re.compile(r"\n[ \t]*\n")


def split_sentences(text: str) -> list[str]:
    """Splits a text into sentences, each on one line.

    Sentences end at full stops before a character that can begin one (not after ``Dr.`` or ``vs.``, not inside
    ``1.2 cm``), at blank lines, and before the numbers of a list, which are left out. A number without a full stop
    before it counts as a list number only if it continues a list: ``1. Cardiomegaly 2. Effusion``.

    >>> split_sentences("Nodule of 1.2 cm. No effusion.\\nIMPRESSION as above vs. before. 1. Nodule 2. No effusion")
    ['Nodule of 1.2 cm.', 'No effusion.', 'IMPRESSION as above vs. before.', 'Nodule', 'No effusion']
    """
    sentences = []
    for paragraph in _PARAGRAPH.split(text):
        for item in _list_items(" ".join(paragraph.split())):
            sentences += _at_stops(item)
    return [sentence for sentence in sentences if re.search(r"\w", sentence)]


def _list_items(text: str) -> list[str]:
    """The text between the numbers of lists."""
    items, start, last = [], 0, 0
    for match in _NUMBER.finditer(text):
        number, before = int(match[1]), text[start : match.start()].rstrip()
        continues = number == last + 1 and last > 0
        if not (continues or (number == 1 and (not before or before[-1] in ".?!:"))):
            continue
        items.append(before)
        start, last = match.end(), number
    return [*items, text[start:]]


def _at_stops(text: str) -> list[str]:
    sentences, start = [], 0
    for match in _STOP.finditer(text):
        sentence = text[start : match.start()] + match["close"]
        if _ENDS_IN_ABBREVIATION.search(sentence):
            continue
        sentences.append(sentence.strip())
        start = match.end()
    return [*sentences, text[start:].strip()]
