"""Splits a radiology report into sections.

A header is the text before a colon, in capitals, at the start of a line (``FINDINGS:``), or a known name in upper or
lower case. If a report is written in one line, known names in capitals count anywhere. A blank must follow the colon
of an unknown name, or times and ratios would be headers (``CT 10:30``); after a description of views anything but a
number may (``CHEST, TWO VIEWS:Clear``). Names are normalised: ``CONCLUSION:`` is the impression, ``CHEST, TWO VIEWS:``
and the like the findings (after the report processing of LoVT, Müller et al., ECCV 2022, arXiv 2112.02889).
"""

import re
from collections.abc import Iterable, Mapping, Sequence

PREAMBLE = "preamble"
"""Name of the text before the first header."""

_NAMES = {
    "findings": (
        "findings",
        "finding",
        "findngs",
        "fidings",
        "findins",
        "observations",
        "report",
        "findings and impression",
        "findings/impression",
        "impression and findings",
        "impression/findings",
    ),
    "impression": (
        "impression",
        "impressions",
        "impresson",
        "impresssion",
        "imprssion",
        "conclusion",
        "conclusions",
        "summary",
        "opinion",
        "final impression",
    ),
    "indication": (
        "indication",
        "indications",
        "reason for exam",
        "reason for examination",
        "reason for study",
    ),
    "history": ("history", "clinical history", "clinical information", "clinical indication"),
    "comparison": ("comparison", "comparisons", "comparison study"),
    "technique": ("technique", "procedure", "procedure comments"),
    "examination": ("examination", "exam", "type of examination", "study"),
    "recommendation": ("recommendation", "recommendations"),
    "notification": ("notification", "notifications"),
    "wet read": ("wet read",),
}
_CANONICAL = {spelling: name for name, spellings in _NAMES.items() for spelling in spellings}


def _any_of(names: Iterable[str]) -> str:
    """A regular expression for names, the longest first, with any blanks between their words."""
    longest_first = sorted(names, key=len, reverse=True)
    return "|".join(r"[ \t]+".join(map(re.escape, name.split())) for name in longest_first)


_KNOWN, _KNOWN_CAPITALS = _any_of(_CANONICAL), _any_of(name.upper() for name in _CANONICAL)
_CAPITALS = r"[A-Z0-9 \t()/,&\-]{0,79}"
# Headers of descriptions of views, after whose colon anything but a number may follow without a blank.
_VIEWS_CAPITALS = (
    rf"CHEST\b{_CAPITALS}|{_CAPITALS}\bPORTABLE\b{_CAPITALS}|{_CAPITALS}\b(?:VIEWS?|RADIOGRAPHS?)|"
    rf"(?:PA|AP|FRONTAL)\b{_CAPITALS}\bLATERAL\b{_CAPITALS}"
)
_HEADER = re.compile(
    rf"^[ \t]*(?P<line>[A-Z][A-Z0-9 \t()/,&\-]{{1,79}})[ \t]*:(?=\s|$)"
    rf"|^[ \t]*(?P<view>{_VIEWS_CAPITALS})[ \t]*:(?=[^\s\d:])"
    rf"|^[ \t]*(?P<known>(?i:{_KNOWN}))[ \t]*:"
    rf"|(?<=[\s.])(?P<inside>{_KNOWN_CAPITALS})[ \t]*:",
    re.MULTILINE,
)
# The header of a description of views counts as findings.
_VIEWS = re.compile(
    r"chest\b.*|.*\bportable\b.*|.*\b(?:view|views|radiograph|radiographs)|(?:pa|ap|frontal)\b.*\blateral\b.*"
)


def split_sections(text: str) -> dict[str, str]:
    """Splits a report into sections by canonical name, in order.

    Empty sections are left out. Of several with the same name the last non-empty one is kept, as an addendum corrects
    the text above it. Text before the first header is :data:`PREAMBLE`; a report without headers has only that.

    >>> split_sections("FINDINGS: Clear lungs.\\nConclusion: Normal.")
    {'findings': 'Clear lungs.', 'impression': 'Normal.'}
    """
    headers = list(_HEADER.finditer(text))
    starts = [0, *(header.end() for header in headers)]
    ends = [*(header.start() for header in headers), len(text)]
    names = [PREAMBLE, *(canonical_name(h[h.lastgroup or 0]) for h in headers)]
    sections: dict[str, str] = {}
    for name, start, end in zip(names, starts, ends, strict=True):
        content = text[start:end].strip()
        if content:
            sections.pop(name, None)  # so that it is ordered by its last occurrence
            sections[name] = content
    return sections


def canonical_name(header: str) -> str:
    """The canonical name of a header: known ones normalised, others in lower case.

    >>> canonical_name("PA AND LATERAL VIEWS OF THE CHEST"), canonical_name("Conclusions"), canonical_name("EKG")
    ('findings', 'impression', 'ekg')
    """
    name = " ".join(header.lower().split())
    if name in _CANONICAL:
        return _CANONICAL[name]
    return "findings" if _VIEWS.fullmatch(name) else name


def join_sections(sections: Mapping[str, str | None]) -> str:
    """Joins sections, for instance of two columns, to one text; the inverse of :func:`split_sections`.

    >>> join_sections({"findings": "Clear lungs.", "impression": "Normal.", "comparison": None})
    'FINDINGS: Clear lungs.\\nIMPRESSION: Normal.'
    """
    return "\n".join(
        f"{name.upper()}: {text.strip()}" for name, text in sections.items() if text and text.strip()
    )


def select_sections(text: str, names: Sequence[str] = ("findings", "impression")) -> str | None:
    """Selects sections of a report, in this order, without headers; None if it has none of them."""
    sections = split_sections(text)
    chosen = [sections[name] for name in names if name in sections]
    return "\n".join(chosen) or None
