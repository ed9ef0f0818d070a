"""The tables of ``results.md`` from ``benchmarks/results/led_enhancement.json``.

    python benchmarks/learning/led/table.py

Scores are means over seeds. Intervals are of 95 %, over patients: each photograph's score is the mean over seeds, and
patients are drawn with replacement 2,000 times.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parents[2] / "results" / "led_enhancement.json"
RESAMPLES = 2000
GIVEN = ("degraded", "clean")
"""Photographs that nothing has enhanced; they have no seed."""
Line = dict[str, Any]
COLUMNS: dict[str, tuple[str, Callable[[Line], list[float]], tuple[str, ...], int]] = {
    "PSNR": (
        "dB",
        lambda line: [*line["vessels"]["psnr"], *line["graded"]["psnr"]],
        ("vessels", "graded"),
        2,
    ),
    "SSIM": ("", lambda line: [*line["vessels"]["ssim"], *line["graded"]["ssim"]], ("vessels", "graded"), 3),
    "sharpness error": (
        "",
        lambda line: [*line["vessels"]["sharpness_error"], *line["graded"]["sharpness_error"]],
        ("vessels", "graded"),
        2,
    ),
    "vessel Dice": ("", lambda line: line["dice"], ("vessels",), 3),
    "grades right": ("", lambda line: line["right"], ("graded",), 3),
    "distance from good": ("", lambda line: line["quality"], ("poor",), 1),
    "contrast": ("x 1000", lambda line: [1000 * one for one in line["contrast"]], ("poor",), 1),
    "low share of error": (
        "",
        lambda line: [*line["vessels"]["low_share"], *line["graded"]["low_share"]],
        ("vessels", "graded"),
        2,
    ),
    "PSNR but for colour": (
        "dB",
        lambda line: [*line["vessels"]["psnr_but_colour"], *line["graded"]["psnr_but_colour"]],
        ("vessels", "graded"),
        2,
    ),
}


def by_image(lines: list[Line], name: str, column: str, seeds: list[int]) -> np.ndarray:
    """A score of each photograph, the mean over seeds."""
    read = COLUMNS[column][1]
    return np.mean([read(line) for line in lines if line["name"] == name and line["seed"] in seeds], 0)


def interval(values: np.ndarray, patients: list[str]) -> tuple[float, float]:
    """Of the mean, over patients."""
    names, whose = np.unique(np.array(patients), return_inverse=True)
    sums, counts = np.bincount(whose, values), np.bincount(whose)
    drawn = np.random.default_rng(0).integers(len(names), size=(RESAMPLES, len(names)))
    low, high = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), [2.5, 97.5])
    return float(low), float(high)


def seeds_of(lines: list[Line], name: str) -> list[int]:
    return sorted({line["seed"] for line in lines if line["name"] == name})


def scores(lines: list[Line], names: list[str], columns: list[str]) -> list[str]:
    """A row an enhancer, a column a score."""
    heads = [f"{name} ({COLUMNS[name][0]})" if COLUMNS[name][0] else name for name in columns]
    rows = ["| | seeds | " + " | ".join(heads) + " |", "| --- | ---: |" + " ---: |" * len(columns)]
    for name in names:
        seeds = seeds_of(lines, name)
        cells = [
            f"{by_image(lines, name, column, seeds).mean():.{COLUMNS[column][3]}f}" for column in columns
        ]
        count = "" if name in GIVEN else str(len(seeds))
        rows.append(f"| {name} | {count} | " + " | ".join(cells) + " |")
    return rows


def gains(
    lines: list[Line], pairs: list[tuple[str, str]], columns: list[str], patients: dict[str, list[str]]
) -> list[str]:
    """A row a pair of enhancers: what the second has more than the first, with an interval."""
    rows = ["| | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for first, second in pairs:
        seeds = seeds_of(lines, second)
        if first not in GIVEN:
            seeds = [seed for seed in seeds if seed in seeds_of(lines, first)]
        if not seeds:
            continue
        cells = []
        for column in columns:
            of = [0] if first in GIVEN else seeds
            change = by_image(lines, second, column, seeds) - by_image(lines, first, column, of)
            whose = [one for name in COLUMNS[column][2] for one in patients[name]]
            low, high = interval(change, whose)
            digits = COLUMNS[column][3]
            cells.append(f"{change.mean():+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})")
        rows.append(f"| {second if first in GIVEN else f'{first} → {second}'} | " + " | ".join(cells) + " |")
    return rows


def main() -> None:
    content = json.loads(RESULTS.read_text())
    lines = content["lines"]
    patients = next(line["patients"] for line in lines if line["name"] == "degraded")
    names = list(dict.fromkeys(line["name"] for line in lines if line["name"] not in GIVEN))
    alone = [name for name in names if " + " not in name]
    behind = [(name.split(" + ")[0], name) for name in names if " + " in name]
    rivals = [name for name in alone if not name.startswith("led")]
    ordered = ["degraded", *(name for name in alone if name not in rivals)]
    for rival in rivals:
        ordered += [rival, *(name for before, name in behind if before == rival)]
    ordered.append("clean")
    pairs = [("degraded", name) for name in alone]
    known = ["PSNR", "SSIM", "sharpness error", "vessel Dice", "grades right"]
    of_poor = ["distance from good", "contrast"]
    of_colour = ["PSNR", "PSNR but for colour", "low share of error"]
    for title, rows in (
        ("Known pairs", scores(lines, ordered, known)),
        ("What LED adds behind each rival", gains(lines, behind, known, patients)),
        ("Against the degraded photographs", gains(lines, pairs, known, patients)),
        ("Poor photographs", scores(lines, ordered[:-1], of_poor)),
        ("Poor photographs, changes", gains(lines, [*pairs, *behind], of_poor, patients)),
        ("Colour", scores(lines, ordered[:-1], of_colour)),
    ):
        print(f"### {title}\n\n" + "\n".join(rows) + "\n")
    for name in ("degraded", *names, "clean"):
        found = [line for line in lines if line["name"] == name]
        kappa = np.round([next(iter(line["kappa"].values()), float("nan")) for line in found], 3)
        good = np.round([line["outstanding"] for line in found], 3)
        took = [line.get("seconds") for line in found]
        print(f"{name}: kappa {kappa}, called outstanding {good}, seconds of training {took}")


if __name__ == "__main__":
    main()
