"""Near-duplicates that were looked for once are not looked for again, run after run on the same images.

What the search depends on (the content of every file, which rows are one patient's, the splits) is in the file's name, so
that nothing found earlier is ever used for other data. A file that cannot be read is as good as none.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from modicum.atomic_files import write_text
from modicum.data.checks.near_duplicates import NearPair

FOLDER = "near-duplicates"
"""Of the files, in the folder of the stores."""
FEWEST = 500
"""Of images that a file is worth."""
_VERSION = 1  # of the search: to be raised when it finds something else


def remembered(
    stores: Path | None, rows: Iterable[tuple[str, ...]], find: Callable[[], list[NearPair]]
) -> list[NearPair]:
    """What ``find`` finds, or found when it was last asked about the same rows.

    Args:
        stores: folder of the stores; None looks again every time.
        rows: all that ``find`` depends on.
    """
    known = list(rows)
    if stores is None or len(known) < FEWEST:
        return find()
    digest = hashlib.sha256(json.dumps([_VERSION, known]).encode()).hexdigest()
    path = stores / FOLDER / f"{digest[:32]}.json"
    found = _read(path, len(known))
    if found is None:
        found = find()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps([[pair.first, pair.second, pair.similarity] for pair in found]))
    return found


def _read(path: Path, count: int) -> list[NearPair] | None:
    try:
        pairs = [NearPair(int(a), int(b), float(s)) for a, b, s in json.loads(path.read_text("utf-8"))]
    except (OSError, ValueError, TypeError):
        return None
    usable = all(0 <= pair.first < pair.second < count and 0 <= pair.similarity <= 1 for pair in pairs)
    return pairs if usable else None
