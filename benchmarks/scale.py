"""Time and memory of each command on 1,000 to 400,000 made thumbnails, and the exponents they grow with.

    python benchmarks/scale.py --images 1000 4000 16000 64000

Images are 32 x 32 grey PNG files, all different: a layout that they share, noise of their own, and a bright spot in half
of them, which is what there is to learn. Two a patient, with a given split (80, 10, 10 %). Each command runs in a
process of its own, one thread a library; what was measured before is kept, and `--again` measures it anew.

Of a command it takes the wall time, the processor time (with its workers) and two peaks of memory: of its largest
process, as the kernel counts it (``ru_maxrss``), and of all its processes together (proportional set size, sampled).

The exponent of a part is the slope of log y against log n between the two largest sizes; 1 is linear. What 400,000
images would take is that line continued, and for memory the straight line through the same two points.
"""

import argparse
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from modicum.version import __version__

RESULTS = Path(__file__).parent / "results" / "scale.json"
SIDE, IN_FOLDER, WANTED = 32, 10_000, 400_000
LIMIT_GB = 4.0
SETTINGS = [
    "--backbone", "test_resnet", "--weights", "random", "--image-size", "32", "--batch-size", "256", "--epochs", "2",
    "--device", "cpu", "--runs", "runs", "--overwrite",
]  # fmt: skip
PARTS: dict[str, list[str]] = {
    "inspect": ["inspect", "labels.csv"],
    "fit (first)": ["fit", "labels.csv", "--method", "linear", *SETTINGS, "--name", "first"],
    "fit (stores kept)": ["fit", "labels.csv", "--method", "linear", *SETTINGS, "--name", "first"],
    "fit (split made)": ["fit", "own.csv", "--method", "linear", *SETTINGS, "--name", "own"],
    "predict": ["predict", "runs/first", "labels.csv", "--out", "predictions.csv"],
    "evaluate": ["evaluate", "runs/first", "labels.csv", "--split", "all", "--name", "everything"],
    "report": ["report", "runs/first"],
}
"""Command lines, in their order."""


def make_images(folder: Path, count: int) -> None:
    """Writes ``count`` different thumbnails, ``labels.csv`` with a split of patients and ``own.csv`` without."""
    generator = np.random.default_rng(0)
    layout = cv2.resize(generator.normal(size=(6, 6)).astype(np.float32), (SIDE, SIDE))
    spot = cv2.getGaussianKernel(SIDE, 3) @ cv2.getGaussianKernel(SIDE, 3).T
    lines = []
    for start in range(0, count, IN_FOLDER):
        place = folder / "images" / f"{start // IN_FOLDER:03d}"
        place.mkdir(parents=True)
        for number in range(start, min(start + IN_FOLDER, count)):
            coarse, fine = generator.normal(size=(8, 8)), generator.normal(size=(SIDE, SIDE))
            own = cv2.resize(coarse.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
            label = number // 2 % 2
            pixels = 110 + 25 * layout + 25 * own + 3 * fine + label * 60 * spot / spot.max()
            path = place / f"{number:06d}.png"
            path.write_bytes(cv2.imencode(".png", pixels.clip(0, 255).astype(np.uint8))[1].tobytes())
            split = {8: "val", 9: "test"}.get(number // 4 % 10, "train")
            lines.append(
                f"{path.relative_to(folder)},{('no', 'spot')[label]},patient{number // 2:06d},{split}"
            )
    (folder / "labels.csv").write_text("\n".join(["image,label,patient,split", *lines]) + "\n")
    without = [line.rpartition(",")[0] for line in ["image,label,patient,split", *lines]]
    (folder / "own.csv").write_text("\n".join(without) + "\n")


class TreeMemory(threading.Thread):
    """Samples the proportional set size of a process and its descendants. Attribute ``peak``: bytes."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self.ended = pid, 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.5):
            self.peak = max(self.peak, sum(proportional_bytes(pid) for pid in tree(self.pid)))


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            found += tree(int(child))
    return found


def proportional_bytes(pid: int) -> int:
    """Memory of one process, where what several share counts for each its part; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def measured(words: list[str], folder: Path) -> dict[str, float]:
    """Runs a command in a folder and returns what it took.

    Raises:
        RuntimeError: it failed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with (folder / "output.txt").open("w") as output:
        start = time.perf_counter()
        running = subprocess.Popen(
            [sys.executable, "-m", "modicum", *words],
            cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        memory = TreeMemory(running.pid)
        memory.start()
        _, status, usage = os.wait4(running.pid, 0)
        wall = time.perf_counter() - start
        memory.ended.set()
        memory.join()
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise RuntimeError(f"{' '.join(words)}: {(folder / 'output.txt').read_text()[-2000:]}")
    return {
        "wall_s": round(wall, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "largest_process_gb": round(usage.ru_maxrss * 1024 / 1e9, 3),
        "all_processes_gb": round(memory.peak / 1e9, 3),
    }


def files_of(folder: Path) -> dict[str, int]:
    """Bytes of what users open."""
    found = {"report.html": "runs/first/report.html", "predictions.csv": "predictions.csv"}
    return {name: (folder / path).stat().st_size for name, path in found.items() if (folder / path).is_file()}


def one_size(count: int, parts: list[str], parent: Path) -> dict[str, Any]:
    """All parts with one number of images."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"scale-{count}-", dir=parent))
    try:
        start = time.perf_counter()
        make_images(folder, count)
        print(f"{count:,} images made in {time.perf_counter() - start:.0f} s", flush=True)
        found: dict[str, Any] = {"parts": {}}
        for part in parts:
            found["parts"][part] = measured(PARTS[part], folder)
            print(f"{count:>8,} {part:20s} {found['parts'][part]}", flush=True)
        return found | {"bytes": files_of(folder)}
    finally:
        shutil.rmtree(folder)


def growth(sizes: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Exponents between the two largest sizes of each part, and what :data:`WANTED` images would take."""
    found = {}
    for part in PARTS:
        counts = sorted(int(count) for count in sizes if part in sizes[count]["parts"])
        if len(counts) < 2:
            continue
        n, m = counts[-2:]
        first, last = (sizes[str(count)]["parts"][part] for count in (n, m))
        exponents = {
            name: math.log(last[name] / first[name]) / math.log(m / n)
            for name in ("wall_s", "cpu_s", "largest_process_gb", "all_processes_gb")
        }
        found[part] = {f"exponent_{name}": round(value, 2) for name, value in exponents.items()}
        found[part]["wall_s_at_400000"] = round(
            last["wall_s"] * (WANTED / m) ** max(exponents["wall_s"], 1.0), 0
        )
        for name in ("largest_process_gb", "all_processes_gb"):
            slope = (last[name] - first[name]) / (m - n)
            found[part][f"{name}_at_400000"] = round(last[name] + slope * (WANTED - m), 2)
    return found


def machine() -> dict[str, Any]:
    """What ran it, without names."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load_average_at_start": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "modicum": __version__,
        "date": datetime.now(UTC).date().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 4000, 16000, 64000])
    parser.add_argument(
        "--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="Those that others need too."
    )
    parser.add_argument("--folder", type=Path, help="For the images and runs; the system's by default.")
    parser.add_argument("--again", action="store_true", help="Measure again what was measured before.")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    before = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {"sizes": {}}
    sizes: dict[str, Any] = before["sizes"]
    for count in arguments.images:
        known = sizes.get(str(count), {}).get("parts", {})
        if arguments.again or not set(arguments.parts) <= set(known):
            sizes[str(count)] = {
                **one_size(count, arguments.parts, arguments.folder or Path(tempfile.gettempdir())),
                "machine": machine(),
            }
            result = {"limit_gb": LIMIT_GB, "growth": growth(sizes), "sizes": sizes}
            arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(growth(sizes), indent=1))


if __name__ == "__main__":
    main()
