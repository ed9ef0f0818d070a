"""Peak memory of scoring many images: it must not grow with their number by more than what is kept of each.

    python benchmarks/one_class_memory.py --work DIR

Made thumbnails of 64 pixels (angiograms of ``tests/methods/octa_phantoms.py``, linked under many names). Each prediction
runs in a process of its own, which says its peak resident memory; the line through both numbers of images gives what an
image costs. ``octa_quality`` decides over all images together and keeps scores and an embedding of each until then.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import modicum
from modicum.engine.environment import environment

RESULTS = Path(__file__).parent / "results" / "one_class_memory.json"
SHARED = {
    "backbone": "test_resnet", "weights": "random", "image_size": 64, "leaks": "allow", "resamples": 0, "workers": 0,
    "write_report": False, "device": "cpu", "resume": True,
}  # fmt: skip
METHODS: dict[str, dict[str, object]] = {
    "patchcore": {}, "padim": {"channels": 16}, "octa_quality": {"scorers": ["pooled"]},
}  # fmt: skip
DISTINCT = 100
COUNTS = {
    "train": {"outstanding": 60},
    "val": {"outstanding": 30},
    "test": {"outstanding": 5, "gradable": 5, "ungradable": 5},
}
SCORE = """
import sys
from modicum import Run
from pathlib import Path
Run.open(sys.argv[1]).predict([Path(sys.argv[2])], sys.argv[3], device="cpu")
# Not ru_maxrss, which a process has from the one that started it.
words = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print("peak", 1024 * int(words.split()[1]))
"""


def folder_of(work: Path, sources: list[Path], count: int) -> Path:
    """A folder with so many images, hard links of a few."""
    folder = work / f"images{count}"
    folder.mkdir(exist_ok=True)
    for number in range(count):
        link = folder / f"{number:06d}.png"
        if not link.exists():
            link.hardlink_to(sources[number % len(sources)])
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--images", type=int, nargs=2, default=[500, 2500])
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "methods"))
    from octa_phantoms import write

    given.work.mkdir(parents=True, exist_ok=True)
    table = write(given.work / "data", COUNTS)
    sources = sorted((given.work / "data").glob("*.png"))[:DISTINCT]
    found = {}
    for method, settings in METHODS.items():
        more = {} if method == "octa_quality" else {"normal": "outstanding"}
        run = modicum.fit(
            table, method, name=method, runs=given.work / "runs", **{**SHARED, **more, **settings}
        )
        peaks = []
        for count in given.images:
            images = folder_of(given.work, sources, count)
            arguments = [
                sys.executable, "-c", SCORE, str(run.path), str(images), str(given.work / f"{method}{count}.csv"),
            ]  # fmt: skip
            done = subprocess.run(arguments, check=True, capture_output=True, text=True)
            peaks.append(int(done.stdout.split("peak ")[1]))
        each = (peaks[1] - peaks[0]) / (given.images[1] - given.images[0])
        found[method] = {
            "peak_bytes": dict(zip(map(str, given.images), peaks, strict=True)),
            "bytes_an_image": each,
        }
        print(method, found[method], flush=True)
    content = {"date": time.strftime("%Y-%m-%d"), "methods": found, "environment": environment()}
    given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
