"""Which of two classes is the positive one: the one whose images are to be found."""

import re
from collections.abc import Sequence

from modicum.errors import InputError, did_you_mean

NEGATIONS = frozenset(
    {"no", "non", "not", "without", "absent", "absence", "neg", "negative", "none", "false", "0"}
)
HEALTHY = frozenset(
    {
        "normal",
        "healthy",
        "benign",
        "control",
        "controls",
        "clear",
        "unremarkable",
        "uninfected",
        "unaffected",
    }
)


def negative_then_positive(
    classes: Sequence[str], positive: str | None, *, in_given_order: bool = False
) -> tuple[list[str], str]:
    """Two classes with the positive one second, and a note that says which it is and why.

    The rule, where nobody says: a class whose name denies something or means health (:data:`NEGATIONS`,
    :data:`HEALTHY`; two such words cancel, as in ``not normal``) is the negative one, if it is the only such one. Else
    the second is positive, by number or alphabet.

    Args:
        classes: two names.
        positive: the positive one, if the user says so.
        in_given_order: the user has put the classes in this order.

    Raises:
        InputError: ``positive`` is neither.
    """
    first, second = classes
    if positive is not None:
        if positive not in classes:
            raise InputError(
                f"positive class '{positive}' is neither of '{first}' and '{second}'",
                did_you_mean(positive, classes),
            )
        return _ordered(classes, positive, "as given")
    if in_given_order:
        return _ordered(classes, second, "the second of --classes")
    negative = [name for name in classes if denies(name, [other for other in classes if other != name])]
    if len(negative) == 1:
        other = first if negative[0] == second else second
        return _ordered(classes, other, f"'{negative[0]}' reads as its absence; --positive names another")
    return _ordered(classes, second, "the second in order, as no name says which; --positive names the other")


def denies(name: str, others: Sequence[str] = ()) -> bool:
    """Whether a name says that something is absent, or all is well: an odd number of such words.

    >>> [denies(name) for name in ("no covid", "NoFinding", "0", "not normal", "abnormal", "covid")]
    [True, True, True, False, False, False]

    Args:
        name: of a class.
        others: names of the other classes; ``noncovid`` denies ``covid`` where that is one.
    """
    words = _words(name)
    beside = {word for other in others for word in _words(other)}
    joined = sum(
        word.removeprefix(prefix) in beside
        for word in words
        for prefix in ("non", "no")
        if word.startswith(prefix)
    )
    return (sum(word in NEGATIONS or word in HEALTHY for word in words) + bool(joined)) % 2 == 1


def _words(name: str) -> list[str]:
    """The words of a name in small letters: ``NoFinding`` and ``no_finding`` are ``no``, ``finding``."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W_]+", apart.casefold())


def _ordered(classes: Sequence[str], positive: str, why: str) -> tuple[list[str], str]:
    negative = next(name for name in classes if name != positive)
    return [negative, positive], f"of two classes, '{positive}' is the positive one ({why})"
