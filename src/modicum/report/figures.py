"""Figures for the page: small, themable SVG from matplotlib that is safe to inline, and hand-drawn marks."""

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HREF = "{http://www.w3.org/1999/xlink}href"
_GENERIC_FONT = re.compile(r"font:\s*(?:\w+\s+)*?([\d.]+)px\s+[^;]*")
_LONG_DECIMALS = re.compile(r"(\.\d\d)\d+")
_GEOMETRY = (
    "d",
    "transform",
    "x",
    "y",
    "x1",
    "x2",
    "y1",
    "y2",
    "width",
    "height",
    "cx",
    "cy",
    "r",
    "viewBox",
)
_KEPT = frozenset([*_GEOMETRY, "clip-path"])


def theme() -> dict[str, str]:
    """Colours of figures, by the name of the CSS variable that replaces them."""
    from modicum.tasks.classification.plots import COLOURS, GRID, INK, MUTED

    return {"ink": INK, "muted": MUTED, "line": GRID} | {f"s{i}": colour for i, colour in enumerate(COLOURS)}


def inline_svg(figure: "Figure", name: str, label: str) -> Markup:
    """Converts a figure to an ``<svg>`` element with the page's font and colours that scales with its container.

    Args:
        figure: drawn in the colours of :func:`theme`.
        name: unique on the page; prefix of ids.
        label: text for screen readers.
    """
    import matplotlib

    file = io.BytesIO()
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": name, "path.simplify": True}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # glyphs that are missing in matplotlib's fonts
        figure.savefig(
            file, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None}
        )
    root = ET.fromstring(file.getvalue())
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", file.getvalue().decode()))
    _clean(root, name, used)
    root.set("role", "img")
    root.set("aria-label", label)
    root.attrib.pop("width", None)
    root.attrib.pop("height", None)
    text = ET.tostring(root, encoding="unicode", short_empty_elements=True)
    for variable, colour in theme().items():
        text = text.replace(colour, f"var(--{variable})")
    return Markup(re.sub(r"\s*\n\s*", "\n", text))


def _clean(element: ET.Element, name: str, used: set[str]) -> None:
    """Removes namespaces, metadata, comments and other parts that browsers do not need; makes ids unique on the page."""
    element.tag = element.tag.rpartition("}")[2]
    for child in list(element):
        if not isinstance(child.tag, str) or child.tag.endswith("}metadata"):
            element.remove(child)
            continue
        _clean(child, name, used)
        if child.tag == "style" or (child.tag in ("g", "defs") and len(child) == 0):
            element.remove(child)
    attributes = {}
    for key, value in element.attrib.items():
        if key == "id" and value in used:
            attributes["id"] = f"{name}-{value}"
        elif key == _HREF:
            attributes["href"] = f"#{name}-{value[1:]}"
        elif key == "style":
            attributes["style"] = _GENERIC_FONT.sub(r"font-size:\1px", value).replace(
                "url(#", f"url(#{name}-"
            )
        elif key in _KEPT:
            short = _LONG_DECIMALS.sub(r"\1", value)
            attributes[key] = short.replace("url(#", f"url(#{name}-")
    element.attrib.clear()
    element.attrib.update(attributes)
    if element.tag != "text" and element.text is not None and not element.text.strip():
        element.text = None


def small_curve(
    x: np.ndarray, low: np.ndarray | None, high: np.ndarray | None, y: np.ndarray, label: str
) -> Markup:
    """A thumbnail of a curve over the unit square, with its band and the chance line."""
    band = ""
    if low is not None and high is not None and np.isfinite(low).all() and np.isfinite(high).all():
        outline = np.concatenate([np.stack([x, high], 1), np.stack([x, low], 1)[::-1]])
        band = f'<polygon class="band" points="{_points(outline)}"/>'
    return Markup(
        f'<svg class="stamp" viewBox="-2 -2 104 104" role="img" aria-label="{escape(label)}">'
        '<rect class="frame" x="0" y="0" width="100" height="100"/><path class="guess" d="M0 100L100 0"/>'
        f'{band}<polyline class="curve" points="{_points(np.stack([x, y], 1))}"/></svg>'
    )


def hundred(parts: Sequence[tuple[str, int]], label: str) -> Markup:
    """A share as a hundred dots in rows of ten.

    Args:
        parts: style and number of dots of each group, in order; the remaining dots are hollow.
        label: text for screen readers.
    """
    styles = [style for style, amount in parts for _ in range(amount)][:100]
    styles += ["rest"] * (100 - len(styles))
    dots = "".join(
        f'<circle class="{escape(style)}" cx="{10 * (i % 10) + 5}" cy="{10 * (i // 10) + 5}" r="3.7"/>'
        for i, style in enumerate(styles)
    )
    return Markup(
        f'<svg class="hundred" viewBox="0 0 100 100" role="img" aria-label="{escape(label)}">{dots}</svg>'
    )


def _points(points: np.ndarray) -> str:
    return " ".join(f"{100 * x:.4g},{100 - 100 * y:.4g}" for x, y in points)
