"""Time and memory of all classification metrics with bootstrap intervals.

    OMP_NUM_THREADS=1 python benchmarks/bootstrap.py

Writes ``benchmarks/results/bootstrap.json``. Each case runs in a process of its own, so that its peak memory
is its own; the memory of the imports alone is given beside it, and processor seconds beside wall-clock seconds,
for a machine that others use too. Predictions are made, since time does not depend on how good they are. The
yardstick is what one would write first: resample the arrays, call scikit-learn, repeat.
"""

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

RESULTS = Path(__file__).parent / "results" / "bootstrap.json"
CASES = [
    {"kind": "multi-class", "images": 1_000, "classes": 5},
    {"kind": "multi-class", "images": 10_000, "classes": 5},
    {"kind": "multi-class", "images": 10_000, "classes": 5, "images_of_a_patient": 4},
    {"kind": "binary", "images": 10_000, "classes": 2},
    {"kind": "multi-label", "images": 10_000, "classes": 14},
    {"kind": "multi-class", "images": 100_000, "classes": 5},
]
RESAMPLES = 2000


def predictions(kind: str, images: int, classes: int):
    """Probabilities and truth that agree a little."""
    import numpy as np

    generator = np.random.default_rng(0)
    if kind == "multi-label":
        truth = (generator.random((images, classes)) < 0.1).astype(np.float64)
        return 1 / (1 + np.exp(2 - 2 * truth - generator.normal(size=truth.shape))), truth
    truth = generator.integers(classes, size=images)
    logits = generator.normal(size=(images, classes)) + np.eye(classes)[truth]
    probabilities = np.exp(logits)
    return probabilities / probabilities.sum(1, keepdims=True), truth


def megabytes() -> float:
    """Peak resident memory of this process so far (Linux gives kilobytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(case: dict, repeats: int) -> dict:
    """Runs in a fresh process."""
    from modicum.tasks.classification.evaluation import evaluate, metric_names, point_metrics

    probabilities, truth = predictions(case["kind"], case["images"], case["classes"])
    names = [f"c{number}" for number in range(case["classes"])]
    options = {"kind": case["kind"], "classes": names, "ordered": case["kind"] == "multi-class"}
    share = case.get("images_of_a_patient")
    groups = [f"p{row // share}" for row in range(case["images"])] if share else None
    before, seconds, processor, quick = megabytes(), [], [], []
    for _ in range(repeats):
        start, used = time.perf_counter(), time.process_time()
        evaluate(probabilities, truth, groups=groups, resamples=RESAMPLES, **options)
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
        start = time.perf_counter()
        point_metrics(probabilities, truth, **options)
        quick.append(time.perf_counter() - start)
    return case | {
        "metrics": len(metric_names(case["kind"], names, options["ordered"])),
        "resamples": RESAMPLES,
        "seconds": spread(seconds),
        "processor_seconds": spread(processor),
        "seconds_without_intervals": spread(quick),
        "peak_megabytes": round(megabytes()),
        "megabytes_before": round(before),
    }


def measure_loop(resamples: int = 10) -> dict:
    """The yardstick: scikit-learn on resampled arrays, 10,000 images of 5 classes, scaled up to 2,000."""
    import numpy as np
    from sklearn import metrics

    probabilities, truth = predictions("multi-class", 10_000, 5)
    generator = np.random.default_rng(0)
    start = time.process_time()
    for _ in range(resamples):
        rows = generator.integers(10_000, size=10_000)
        p, t = probabilities[rows], truth[rows]
        predicted = p.argmax(1)
        for index in range(5):
            metrics.roc_auc_score(t == index, p[:, index])
            metrics.average_precision_score(t == index, p[:, index])
        metrics.accuracy_score(t, predicted)
        metrics.balanced_accuracy_score(t, predicted)
        metrics.f1_score(t, predicted, average="macro")
        metrics.cohen_kappa_score(t, predicted, weights="quadratic")
        metrics.log_loss(t, p)
    each = (time.process_time() - start) / resamples
    return {
        "processor_seconds_a_resample": round(each, 4),
        "processor_seconds_for_2000": round(each * RESAMPLES, 1),
    }


def measure_kappa(repeats: int) -> dict:
    """Quadratic kappa of 50,000 predictions."""
    import numpy as np

    from modicum.tasks.classification.metrics import quadratic_kappa

    truth, predicted = np.random.default_rng(0).integers(5, size=(2, 50_000))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        quadratic_kappa(truth, predicted, 5)
        seconds.append(time.perf_counter() - start)
    return {"images": 50_000, "seconds": spread(seconds)}


def spread(seconds: list[float]) -> dict:
    return {
        "median": round(statistics.median(seconds), 5),
        "min": round(min(seconds), 5),
        "max": round(max(seconds), 5),
        "repeats": len(seconds),
    }


def machine() -> dict:
    import numpy
    import scipy
    import sklearn

    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": os.environ["OMP_NUM_THREADS"],
        "load_when_done": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--case", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.case:
        print(json.dumps(measure(json.loads(given.case), given.repeats)))
        return
    cases = []
    for case in CASES:
        command = [sys.executable, __file__, "--case", json.dumps(case), "--repeats", str(given.repeats)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        cases.append(json.loads(done.stdout))
        print(cases[-1], file=sys.stderr)
    results = {
        "command": "OMP_NUM_THREADS=1 python benchmarks/bootstrap.py",
        "machine": machine(),
        "cases": cases,
        "scikit_learn_loop": measure_loop(),
        "quadratic_kappa": measure_kappa(20),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(f"written: {RESULTS.relative_to(Path.cwd())}" if RESULTS.is_relative_to(Path.cwd()) else "written")


if __name__ == "__main__":
    main()
