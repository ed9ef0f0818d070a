"""Which classes are normal, and which groups of abnormal images there are."""

from collections.abc import Sequence

from modicum.errors import InputError, did_you_mean
from modicum.tasks.classification.positive_class import denies
from modicum.wording import listed


def normal_and_groups(
    classes: Sequence[str], normal: str | Sequence[str] | None, source: str = "the data"
) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """The normal classes, the others in their order, and a note that says which are which and why.

    Where nobody says: a single class is normal; of several, the one whose name denies something or means health
    (``0``, ``normal``, ``no finding``), if it is the only such one.

    Args:
        classes: all names, in order.
        normal: the normal ones, if the user says so.
        source: of the data, for messages.

    Raises:
        InputError: ``normal`` names no class, or nothing says which class is normal.
    """
    if normal is not None:
        names = tuple(str(name) for name in ([normal] if isinstance(normal, str) else normal))
        for name in names:
            if name not in classes:
                raise InputError(f"{source}: normal class '{name}' is no label", did_you_mean(name, classes))
        why = "as given"
    elif len(classes) == 1:
        names, why = (classes[0],), "the only class"
    else:
        names = tuple(name for name in classes if denies(name, [other for other in classes if other != name]))
        if len(names) != 1:
            quoted = listed([f"'{name}'" for name in classes], 6)
            raise InputError(
                f"{source}: of the classes {quoted} "
                + ("none reads as normal" if not names else "several read as normal"),
                f"name it, for instance --set normal={classes[0]}",
            )
        why = "its name says so; --set normal=NAME names another"
    groups = tuple(name for name in classes if name not in names)
    against = f", against {listed([f'“{name}”' for name in groups], 6)}" if groups else ""
    return names, groups, f"normal: {listed([f'“{name}”' for name in names], 6)} ({why}){against}"
