"""How much faster several processes build the image store, and what a second builder of the same store does.

    python benchmarks/store_processes.py ../shared/data/fundus_dr_grading/images

One process decodes (``--workers 1``), then as many as there are cores; then two commands build the same store on a
shared folder at once: one builds, the other waits for it and decodes nothing. Ratios are taken within a round.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modicum.version import __version__

RESULTS = Path(__file__).parent / "results" / "store_processes.json"
BUILD = """
import json, sys, time
from pathlib import Path
from modicum.data.image import ImageRef
from modicum.data.stores.image_store import ImageStore, StoreSettings
from modicum.progress import set_quiet
set_quiet(True)
refs = [ImageRef(path) for path in sorted(Path(sys.argv[1]).rglob("*")) if path.suffix.lower() in (".jpg", ".png")]
refs = refs[: int(sys.argv[4])]
start = time.perf_counter()
store = ImageStore.build_or_open(refs, Path(sys.argv[2]), StoreSettings(224, 224), workers=int(sys.argv[3]), wait=600)
print(json.dumps({"seconds": time.perf_counter() - start, "images": len(refs)}))
"""


def started(images: Path, store: Path, workers: int, most: int) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", BUILD, str(images), str(store), str(workers), str(most)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)


def ended(process: "subprocess.Popen[str]") -> dict[str, float]:
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError("the store was not built")
    return dict(json.loads(output))


def one_round(images: Path, counts: list[int], most: int) -> dict[str, float]:
    """Seconds to build the store with each number of processes, and of two builders at once."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="store-") as folder:
        for count in counts:
            result = ended(started(images, Path(folder) / str(count), count, most))
            found[str(count)], found["images"] = result["seconds"], result["images"]
        start = time.perf_counter()
        for process in [started(images, Path(folder) / "shared", counts[-1], most) for _ in range(2)]:
            ended(process)
        found["two_builders"] = time.perf_counter() - start
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path, help="Folder of images.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most", type=int, default=10_000, help="Images at most.")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    parser.add_argument("--again", action="store_true", help="Measure again what was measured before.")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.out.is_file() and not arguments.again:
        parser.error(f"{arguments.out} is there: name another --out, or pass --again")
    rounds = [
        one_round(arguments.images, arguments.processes, arguments.most) for _ in range(arguments.rounds)
    ]
    first, last = map(str, (arguments.processes[0], arguments.processes[-1]))
    result: dict[str, Any] = {
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "load_average": round(os.getloadavg()[0], 1),
            "python": platform.python_version(),
            "modicum": __version__,
            "date": datetime.now(UTC).date().isoformat(),
        },
        "rounds": rounds,
        "times_faster": {
            "processes": int(last),
            "median": round(statistics.median(one[first] / one[last] for one in rounds), 2),
            "all": [round(one[first] / one[last], 2) for one in rounds],
        },
    }
    print(json.dumps(result, indent=1))
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
