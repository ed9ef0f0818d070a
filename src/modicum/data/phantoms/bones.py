"""Ribs, clavicles, shoulder blades and spine of the synthetic chest, drawn as bands with a dense rim."""

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline

from modicum.data.phantoms.fields import Canvas, ribbon
from modicum.data.phantoms.thorax import SIDES, Map, Thorax

_RIBS = 10


def _band(
    canvas: Canvas,
    course: Float[np.ndarray, "length 2"],
    width: float,
    density: Float[np.ndarray, "length"],
    marrow: float,
) -> None:
    """Draws a bone from the side: cortex along both edges, less over the marrow between them."""
    length = len(course)
    for share, value in ((1.0, 1.0), (0.72, marrow)):
        outline = ribbon(course[None], np.full((1, length), width * share))[0]
        # One quadrangle for each step along the bone, as its density may vary.
        here, back = outline[: length - 1], outline[length:][::-1]
        quads = np.stack([here, outline[1:length], back[1:], back[:-1]], 1)
        canvas.polygons(quads, np.minimum(1, value * density[:-1]))


def rib_course(
    thorax: Thorax, number: int, sign: int, front: bool
) -> tuple[Float[np.ndarray, "length 2"], Float[np.ndarray, "length"]]:
    """Centreline of a rib's posterior or anterior part, and the bone's thickness along the rays.

    A rib is modelled as a half-ellipse in a plane tilted down to the front. Where it turns from back to front it
    runs along the rays, which meet more bone there.
    """
    traits = thorax.traits
    start = traits.apex - 0.03 + 0.122 * number
    drop = (0.17 + 0.032 * number) * traits.rib_angle
    reach = float(thorax.lateral(np.array(max(start + 0.5 * drop, traits.apex + 0.06)))) + 0.004
    first = np.arcsin(min(0.08 / reach, 0.9))
    turn = np.linspace(0.5 * np.pi, 0.80 * np.pi, 22) if front else np.linspace(first, 0.5 * np.pi, 30)
    x = sign * reach * np.sin(turn) + traits.tilt
    arch = 0.03 * np.sin(turn) * (1 - number / _RIBS)
    y = start + drop * (1 - np.cos(turn)) / 2 - arch
    slant = np.abs(np.sin(turn))
    thickness = 1 / np.sqrt(np.maximum(1 - 0.93 * slant**6, 0.1))
    return np.stack([x, y], -1), thickness / 3.2


def ribs(thorax: Thorax) -> Map:
    """Bone of all ribs, 1 at the greatest thickness along a ray."""
    back, front = Canvas(thorax.size), Canvas(thorax.size)
    for sign in SIDES.values():
        for number in range(1, _RIBS + 1):
            course, density = rib_course(thorax, number, sign, front=False)
            _band(back, course, 0.045, density, 0.62)
            course, density = rib_course(thorax, number, sign, front=True)
            fading = np.linspace(1, 0.2, len(density))
            _band(front, course, 0.052, 0.8 * density * fading, 0.7)
    return back.field() + front.field()


def shoulders(thorax: Thorax) -> Map:
    """Bone of the clavicles, shoulder blades and upper arms."""
    canvas, blades = Canvas(thorax.size), Canvas(thorax.size)
    scale, shift = thorax.traits.half_width / 0.77, thorax.traits.apex + 0.80
    spline = CubicSpline([0, 0.3, 0.65, 1], [[0.07, -0.57], [0.27, -0.66], [0.55, -0.68], [0.86, -0.83]])
    course = spline(np.linspace(0, 1, 30)) * [scale, 1] + [0, shift]
    blade = np.array(
        [[0.74, -0.74], [1.02, -0.7], [0.97, -0.45], [0.86, -0.12], [0.81, -0.14], [0.75, -0.45]]
    )
    for sign in SIDES.values():
        mirrored = course * [sign, 1] + [thorax.traits.tilt, 0]
        _band(canvas, mirrored, 0.055, np.full(30, 0.42), 0.72)
        canvas.dot(np.array([sign * 1.0, -0.72 + shift]), 0.14, 0.5)
        canvas.dot(np.array([sign * 1.0, -0.72 + shift]), 0.12, 0.4)
        outline = blade * [sign * scale, 1] + [0, shift]
        blades.polygon(outline, 0.2)
        inner = np.concatenate(
            [np.linspace(outline[0], outline[5], 8), np.linspace(outline[5], outline[4], 8)[1:]]
        )
        _band(blades, inner, 0.022, np.full(len(inner), 0.3), 0.9)
    return canvas.field() + blades.field()


def spine(thorax: Thorax) -> Map:
    """Bone of the vertebrae: bodies with dense end plates, and the pedicles as pairs of small ovals."""
    pitch = 0.118
    phase = (thorax.y - thorax.traits.apex) / pitch
    within = np.abs(phase - np.round(phase)) * 2
    widening = 0.068 + 0.008 * thorax.y
    body = np.clip(1 - np.abs(thorax.x / widening) ** 4, 0, 1) ** 0.5
    plates = (
        0.62 + 0.3 * np.exp(-(((within - 0.86) / 0.07) ** 2)) - 0.3 * np.exp(-(((within - 1) / 0.06) ** 2))
    )
    off_centre = (np.abs(thorax.x) - 0.04) / 0.014
    pedicles = 0.28 * np.exp(-(off_centre**2) - (within / 0.28) ** 2)
    process = 0.22 * np.exp(-((thorax.x / 0.012) ** 2) - ((within - 0.35) / 0.3) ** 2)
    return (body * plates + pedicles + process).astype(np.float32)
