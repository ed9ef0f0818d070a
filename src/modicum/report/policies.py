"""Report on a search for augmentation policies: probabilities of operations, and the final policies."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum.report.figures import inline_svg
from modicum.report.files import RunFiles, as_mapping, number
from modicum.report.sections import Block
from modicum.report.words import score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = tuple[Sequence[float], Sequence[float]]

_IN_FRONT = 4
"""Number of operations drawn in colour, the most probable at the end; the others are grey."""
_WORDS = {
    "solarize": "from level {:.0f} on",
    "posterize": "to {:.0f} bits",
    "cutout": "{:.0f} % of the width",
}
"""Formats of magnitudes by operation; a factor by default."""


def policy_blocks(run: RunFiles) -> list[Block]:
    """The blocks of every stage that searched for policies."""
    blocks: list[Block] = []
    for index, (stage, stage_findings) in enumerate(as_mapping(run.metrics.get("findings")).items()):
        findings = as_mapping(stage_findings)
        records = findings.get("history")
        history = [as_mapping(record) for record in records] if isinstance(records, list) else []
        suffix = f", stage “{stage}”" if len(as_mapping(run.metrics.get("findings"))) > 1 else ""
        blocks += _probability_block(history, suffix, f"policy{index}")
        blocks += _policy_block(as_mapping(findings.get("policy")), history, suffix)
    return blocks


def _probability_block(history: Sequence[Mapping[str, Any]], suffix: str, prefix: str) -> list[Block]:
    """Mean probability of each operation, epoch by epoch."""
    curves = _curves(history)
    if not curves:
        return []
    ranked = sorted(curves, key=lambda name: -curves[name][1][-1])
    front, rest = ranked[:_IN_FRONT], ranked[_IN_FRONT:]
    chance = 1 / len(curves)
    svg = inline_svg(
        probability_figure({name: curves[name] for name in (*front, *rest)}, len(front), chance),
        f"{prefix}-operations",
        "Mean probability of each operation over epochs; at the end "
        + ", ".join(f"{name} {_percent(curves[name][1][-1])}" for name in ranked),
    )
    legend = [
        {"name": name, "swatch": f"s{i}", "dash": "", "text": _percent(curves[name][1][-1]), "interval": ""}
        for i, name in enumerate(front)
    ]
    if rest:
        low, high = (curves[rest[i]][1][-1] for i in (-1, 0))
        text = f"{_percent(low)} to {_percent(high)}"
        legend.append(
            {"name": f"{len(rest)} others", "swatch": "muted", "dash": "", "text": text, "interval": ""}
        )
    note = (
        f"How likely the search is to choose each of {len(curves)} operations, the mean over an epoch's policies. "
        f"All alike would be {_percent(chance)} (dashed); values are of the last epoch."
    )
    values = {"svg": svg, "legend": legend, "metric": note}
    most = max(y[-1] for _, y in curves.values())
    rows = [
        {
            "name": name,
            "share": f"{100 * curves[name][1][-1] / most:.2f}" if most else "0",
            "first": _percent(curves[name][1][0]),
            "last": _percent(curves[name][1][-1]),
        }
        for name in ranked
    ]
    return [
        Block("figure.html.j2", f"Operations that the search prefers{suffix}", values, "half"),
        Block("operations.html.j2", f"Every operation{suffix}", {"rows": rows}, "half"),
    ]


def _curves(history: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    """Epochs (from 1) and probabilities of each operation."""
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for record in history:
        epoch = number(record.get("epoch"))
        for name, value in as_mapping(record.get("operations")).items():
            share = number(value)
            if epoch is not None and share is not None:
                x, y = curves.setdefault(str(name), ([], []))
                x.append(epoch + 1)
                y.append(share)
    return dict(curves)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def probability_figure(curves: Mapping[str, Curve], coloured: int, chance: float) -> "Figure":
    """Plots probabilities over epochs, the first operations in colour, with a line at chance.

    Args:
        curves: epochs and probabilities by operation.
        coloured: number of operations drawn in colour.
        chance: probability of an operation by chance.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    from modicum.tasks.classification.plots import COLOURS, MUTED, plot_style

    with plot_style():
        figure = Figure(figsize=(5.6, 3.5), layout="constrained")
        axes = figure.subplots()
        axes.axhline(chance, color=MUTED, linewidth=1.2, dashes=(4, 3))
        for index, (x, y) in reversed(list(enumerate(curves.values()))):
            front = index < coloured
            axes.plot(
                x,
                y,
                color=COLOURS[index] if front else MUTED,
                linewidth=2.2 if front else 1.0,
                alpha=1.0 if front else 0.5,
                marker="o" if len(x) <= 20 else None,
                markersize=3.6 if front else 2.4,
            )
        # From 0 to above chance, so that small changes look small.
        axes.set_ylim(0, max(2 * chance, 1.1 * max(max(y) for _, y in curves.values())))
        axes.set_xlabel("epoch")
        axes.set_ylabel("probability")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        return figure


def _policy_block(
    policy: Mapping[str, Any], history: Sequence[Mapping[str, Any]], suffix: str
) -> list[Block]:
    """The policies of the last epoch, sorted by decreasing distance between domains."""
    policies = policy.get("policies")
    if not isinstance(policies, list) or not policies:
        return []
    bins = int(number(policy.get("magnitudes")) or 0)
    rewards = history[-1].get("rewards") if history else None
    earned = [number(value) for value in rewards] if isinstance(rewards, list) else []
    earned = earned if len(earned) == len(policies) else [None] * len(policies)
    order = sorted(range(len(policies)), key=lambda i: (earned[i] is None, -(earned[i] or 0.0)))
    has_rewards = any(value is not None for value in earned)
    rows = [
        {
            "number": i + 1,
            "apart": score(earned[i]) if has_rewards else "",
            "chains": _chains(policies[i], bins),
        }
        for i in order
    ]
    note = (
        "Each image is changed by one chain of its policy, drawn at random, its operations one after another. "
        "policy.yaml holds them as an augmentation for any method."
    )
    if has_rewards:
        note += " Apart: the distances between domains that a policy's images had in the epoch; the largest is first."
    values = {"rows": rows, "note": note, "has_rewards": has_rewards}
    return [Block("policies.html.j2", f"Policies of the last epoch{suffix}", values)]


def _chains(policy: Any, bins: int) -> list[list[tuple[str, str]]]:
    """Operations and magnitudes as text, for each chain; damaged entries are left out."""
    chains = policy if isinstance(policy, list) else []
    return [[step_words(step, bins) for step in chain] for chain in chains if isinstance(chain, list)]


def step_words(step: Any, bins: int) -> tuple[str, str]:
    """An operation and its magnitude as text.

    Args:
        step: name and bin, ``["contrast", 9]``.
        bins: number of bins, evenly spaced between the operation's limits.

    >>> step_words(["contrast", 9], 10), step_words(["invert", 3], 10)
    (('contrast', '× 1.90'), ('invert', ''))
    """
    name, bin_index = step if isinstance(step, list | tuple) and len(step) == 2 else (step, None)
    # PyTorch takes seconds to load, and pages without policies do not need it.
    from modicum.transforms.policy import MAGNITUDE_LIMITS

    limits, at = MAGNITUDE_LIMITS.get(str(name)), number(bin_index)
    if limits is None or at is None or bins < 2:
        return str(name), "" if at is None or name in MAGNITUDE_LIMITS else f"{at:g}"
    value = float(np.interp(at, (0, bins - 1), limits))
    if name == "posterize":
        value = float(int(value))  # as the operation cuts it
    if name == "cutout":
        value *= 100
    return str(name), _WORDS.get(str(name), "× {:.2f}").format(value)
