"""Which of the classes is outstanding, and the order of the others."""

from collections.abc import Sequence
from dataclasses import dataclass

from modicum.errors import InputError
from modicum.wording import listed

BEST = ("outstanding", "best", "good", "excellent", "normal", "healthy")
MIDDLE = ("gradable", "usable", "moderate", "acceptable")
WORST = ("ungradable", "reject", "rejected", "bad", "poor", "unusable")


@dataclass(frozen=True)
class Grades:
    """Numbers of classes by quality.

    Attributes:
        best: the class that is learned from.
        others: the other classes, the worst first.
    """

    best: int
    others: tuple[int, ...]


def grades_of(
    classes: Sequence[str], ordered: bool, best: str | None = None, made_up: bool = False
) -> Grades:
    """Finds the outstanding class and the order of two others by their names, or by their order.

    Args:
        classes: names.
        ordered: whether they are grades, the lowest first.
        best: name of the outstanding one; found by default.
        made_up: the classes stand for others (a prediction of memory): any order will do.

    Raises:
        InputError: it cannot be told, or there are more than three classes.
    """
    names = [name.strip().lower() for name in classes]
    ordered = ordered or (made_up and best not in classes and not set(names) & set(BEST))
    if len(classes) > 3:
        raise InputError(
            f"quality has {len(classes)} classes ({listed(classes)})",
            "give two or three: outstanding, gradable and ungradable images, or outstanding ones and others",
        )
    if best is not None:
        if best not in classes:
            raise InputError(
                f"best is '{best}', which is not among the classes ({listed(classes)})", "name one"
            )
        top = list(classes).index(best)
    else:
        top = next((names.index(name) for name in BEST if name in names), len(names) - 1 if ordered else -1)
    if top < 0:
        raise InputError(
            f"none of the classes ({listed(classes)}) is known as the outstanding one",
            "name it: --set best=NAME",
        )
    rest = [index for index in range(len(classes)) if index != top]
    if len(rest) < 2 or ordered:
        return Grades(top, tuple(rest))
    known = sorted(rest, key=lambda index: names[index] not in WORST)
    if names[known[0]] not in WORST and names[known[1]] not in MIDDLE:
        raise InputError(
            f"which of the classes {listed([classes[index] for index in rest])} is worse is not known",
            "call them gradable and ungradable, or give the classes in order: --classes ungradable,gradable,outstanding",
        )
    return Grades(top, tuple(known))
