"""Normalises placeholders of words removed by de-identification.

MIMIC-CXR writes ``___``, the Indiana University reports ``XXXX``, MIMIC-III ``[**2101-3-4**]``.
"""

import re

PLACEHOLDER = "___"
"""Placeholder of a removed word. The tokenizers here keep it as one word."""

# The content of brackets is invented by the provider (a shifted date, a kind of name) and unrelated to the image.
_REMOVED = re.compile(r"\[\*\*[^\[\]]{0,200}?\*\*\]|_*X{4,}_*|(?<!\w)XXX(?!\w)|(?<![^\W_])_{2,}(?![^\W_])")


def normalise_placeholders(text: str) -> str:
    """Replaces the marks of removed words by :data:`PLACEHOLDER`.

    >>> normalise_placeholders("Normal chest x-XXXX. Seen by [**Last Name 12**] on _____.")
    'Normal chest x-___. Seen by ___ on ___.'
    """
    return _REMOVED.sub(PLACEHOLDER, text)
