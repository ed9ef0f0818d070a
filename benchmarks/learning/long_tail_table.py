"""Results of ``long_tail.py`` as Markdown: every method, SPMix against logit adjustment, which method for which tail.

    python benchmarks/learning/long_tail_table.py [--results FILE] [--page docs/methods/spmix.md]

With ``--page`` the tables go between that page's two marks. What is named for a group is the best mean over seeds and all
that are no further from it than the larger deviation of the two: no more can be said from so few seeds.
"""

import argparse
import json
import math
import statistics
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results" / "long_tail.json"
MARKS = ("<!-- tables of long_tail.py -->", "<!-- end of tables -->")
METRICS = {
    "balanced_accuracy": "balanced",
    "head_accuracy": "head",
    "medium_accuracy": "medium",
    "tail_accuracy": "tail",
    "macro_f1": "macro F1",
}
CONTROLS = ("shuffled", "roles", "constant", "contrast", "strict", "GPaCo, class")
"""Words of rows that are no method of their own: they are in the table, and not recommended."""
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""97.5 % points by number of seeds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    content = json.loads(options.results.read_text())
    text = "\n".join([*markdown_tables(content), *against(content), *advice(content)])
    print(text)
    if options.page is not None:
        page = options.page.read_text()
        before, _, rest = page.partition(MARKS[0])
        _, _, after = rest.partition(MARKS[1])
        options.page.write_text(f"{before}{MARKS[0]}\n{text}\n\n{MARKS[1]}{after}")


def markdown_tables(content: dict[str, Any]) -> list[str]:
    """A table for each training set: mean ± deviation over seeds, and in brackets the mean bounds over lesions."""
    lines: list[str] = []
    for profile, rows in content["rows"].items():
        counts = content[f"training images, {profile}"]
        named = ", ".join(f"{name} {count}" for name, count in counts.items())
        lines += ["", f"**{profile}**: {named}", "", f"| method | seeds | {' | '.join(METRICS.values())} |"]
        lines.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        for name, row in rows.items():
            lines.append(
                f"| {name} | {row['seeds']} | {' | '.join(words(row[metric]) for metric in METRICS)} |"
            )
    return lines


def words(value: dict[str, float | None]) -> str:
    """In percent."""
    text = f"{100 * value['mean']:.1f}"  # type: ignore[operator]
    if value["std"] is not None:
        text += f" ± {100 * value['std']:.1f}"
    if value["low"] is not None and value["high"] is not None:
        text += f" ({100 * value['low']:.0f}–{100 * value['high']:.0f})"
    return text


def against(content: dict[str, Any]) -> list[str]:
    """Differences of SPMix and its controls to logit adjustment, between runs of the same seed."""
    lines = ["", "| minus logit adjustment, in points | head | tail |", "| --- | ---: | ---: |"]
    for profile, rows in content["rows"].items():
        for name, row in rows.items():
            if "SPMix" not in name and "PaCo" not in name:
                continue
            parts = [row[f"{group}_accuracy against logit adjustment"] for group in ("head", "tail")]
            if all(parts):
                lines.append(f"| {name}, {profile} | {' | '.join(difference(part) for part in parts)} |")
    return lines


def difference(values: list[float]) -> str:
    """Mean with Student's interval over seeds."""
    mean = 100 * statistics.mean(values)
    if len(values) not in STUDENT:
        return f"{mean:+.1f}"
    half = 100 * STUDENT[len(values)] * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})"


def advice(content: dict[str, Any]) -> list[str]:
    """For each group and training set, the best methods."""
    profiles = list(content["rows"])
    lines = ["", f"| best for | {' | '.join(profiles)} |", f"| --- |{' --- |' * len(profiles)}"]
    for metric, title in METRICS.items():
        cells = [best(content["rows"][profile], metric) for profile in profiles]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


def best(rows: dict[str, dict[str, Any]], metric: str) -> str:
    """The best by mean, and those that cannot be told from it."""
    methods = {name: row[metric] for name, row in rows.items() if not any(word in name for word in CONTROLS)}
    order = sorted(methods, key=lambda name: -methods[name]["mean"])
    top = methods[order[0]]
    alike = [
        name
        for name in order[1:]
        if top["mean"] - methods[name]["mean"] <= max(top["std"] or 0.0, methods[name]["std"] or 0.0)
    ]
    text = f"{order[0]} ({100 * top['mean']:.1f})"
    return text + (f"; not told apart: {', '.join(alike)}" if alike else "")


if __name__ == "__main__":
    main()
