"""Determines the classes of mask values: from the user's options, or from the codes in the masks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from modicum.errors import InputError
from modicum.tasks.segmentation.class_names import BACKGROUND, FOREGROUND
from modicum.tasks.segmentation.targets import EXAMPLE, LEVELS, Kind, MaskCodes, Range, among
from modicum.wording import listed

MOST_CLASSES = 64
"""Consecutive codes up to this number are taken as classes without the option 'codes'."""


def named_codes(
    codes: Mapping[str, Any], kind: Kind | None = None, ignored: Any = (), classes: Sequence[str] = ()
) -> MaskCodes:
    """Codes as a user writes them.

    Args:
        codes: by class, what :func:`ranges_of` reads. Without an entry for the background it has code 0, unless a class
            has it.
        kind: None for ``multi-label`` where ranges overlap, otherwise ``binary`` for one class and ``multi-class`` for
            several.
        ignored: codes that count nowhere.
        classes: order of the classes; that of ``codes`` by default.

    Raises:
        InputError: what is given cannot be read, or does not fit together.
    """
    ranges = {str(name): ranges_of(value, f"codes of '{name}'") for name, value in codes.items()}
    names = [str(name) for name in classes or ranges if str(name) != BACKGROUND]
    if not names:
        raise InputError("codes name no class but the background", f"give {EXAMPLE}")
    taken = np.stack([among(r) for r in ranges.values()]).sum(0)
    if BACKGROUND not in ranges and not taken[0]:
        ranges[BACKGROUND] = ((0, 0),)
    if kind is None:
        kind = "multi-label" if taken.max() > 1 else "binary" if len(names) == 1 else "multi-class"
    order = (BACKGROUND, *names) if kind == "multi-class" else tuple(names)
    if kind == "binary" and len(names) > 1:
        raise InputError(
            f"kind 'binary' with classes {', '.join(names)}", "use 'multi-class' or 'multi-label'"
        )
    return MaskCodes(kind, order, ranges, ranges_of(ignored, "ignored codes"))


def found_codes(
    seen: Iterable[int],
    classes: Sequence[str] = (),
    kind: Kind | None = None,
    source: str = "the masks",
    ignored: Any = (),
) -> MaskCodes:
    """What the codes of a set of masks probably mean.

    0 and 255, or 0 and 1: one class. 0, 1, 2, ... without a gap: one class each. Anything else is for the user to say.

    Args:
        seen: codes in all masks.
        classes: names of the foreground classes, in the order of codes 1, 2, ...; the background may be first.
        kind: ``binary`` takes every code but 0 for the class.
        source: what to call the masks in an error.
        ignored: codes that count nowhere, as :func:`ranges_of` reads them.

    Raises:
        InputError: the codes can mean several things, nothing is marked in any mask, or ``classes`` are too few.
    """
    left_out = ranges_of(ignored, "ignored codes")
    codes = sorted(code for code in set(seen) if not among(left_out)[code])
    names = [str(name) for name in classes if str(name) != BACKGROUND]
    if kind == "multi-label":
        raise InputError(
            f"{source}: kind 'multi-label' needs to know the codes of each class", f"give {EXAMPLE}"
        )
    if codes in ([], [0]):
        raise InputError(
            f"{source}: nothing is marked in any mask", "check that the masks are the right files"
        )
    if kind == "binary" or (kind is None and len(names) <= 1 and codes in ([0, 255], [0, 1], [255], [1])):
        if len(names) > 1:
            raise InputError(f"{source}: kind 'binary' with classes {', '.join(names)}", "name one class")
        name = names[0] if names else FOREGROUND
        nonzero = [code for code in range(1, LEVELS) if not among(left_out)[code]]
        present = tuple((code, code) for code in (nonzero if kind == "binary" else codes[-1:]))
        return MaskCodes("binary", (name,), {BACKGROUND: ((0, 0),), name: present}, left_out)
    return _numbered(codes, names, source, left_out)


def made_up_codes(outputs: int | None, kind: Kind | None = None) -> MaskCodes:
    """Codes for masks that are not available yet.

    Args:
        outputs: channels, including the background of exclusive classes; None for 1, or 2 if ``kind`` needs more.
        kind: None for ``binary`` with one channel, and ``multi-class`` with more.
    """
    if kind == "multi-label":
        return named_codes({f"class {code}": code for code in range(1, (outputs or 2) + 1)}, kind)
    if kind == "binary" or (kind is None and (outputs or 1) == 1):
        return found_codes([0, 255])
    return found_codes(range(max(2, outputs or 2)), kind="multi-class")


def _numbered(
    codes: Sequence[int], names: Sequence[str], source: str, ignored: tuple[Range, ...]
) -> MaskCodes:
    """One class a code, from 0 on."""
    last = codes[-1]
    gapless = codes in (list(range(last + 1)), list(range(1, last + 1)))
    if last >= MOST_CLASSES or (not gapless and not names):
        raise InputError(
            f"{source} have the codes {listed(codes, 8)}, which can mean several things",
            f"say what they mean with the option 'codes': {EXAMPLE}",
        )
    names = names or [f"class {code}" for code in range(1, last + 1)]
    if len(names) < last:
        raise InputError(
            f"{source} have code {last}, but {len(names)} foreground classes are named ({', '.join(names)})",
            "name one class for each code from 1 on, in order",
        )
    numbered = {name: ((code, code),) for code, name in enumerate((BACKGROUND, *names))}
    return MaskCodes("multi-class", (BACKGROUND, *names), numbered, ignored)


def codes_seen(masks: Iterable[UInt8[np.ndarray, "_ _"]]) -> set[int]:
    """All codes that occur in masks."""
    present = np.zeros(LEVELS, bool)
    for mask in masks:
        present |= np.bincount(mask.ravel(), minlength=LEVELS) > 0
    return set(np.flatnonzero(present).tolist())


def ranges_of(value: Any, what: str = "codes") -> tuple[Range, ...]:
    """Ranges as a user writes them: ``7``, ``"0-50"``, ``"0-50, 70"``, or a list of those.

    Raises:
        InputError: none of these, or beyond 0 to 255.

    >>> ranges_of("0-50, 70"), ranges_of([1, "3-4"])
    (((0, 50), (70, 70)), ((1, 1), (3, 4)))
    """
    parts = (
        value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    )
    ranges = []
    for part in parts:
        ends = [part] if isinstance(part, int) else str(part).split("-")
        try:
            first, last = int(ends[0]), int(ends[-1])
        except ValueError:
            first, last = 1, 0
        if not 0 <= first <= last < LEVELS or len(ends) > 2:
            raise InputError(f"{what}: '{part}' is not a code or a range", "write for instance 7 or '0-50'")
        ranges.append((first, last))
    return tuple(ranges)
