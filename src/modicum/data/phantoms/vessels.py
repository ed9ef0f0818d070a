"""Branching vessel trees: trunks along given courses, with side branches, all levels as arrays.

A bundle holds vessels of one branching level; growing the next level takes a few array operations for any number of
vessels. Calibre falls along a vessel and at each branching, as in Murray's law (the
cubes of the daughters' widths add up to about the cube of the mother's).
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float
from scipy.interpolate import CubicSpline

from modicum.data.phantoms.fields import Canvas, ribbon


@dataclass(frozen=True)
class Bundle:
    """Vessels of one level.

    Attributes:
        points: centrelines, in field units.
        width: full calibre at each point, in field units.
        vein: which of them are veins.
    """

    points: Float[np.ndarray, "vessels length 2"]
    width: Float[np.ndarray, "vessels length"]
    vein: Bool[np.ndarray, "vessels"]


@cache
def _spline_weights(controls: int, length: int) -> Float[np.ndarray, "length controls"]:
    """Weights that map control points to points of the natural cubic spline through them."""
    knots = np.linspace(0, 1, controls)
    spline = CubicSpline(knots, np.eye(controls), bc_type="natural")
    return np.asarray(spline(np.linspace(0, 1, length)))


def meander(
    rng: np.random.Generator,
    points: Float[np.ndarray, "vessels length 2"],
    amount: float | Float[np.ndarray, "vessels"],
) -> Float[np.ndarray, "vessels length 2"]:
    """Adds tortuosity: sideways displacement by a few waves along the vessel, none at its start.

    Args:
        amount: standard deviation of the displacement as a fraction of the vessel's length.
    """
    count, length = points.shape[:2]
    along = np.gradient(points, axis=1)
    steps = np.linalg.norm(along, axis=2)
    normal = np.stack([-along[..., 1], along[..., 0]], -1) / np.maximum(steps, 1e-9)[..., None]
    fraction = np.linspace(0, 1, length)
    cycles = np.array([1.3, 2.3, 3.7, 5.9]) * rng.uniform(0.8, 1.25, (count, 4))
    phase = rng.uniform(0, 2 * np.pi, (count, 4))
    height = rng.standard_normal((count, 4)) / np.array([1.3, 2.3, 3.2, 4.4])
    waves = np.sin(2 * np.pi * cycles[..., None] * fraction + phase[..., None])
    sideways = (height[..., None] * waves).sum(1) * np.minimum(1, 4 * fraction)
    size = steps.sum(1) * np.broadcast_to(amount, count)
    return points + normal * (sideways * size[:, None])[..., None]


def trunks(
    controls: Float[np.ndarray, "vessels controls 2"],
    width: Float[np.ndarray, "vessels"],
    vein: Bool[np.ndarray, "vessels"],
    length: int = 96,
    taper: float = 0.7,
) -> Bundle:
    """First-level vessels along smooth curves through control points; ``taper`` of their calibre is lost."""
    dense = np.einsum("lc,vcd->vld", _spline_weights(controls.shape[1], length), controls)
    travelled = np.cumsum(np.linalg.norm(np.diff(dense, axis=1, prepend=dense[:, :1]), axis=2), axis=1)
    points = np.empty_like(dense)
    for vessel, along in enumerate(travelled):
        even = np.linspace(0, along[-1], length)
        points[vessel] = np.stack([np.interp(even, along, dense[vessel, :, i]) for i in (0, 1)], -1)
    return Bundle(points, width[:, None] * (1 - taper * np.linspace(0, 1, length)), vein)


def branches(
    rng: np.random.Generator,
    parents: Bundle,
    each: int,
    reach: tuple[float, float],
    length: int,
    tortuosity: float,
    ratio: tuple[float, float] = (0.45, 0.7),
    towards: Float[np.ndarray, "2"] | None = None,
    start: float = 0.15,
) -> Bundle:
    """Grows side branches, ``each`` from every parent, on alternating sides.

    Args:
        reach: shortest and longest branch, in field units (shorter towards the parent's end).
        ratio: calibre of a branch over the parent's at the point where it leaves.
        towards: a point that branches bend to when they leave on its side, and away from otherwise.
        start: fraction of the parent's length before which nothing branches off.
    """
    count, points = parents.points.shape[0], parents.points.shape[1]
    slot = (np.arange(each) + rng.uniform(0.15, 0.85, (count, each))) / each
    at = np.clip(((start + (0.97 - start) * slot) * (points - 1)).astype(int), 1, points - 2).ravel()
    owner = np.repeat(np.arange(count), each)
    origin = parents.points[owner, at]
    tangent = parents.points[owner, at + 1] - parents.points[owner, at - 1]
    heading = np.arctan2(tangent[:, 1], tangent[:, 0])
    side = np.where((np.arange(each) + rng.integers(0, 2, (count, 1))) % 2 == 0, 1.0, -1.0).ravel()
    side *= np.where(rng.random(len(side)) < 0.15, -1.0, 1.0)
    turn = side * np.radians(rng.uniform(25, 60, len(side)))
    final = heading + turn
    if towards is not None:
        radial = np.arctan2(towards[1] - origin[:, 1], towards[0] - origin[:, 0])
        inward = np.sin(radial - heading) * side > 0
        wanted = np.where(inward, radial, radial + np.pi)
        final = final + 0.45 * np.angle(np.exp(1j * (wanted - final)))
    span = rng.uniform(*reach, len(side)) * (1 - 0.3 * slot.ravel())
    step = span[:, None]
    first = origin + 0.4 * step * np.stack([np.cos(heading + 0.5 * turn), np.sin(heading + 0.5 * turn)], -1)
    last = origin + step * np.stack([np.cos(final), np.sin(final)], -1)
    t = np.linspace(0, 1, length)[:, None]
    curve = (
        (1 - t) ** 2 * origin[:, None] + 2 * t * (1 - t) * first[:, None] + t**2 * last[:, None]
    )  # quadratic Bezier
    leaving = parents.width[owner, at] * rng.uniform(*ratio, len(side))
    width = leaving[:, None] * np.linspace(1, 0.45, length)
    return Bundle(meander(rng, curve, tortuosity), width, parents.vein[owner])


def spare(bundle: Bundle, centre: Float[np.ndarray, "2"], radius: float) -> Bundle:
    """Pushes vessels out of a circle (the avascular zone of the fovea) and narrows those that led into it."""
    away = bundle.points - centre
    distance = np.linalg.norm(away, axis=-1, keepdims=True)
    pushed = centre + away * np.sqrt(distance**2 + radius**2) / np.maximum(distance, 1e-6)
    # Vessels near the centre would pile up along the rim of the circle: their width goes to zero.
    left = np.clip((distance[..., 0] - 0.4 * radius) / radius, 0, 1)
    return Bundle(pushed, bundle.width * left, bundle.vein)


def draw(
    canvas: Canvas,
    bundle: Bundle,
    which: Bool[np.ndarray, "vessels"],
    full_width: float,
    pieces: int = 1,
    share: float = 1.0,
    thinnest: float = 0.0,
) -> None:
    """Draws vessels with values proportional to the absorption of blood of their calibre.

    Args:
        which: the vessels to draw.
        full_width: the calibre that is drawn with value 1; thinner ones are paler.
        pieces: parts of one vessel, each of a constant value.
        share: fraction of the calibre that is drawn (for the light reflex along the middle).
        thinnest: vessels that start thinner than this are left out.
    """
    which = which & (bundle.width[:, 0] >= thinnest)
    if not which.any():
        return
    points, width = bundle.points[which], bundle.width[which]
    outline = ribbon(points, width * share)
    length = points.shape[1]
    cuts = np.linspace(0, length - 1, pieces + 1).astype(int)
    for begin, end in pairwise(cuts):
        part = np.concatenate(
            [outline[:, begin : end + 1], outline[:, 2 * length - 1 - end : 2 * length - begin]], 1
        )
        values = np.minimum(1, width[:, begin : end + 1].mean(1) / full_width) ** 0.7
        canvas.polygons(part, values)
