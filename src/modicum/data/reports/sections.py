"""The sections of a radiology report.

A header is what stands before a colon, in capitals, at the start of a line (``FINDINGS:``), or one of the names that
are known here, in any case. Where a report was pressed into one line, known names in capitals count anywhere. A blank
must follow the colon of a name that is not known, or times and ratios would be headers (``CT 10:30``). Names are
brought to one spelling: ``CONCLUSION:`` is the impression, ``CHEST, TWO VIEWS:`` and the like the findings (after the
report processing of LoVT, Müller et al., ECCV 2022, arXiv 2112.02889).
"""

import re
from collections.abc import Iterable, Mapping, Sequence

PREAMBLE = "preamble"
"""What stands before the first header."""

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
    """A pattern of names, the longest first, whose words any blanks divide."""
    longest_first = sorted(names, key=len, reverse=True)
    return "|".join(r"[ \t]+".join(map(re.escape, name.split())) for name in longest_first)


_KNOWN, _KNOWN_CAPITALS = _any_of(_CANONICAL), _any_of(name.upper() for name in _CANONICAL)
_HEADER = re.compile(
    rf"^[ \t]*(?P<line>[A-Z][A-Z0-9 \t()/,&\-]{{1,79}})[ \t]*:(?=\s|$)"
    rf"|^[ \t]*(?P<known>(?i:{_KNOWN}))[ \t]*:"
    rf"|(?<=[\s.])(?P<inside>{_KNOWN_CAPITALS})[ \t]*:",
    re.MULTILINE,
)
# What was taken, as the header of what was found.
_VIEWS = re.compile(
    r"chest\b.*|.*\bportable\b.*|.*\b(?:view|views|radiograph|radiographs)|(?:pa|ap|frontal)\b.*\blateral\b.*"
)


def split_sections(text: str) -> dict[str, str]:
    """The sections of a report by their canonical names, in their order.

    Empty sections are left out. Of several with one name the last that says something wins, as an addendum corrects
    what stands above it. Text before the first header is :data:`PREAMBLE`; a report without headers is nothing else.

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
            sections.pop(name, None)  # so that its place is the later one's
            sections[name] = content
    return sections


def canonical_name(header: str) -> str:
    """A header's name: known ones in one spelling, others in lower case.

    >>> canonical_name("PA AND LATERAL VIEWS OF THE CHEST"), canonical_name("Conclusions"), canonical_name("EKG")
    ('findings', 'impression', 'ekg')
    """
    name = " ".join(header.lower().split())
    if name in _CANONICAL:
        return _CANONICAL[name]
    return "findings" if _VIEWS.fullmatch(name) else name


def join_sections(sections: Mapping[str, str | None]) -> str:
    """One text of sections that lie apart, for instance in two columns; :func:`split_sections` takes it apart again.

    >>> join_sections({"findings": "Clear lungs.", "impression": "Normal.", "comparison": None})
    'FINDINGS: Clear lungs.\\nIMPRESSION: Normal.'
    """
    return "\n".join(
        f"{name.upper()}: {text.strip()}" for name, text in sections.items() if text and text.strip()
    )


def select_sections(text: str, names: Sequence[str] = ("findings", "impression")) -> str | None:
    """Only these sections of a report, in this order, without headers; None where it has none of them."""
    sections = split_sections(text)
    chosen = [sections[name] for name in names if name in sections]
    return "\n".join(chosen) or None
