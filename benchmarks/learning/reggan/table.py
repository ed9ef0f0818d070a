"""Renders ``benchmarks/results/reggan_modes.json`` as the tables of the docs.

    python benchmarks/learning/reggan/table.py                       # every metric
    python benchmarks/learning/reggan/table.py --metric nmae

A row a mode, a column a misalignment level: the mean over seeds and their range. The last column is the change from
the lowest level to the highest, of the means.
"""

import argparse
import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "results" / "reggan_modes.json"
NAMES = {
    "p": "`p` (Pix2Pix)",
    "nc": "`nc`",
    "nc+r": "**`nc+r` (RegGAN)**",
    "c": "`c` (CycleGAN)",
    "c+r": "`c+r`",
}
METRICS = {
    "nmae": ("NMAE, lower is better", 3),
    "psnr_foreground": ("PSNR over the foreground, dB", 2),
    "ssim_foreground": ("SSIM over the foreground", 3),
    "psnr_release": ("PSNR as the release computed it, dB", 2),
    "ssim_release": ("SSIM as the release computed it", 3),
}


def modes_table(cells: list[dict[str, Any]], metric: str) -> str:
    """A Markdown table of one metric.

    Args:
        cells: ``mode``, ``level``, ``seed`` and metrics of each run.
        metric: a key of METRICS.
    """
    title, digits = METRICS[metric]
    levels = sorted({cell["level"] for cell in cells})
    values: dict[tuple[str, int], list[float]] = {}
    for cell in cells:
        values.setdefault((cell["mode"], cell["level"]), []).append(cell[metric])
    seeds = sorted({len(found) for found in values.values()})
    counts = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    heads = [f"{title}; seeds: {counts}", *(f"level {level}" for level in levels), "change"]
    lines = [heads, ["---"] * len(heads)]
    for mode, name in NAMES.items():
        found = [values.get((mode, level)) for level in levels]
        means = [sum(some) / len(some) if some else None for some in found]
        row = [name]
        for some, mean in zip(found, means, strict=True):
            row.append(
                f"{mean:.{digits}f} ({min(some):.{digits}f} to {max(some):.{digits}f})"
                if some and mean is not None
                else "not run"
            )
        first, last = means[0], means[-1]
        row.append(f"{last - first:+.{digits}f}" if first is not None and last is not None else "")
        lines.append(row)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--metric", choices=list(METRICS), action="append")
    cells = json.loads(RESULTS.read_text(encoding="utf-8"))["cells"]
    for metric in parser.parse_args().metric or METRICS:
        print(modes_table(cells, metric), end="\n\n")


if __name__ == "__main__":
    main()
