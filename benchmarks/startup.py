"""How long it takes to start: ``import modicum`` and ``modicum --help``, against their limits of 0.5 s and 1 s.

    python benchmarks/startup.py            # prints and writes benchmarks/results/startup.json

Each command runs in a fresh process, alternating with an empty ``python -c pass``, whose time is given beside it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import modicum": [sys.executable, "-c", "import modicum"],
    "modicum --version": [sys.executable, "-m", "modicum", "--version"],
    "modicum --help": [sys.executable, "-m", "modicum", "--help"],
    "modicum fit --help": [sys.executable, "-m", "modicum", "fit", "--help"],
}
LIMITS = {"import modicum": 0.5, "modicum --help": 1.0}


def measure(repeats: int) -> dict[str, list[float]]:
    """Wall-clock seconds of each command, ``repeats`` times in alternation, after one round to fill the caches."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(repeats + 1):
        for name, command in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            if number:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "startup.json")
    options = parser.parse_args()
    from modicum.engine.environment import environment

    seconds = measure(options.repeats)
    table = {
        name: {
            "median_s": round(statistics.median(values), 4),
            "least_s": round(min(values), 4),
            "most_s": round(max(values), 4),
            "limit_s": LIMITS.get(name),
        }
        for name, values in seconds.items()
    }
    result = {
        "command": f"python benchmarks/startup.py --repeats {options.repeats}",
        "date": time.strftime("%Y-%m-%d"),
        "repeats": options.repeats,
        "environment": environment(),
        "seconds": table,
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    for name, row in table.items():
        limit = f"   (limit {row['limit_s']} s)" if row["limit_s"] else ""
        print(f"{name:20s} {row['median_s']:.3f} s   {row['least_s']:.3f} to {row['most_s']:.3f}{limit}")


if __name__ == "__main__":
    main()
