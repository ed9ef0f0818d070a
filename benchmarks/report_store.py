"""Reading, splitting and tokenising the reports of many studies, and doing it again from the store.

    OMP_NUM_THREADS=1 python benchmarks/report_store.py --work DIR            # 200,000 made reports, a minute
    OMP_NUM_THREADS=1 python benchmarks/report_store.py --work DIR --studies 20000 --files 2000

Reports are those of made radiographs, each with a sentence of its own, in a table; some also as files. CPU seconds of one
thread: of a first run (reading, learning the vocabulary from 70 % of them, splitting and tokenising into the store)
and of a second one, as it would be with another seed. Writes ``benchmarks/results/report_store.json``.
"""

import argparse
import json
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import modicum  # noqa: F401 - before anything that imports torchvision

# isort: split
import numpy as np
import pandas as pd

from modicum.atomic_files import write_text
from modicum.data.manifest import Manifest
from modicum.data.phantoms.chest_findings import choose_findings, choose_locations
from modicum.data.phantoms.chest_report import report
from modicum.data.reports import read_reports
from modicum.data.stores.report_store import Encoding, encode_reports, learned_tokenizer
from modicum.engine.environment import environment

RESULTS = Path(__file__).parent / "results" / "report_store.json"
ENCODING = Encoding(256, 32)
DISTINCT = 4000
"""Made reports; each study adds a sentence of its own to one of them."""


def made_reports(count: int) -> list[str]:
    """Reports of made radiographs, without the images."""
    made = []
    for seed in range(min(count, DISTINCT)):
        found = choose_findings(seed, None)
        made.append(report(np.random.default_rng(seed), found, choose_locations(seed, found), 0.5))
    return [f"{made[number % len(made)]} Compared with study {number}." for number in range(count)]


def manifests(work: Path, studies: int, files: int) -> dict[str, Callable[[], Manifest]]:
    """The table of all studies, and the first of them as files; each call is as a new run would read it."""
    texts = made_reports(studies)
    folder = work / "files"
    folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(texts[:files]):
        (folder / f"s{number}.txt").write_text(text, encoding="utf-8")
    tables = {"table": texts, "files": [f"files/s{number}.txt" for number in range(files)]}
    return {
        name: lambda cells=cells: Manifest(pd.DataFrame({"image": "x.png", "report": cells}), work)
        for name, cells in tables.items()
    }


def measured(manifest: Manifest, stores: Path) -> dict[str, Any]:
    """CPU seconds of each step, and of all."""
    seconds, began = {}, time.process_time()

    def lap(name: str) -> None:
        nonlocal began
        now = time.process_time()
        seconds[name], began = now - began, now

    texts = read_reports(manifest, stores=stores).present()
    lap("read")
    tokenizer = learned_tokenizer(texts[: int(0.7 * len(texts))], 30_000, stores)
    lap("vocabulary")
    encode_reports(tokenizer, texts, ENCODING, stores)
    lap("encoded")
    per_second = len(texts) / (seconds["read"] + seconds["encoded"])
    return {"reports": len(texts), "seconds": seconds, "read_split_tokenised_a_second": per_second}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--studies", type=int, default=200_000)
    parser.add_argument("--files", type=int, default=20_000)
    given = parser.parse_args()
    found: dict[str, Any] = {"environment": environment()}
    for name, manifest in manifests(given.work, given.studies, given.files).items():
        stores = given.work / f"stores-{name}"
        shutil.rmtree(stores, ignore_errors=True)
        for run in ("first", "second"):
            found[f"{name}, {run} run"] = measured(manifest(), stores)
            print(f"{name}, {run} run: {found[f'{name}, {run} run']}", flush=True)
        found[f"{name}, bytes"] = sum(file.stat().st_size for file in stores.rglob("*") if file.is_file())
    found["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    write_text(RESULTS, json.dumps(found, indent=1, default=str) + "\n")
    print(f"peak memory {found['peak_bytes'] / 2**30:.2f} GiB")


if __name__ == "__main__":
    main()
