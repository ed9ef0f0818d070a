"""Decodes the bytes of a report file to text."""

import codecs
import re

LONGEST = 20_000
"""Maximum number of characters of a report: about ten times a long one. Longer texts are several reports in one."""

# Unicode's categories Cc, without line feed and tab, and Cs (surrogates cannot be encoded). Private use and
# unassigned characters are left to the tokenizer.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_MARKED = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def decode_report(content: bytes) -> tuple[str, str]:
    """Decodes a report; returns its text and detected encoding.

    A byte order mark sets the encoding; valid UTF-8 is UTF-8; anything else is decoded as Windows-1252, which hospital
    systems without Unicode write, if that gives a text.

    Raises:
        UnicodeError: the bytes are not text in any of these.

    >>> decode_report("Müller".encode("cp1252"))
    ('Müller', 'cp1252')
    """
    encoding = next((name for mark, name in _MARKED if content.startswith(mark)), None)
    if encoding is not None:
        text = content.decode(encoding)
    else:
        try:
            text, encoding = content.decode("utf-8"), "utf-8"
        except UnicodeDecodeError:
            text, encoding = content.decode("cp1252"), "cp1252"
    if "\0" in text or _share_of_controls(text) > 0.01:
        raise UnicodeError("control characters")
    return text, encoding.removesuffix("-sig")


def clean(text: str) -> str:
    """Normalises line breaks to ``\\n``, and removes control characters and blanks at both ends."""
    return _CONTROL.sub(" ", "\n".join(text.splitlines())).strip()


def _share_of_controls(text: str) -> float:
    return sum(c not in "\r\f\v" for c in _CONTROL.findall(text)) / max(1, len(text))
