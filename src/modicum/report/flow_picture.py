"""The way of the images as a diagram, narrow enough to be read on a phone."""

from markupsafe import Markup, escape

from modicum.report.flow import Flow, Part
from modicum.report.words import count, plural

_WIDTH, _LINE, _PAD = 420, 18, 10
_MAIN, _SIDE = 200, 190
_GAP = 26


def flow_picture(flow: Flow) -> Markup:
    """Draws a flow: boxes below each other, what was set aside to the right, then the parts side by side in rows."""
    parts: list[str] = []
    y = _box(parts, 0, 0, _MAIN, ["Images found", count(flow.found)], strong=True)
    if flow.set_aside:
        lines = ["Set aside", *(f"{count(amount)} {reason}" for reason, amount in flow.set_aside)]
        height = _box(parts, _WIDTH - _SIDE, y + 6, _SIDE, lines) - (y + 6)
        middle = y + 6 + height / 2
        parts.append(_line(_MAIN / 2, middle, _WIDTH - _SIDE, middle))
        start, y = y, y + height + 12
        parts.append(_line(_MAIN / 2, start, _MAIN / 2, y + _GAP / 2, arrow=True))
        y += _GAP / 2
    else:
        parts.append(_line(_MAIN / 2, y, _MAIN / 2, y + _GAP, arrow=True))
        y += _GAP
    y = _box(parts, 0, y, _MAIN, ["Images used", count(flow.kept)], strong=True)
    y = _row(parts, y, flow.parts)
    if flow.others:
        y += 14
        parts.append(_text(0, y + 12, "Evaluated besides", bold=True))
        y = _row(parts, y + 16, flow.others, joined=False)
    label = f"Data flow: {flow_text(flow)}"
    return Markup(
        f'<svg class="flow" viewBox="-1 -1 {_WIDTH + 2} {y + 2:.0f}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def flow_text(flow: Flow) -> str:
    """The same in a sentence, for screen readers and Markdown."""
    aside = "; ".join(f"{plural(amount, 'image')} {reason}" for reason, amount in flow.set_aside)
    parts = "; ".join(f"{part.name.lower()} {', '.join(_lines(part)[1:])}" for part in flow.parts)
    text = (
        f"{plural(flow.found, 'image')} found; set aside: {aside or 'none'}; {count(flow.kept)} used: {parts}"
    )
    others = "; ".join(f"{part.name} {', '.join(_lines(part)[1:])}" for part in flow.others)
    return f"{text}. Evaluated besides: {others}." if others else f"{text}."


def _lines(part: Part) -> list[str]:
    lines = [part.name, plural(part.images, "image")]
    if part.patients is not None:
        lines.append(plural(part.patients, "patient"))
    if part.set_aside:
        lines.append(f"{count(part.set_aside)} more set aside")
    if part.evaluated is not None:
        lines.append(f"{count(part.evaluated)} evaluated")
    if part.not_evaluated:
        lines.append(f"{count(part.not_evaluated)} without truth")
    return lines


def _row(parts: list[str], y: float, members: tuple[Part, ...], joined: bool = True) -> float:
    """Boxes side by side, three in a row; returns where they end."""
    width, space = 130.0, 15.0
    bottom = y
    for start in range(0, len(members), 3):
        row = members[start : start + 3]
        top = bottom + (_GAP if joined else 6)
        ends = []
        for number, part in enumerate(row):
            x = number * (width + space)
            if joined:
                parts.append(_line(x + width / 2, bottom + _GAP / 2, x + width / 2, top, arrow=True))
            ends.append(_box(parts, x, top, width, _lines(part)))
        if joined:
            far = max(_MAIN / 2, (len(row) - 1) * (width + space) + width / 2)
            parts.append(_line(min(width / 2, _MAIN / 2), bottom + _GAP / 2, far, bottom + _GAP / 2))
            if start == 0:
                parts.append(_line(_MAIN / 2, bottom, _MAIN / 2, bottom + _GAP / 2))
        bottom = max(ends)
    return bottom


def _box(parts: list[str], x: float, y: float, width: float, lines: list[str], strong: bool = False) -> float:
    """A box with a title and lines; returns its lower edge."""
    wrapped = [piece for line in lines for piece in _wrapped(line, int((width - 2 * _PAD) / 6.6))]
    height = 2 * _PAD + _LINE * len(wrapped) - 4
    fill = "var(--soft)" if strong else "var(--card)"
    parts.append(
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" rx="7" '
        f'style="fill:{fill};stroke:var(--line)"/>'
    )
    for number, line in enumerate(wrapped):
        parts.append(_text(x + _PAD, y + _PAD + 11 + number * _LINE, line, bold=number == 0))
    return y + height


def _wrapped(text: str, most: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if len(longer) <= most or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _text(x: float, y: float, text: str, bold: bool = False) -> str:
    weight = ";font-weight:650" if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" style="font-size:13px;fill:var(--ink){weight}">{escape(text)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, arrow: bool = False) -> str:
    line = f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" style="stroke:var(--muted)"/>'
    if not arrow:
        return line
    tip = f"{x2 - 4:.1f},{y2 - 6:.1f} {x2 + 4:.1f},{y2 - 6:.1f} {x2:.1f},{y2:.1f}"
    return f'{line}<polygon points="{tip}" style="fill:var(--muted)"/>'
