"""Small line charts as SVG that is written directly: milliseconds where matplotlib takes a tenth of a second each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

WIDTH, HEIGHT = 320, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 8, 40
_ACROSS, _UP = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        x: values along the axis.
        y: heights; parts that are not finite are left out.
        colour: name of a CSS variable, such as ``s0`` or ``muted``.
        dash: as of ``stroke-dasharray``; empty for a full line.
        low: lower edge of a band; None for none.
        high: upper edge.
    """

    x: np.ndarray
    y: np.ndarray
    colour: str = "s0"
    dash: str = ""
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def line_chart(
    lines: Sequence[Line],
    label: str,
    *,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
) -> Markup:
    """Draws lines with their bands; what lies outside the ranges ends at the frame.

    Args:
        lines: drawn in this order, the last on top.
        label: text for screen readers.
        x_label: under the axis.
        y_label: beside the axis.
        x_range: values at both ends.
        y_range: as for ``x_range``.
    """
    drawn = "".join(_drawn(line, x_range, y_range) for line in lines)
    # A frame of its own clips what lies outside, without an id that would have to be unique on the page.
    frame = (
        f'x="{_LEFT}" y="{_TOP}" width="{_ACROSS}" height="{_UP}" viewBox="{_LEFT} {_TOP} {_ACROSS} {_UP}"'
    )
    parts = [
        *_grid(x_range, y_range),
        f'<svg {frame} overflow="hidden" style="overflow:hidden">{drawn}</svg>',
    ]
    middle_x, middle_y = (_LEFT + WIDTH - _RIGHT) / 2, (_TOP + HEIGHT - _BOTTOM) / 2
    parts.append(_text(middle_x, HEIGHT - 6, x_label, "middle"))
    parts.append(
        f'<text x="11" y="{middle_y:.1f}" text-anchor="middle" transform="rotate(-90 11 {middle_y:.1f})" '
        f'style="font-size:12px;fill:var(--muted)">{escape(y_label)}</text>'
    )
    head = f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
    return Markup(f"{head}{''.join(parts)}</svg>")


def _drawn(line: Line, x_range: tuple[float, float], y_range: tuple[float, float]) -> str:
    # Far outside is as good as infinity, and keeps the numbers short.
    far = y_range[1] - y_range[0]
    ends = (y_range[0] - far, y_range[1] + far)
    across = _scaled(line.x, x_range, _LEFT, WIDTH - _RIGHT)

    def up(values: np.ndarray) -> np.ndarray:
        return _scaled(np.clip(values, *ends), y_range, HEIGHT - _BOTTOM, _TOP)

    band = ""
    if line.low is not None and line.high is not None and np.isfinite([line.low, line.high]).all():
        outline = np.concatenate(
            [np.stack([across, up(line.high)], 1), np.stack([across, up(line.low)], 1)[::-1]]
        )
        band = f'<polygon points="{_points(outline)}" style="fill:var(--{line.colour})" opacity=".16"/>'
    finite = np.isfinite(line.y)
    points = _points(np.stack([across[finite], up(line.y[finite])], 1))
    dash = f' stroke-dasharray="{escape(line.dash)}"' if line.dash else ""
    style = f"fill:none;stroke:var(--{line.colour});stroke-width:2;stroke-linejoin:round"
    return f'{band}<polyline points="{points}" style="{style}"{dash}/>'


def _grid(x_range: tuple[float, float], y_range: tuple[float, float]) -> list[str]:
    parts = []
    for value in ticks(*y_range):
        y = float(_scaled(np.array([value]), y_range, HEIGHT - _BOTTOM, _TOP)[0])
        parts.append(
            f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" style="stroke:var(--line)"/>'
        )
        parts.append(_text(_LEFT - 5, y + 4, f"{value:g}".replace("-", "−"), "end"))
    for value in ticks(*x_range):
        x = float(_scaled(np.array([value]), x_range, _LEFT, WIDTH - _RIGHT)[0])
        parts.append(_text(x, HEIGHT - _BOTTOM + 15, f"{value:g}", "middle"))
    return parts


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values between two ends: steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    power = 10.0 ** np.floor(np.log10((high - low) / most))
    step = next(power * one for one in (1, 2, 5, 10) if (high - low) / (power * one) <= most)
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    return [round(number * step, 10) for number in range(first, last + 1)]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="font-size:12px;fill:var(--muted)">'
        f"{escape(text)}</text>"
    )


def _scaled(values: np.ndarray, ends: tuple[float, float], start: float, stop: float) -> np.ndarray:
    return start + (values - ends[0]) / (ends[1] - ends[0]) * (stop - start)


def _points(points: np.ndarray) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
