"""A synthetic chest in the coronal plane: outlines of lungs, heart and bones, and tissue thickness along the rays.

Coordinates run from -1 to 1 over the image, y downwards; as in every frontal radiograph, the patient's right is
on the left of the image. ``u`` is the
distance from the midline to one side. Thickness is in cm of soft tissue.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline

from modicum.data.phantoms.fields import Canvas, axis, ribbon, stream
from modicum.data.phantoms.vessels import Bundle, branches, draw, meander, trunks

SIDES = {"right": -1, "left": 1}
"""Sign of x on each side of the patient."""
LUNG_DENSITY = 0.27
"""Tissue in aerated lung, as a fraction of solid soft tissue."""
CM_PER_UNIT = 17.0

Map = Float[np.ndarray, "size size"]


@dataclass(frozen=True)
class ThoraxTraits:
    """Anatomy of one patient.

    Attributes:
        half_width: inner half-width of the rib cage, in image units.
        apex, base: heights of the lung apices and of the costophrenic angles.
        dome: height of the diaphragm's dome on the right and the left.
        girth: thickness of the trunk from front to back, in cm.
        cardiothoracic_ratio: width of the heart over that of the rib cage.
        heart_height: half the heart's height.
        heart_level: height of the heart's centre.
        knob: radius of the aortic knob.
        breasts: greatest thickness of breast tissue in front of the lower lungs, in cm.
        tilt: sideways shift of the midline.
        rib_angle: how steeply ribs run down to the front.
    """

    half_width: float
    apex: float
    base: float
    dome: dict[str, float]
    girth: float
    cardiothoracic_ratio: float
    heart_height: float
    heart_level: float
    knob: float
    breasts: float
    tilt: float
    rib_angle: float


def thorax_traits(seed: int, cardiomegaly: bool) -> ThoraxTraits:
    """Draws a patient's anatomy; an enlarged heart is more than half as wide as the rib cage."""
    rng = stream(seed, "build")

    def draw_one(mean: float, spread: float) -> float:
        return mean + spread * float(np.clip(rng.standard_normal(), -2, 2))

    base = draw_one(0.68, 0.05)
    right_dome = base - draw_one(0.19, 0.02)
    normal, enlarged = draw_one(0.44, 0.02), draw_one(0.60, 0.025)
    return ThoraxTraits(
        half_width=draw_one(0.81, 0.025),
        apex=draw_one(-0.82, 0.025),
        base=base,
        dome={"right": right_dome, "left": right_dome + draw_one(0.045, 0.012)},
        girth=draw_one(21.0, 1.5),
        cardiothoracic_ratio=enlarged if cardiomegaly else normal,
        heart_height=draw_one(0.29, 0.015) * (1.12 if cardiomegaly else 1),
        heart_level=right_dome - draw_one(0.15, 0.015) - (0.02 if cardiomegaly else 0),
        knob=draw_one(0.085, 0.01),
        breasts=float(rng.uniform(1, 3.5)) if rng.random() < 0.5 else 0.0,
        tilt=draw_one(0.0, 0.012),
        rib_angle=draw_one(1.0, 0.1),
    )


@dataclass(frozen=True)
class Side:
    """One half of the chest, seen from its midline: ``u`` outwards, ``y`` down.

    Attributes:
        u: distance from the midline, negative on the other side.
        across: 0 at the lung's inner edge, 1 at its outer one.
        lung: depth of the lung along the ray, in cm.
        inside: 1 in the lung above the diaphragm, 0 elsewhere, with the pixel's share at the edge.
        dome: height of the diaphragm at each column.
    """

    u: Float[np.ndarray, "1 size"]
    across: Map
    lung: Map
    inside: Map
    dome: Float[np.ndarray, "1 size"]


def soft_edge(distance: Float[np.ndarray, "..."], size: int) -> Float[np.ndarray, "..."]:
    """1 where a signed distance is positive and 0 where it is negative, over one pixel."""
    return np.clip(distance * (size / 2) + 0.5, 0, 1).astype(np.float32)


class Thorax:
    """The chest of one patient at one image size."""

    def __init__(self, seed: int, traits: ThoraxTraits, size: int) -> None:
        self.seed, self.traits, self.size = seed, traits, size
        self.x = axis(size)[None, :] - np.float32(traits.tilt)
        self.y = axis(size)[:, None]
        self.sides = {name: self._side(name) for name in SIDES}

    def lateral(self, y: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Distance of the lung's outer edge from the midline at a height (0 above the apex)."""
        traits = self.traits
        up = np.clip((traits.base - y) / (traits.base - traits.apex), 0, 1)
        waist = 1 - 0.05 * np.clip(y - traits.base + 0.15, 0, 1)
        return np.asarray((0.03 + (traits.half_width - 0.03) * (1 - up**3.4) ** 0.52) * waist * (up < 1))

    def _side(self, name: str) -> Side:
        traits, size = self.traits, self.size
        u = (SIDES[name] * self.x).astype(np.float32)
        outer = np.maximum(self.lateral(self.y), 1e-3).astype(np.float32)
        inner = np.float32(0.05)
        across = (u - inner) / np.maximum(outer - inner, 0.01)
        width = 0.42 * traits.half_width
        sag = np.where(u > 0.36, 0.9, 0.45)
        dome = traits.dome[name] + 0.19 * sag * ((u - 0.36) / width) ** 2
        inside = soft_edge(outer - u, size) * soft_edge(u - inner, size) * soft_edge(dome - self.y, size)
        inside *= self.y > traits.apex
        up = np.clip((traits.base - self.y) / (traits.base - traits.apex), 0, 1)
        profile = np.sqrt(np.clip(1 - np.abs(across) ** 3.5, 0, 1)) * np.sqrt(np.clip(across / 0.25, 0, 1))
        lung = 0.72 * traits.girth * profile * np.sqrt(np.clip(1 - up**5, 0, 1)) * inside
        return Side(u, across.astype(np.float32), lung.astype(np.float32), inside.astype(np.float32), dome)

    def ellipsoid(
        self, centre: tuple[float, float], half_axes: tuple[float, float], depth: float, angle: float = 0.0
    ) -> Map:
        """Thickness of an ellipsoid along the rays, in the unit of ``depth`` (its greatest thickness)."""
        dx, dy = self.x - np.float32(centre[0]), self.y - np.float32(centre[1])
        cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        along, across = (cosine * dx + sine * dy) / half_axes[0], (cosine * dy - sine * dx) / half_axes[1]
        return (depth * np.sqrt(np.clip(1 - along**2 - across**2, 0, 1))).astype(np.float32)

    @cached_property
    def body(self) -> Map:
        """Thickness of the trunk, neck and shoulders, as if it had no lungs."""
        heights = np.array([-1.3, -1.0, -0.92, -0.85, -0.76, -0.62, -0.2, 0.4, 1.3])
        widths = np.array([0.25, 0.27, 0.36, 0.62, 0.92, 1.12, 1.04, 0.99, 1.02])
        half = CubicSpline(heights, widths)(self.y) * (self.traits.half_width / 0.77)
        round_trunk = np.clip(1 - np.abs(self.x / half) ** 2.6, 0, 1) ** 0.5
        thinner_neck = 0.62 + 0.38 * np.clip((self.y + 1.0) / 0.4, 0, 1)
        belly = 1 + 0.14 * np.clip((self.y - 0.45) / 0.3, 0, 1)
        return (self.traits.girth * round_trunk * thinner_neck * belly).astype(np.float32)

    @cached_property
    def heart(self) -> Map:
        """Thickness of the heart: two thirds of its width are left of the midline."""
        traits = self.traits
        width = 2 * traits.half_width * traits.cardiothoracic_ratio
        left, right, level = 0.68 * width, 0.32 * width, traits.heart_level
        half, angle = (left + 0.4 * right) / 2, 0.62
        # Half-axes along and across the tilted axis that give the desired half-width and half-height.
        short = 0.78 * traits.heart_height
        long = np.sqrt(max((half / np.cos(angle)) ** 2 - (short * np.tan(angle)) ** 2, short**2))
        ventricles = self.ellipsoid((left - half, level + 0.03), (float(long), short), 11.0, angle)
        atrium = self.ellipsoid((-right + 0.16, level + 0.02), (0.16, 0.85 * traits.heart_height), 8.0)
        middle = self.ellipsoid((0.06, level + 0.06), (0.75 * right + 0.1, 0.9 * traits.heart_height), 9.0)
        return np.maximum.reduce([ventricles, atrium, middle])

    @cached_property
    def mediastinum(self) -> Map:
        """Thickness of the great vessels and other midline tissue."""
        traits = self.traits
        column = np.clip(1 - (self.x / (0.15 + 0.02 * self.y)) ** 2, 0, 1) * 12
        knob_level = traits.heart_level - 0.50
        knob = self.ellipsoid((0.115, knob_level), (traits.knob, 1.15 * traits.knob), 5.5)
        trunk = self.ellipsoid((0.115, knob_level + 0.24), (0.10, 0.2), 6.0)
        cava = self.ellipsoid((-0.075, knob_level + 0.12), (0.08, 0.42), 4.0)
        aorta = np.sqrt(np.clip(1 - ((self.x - 0.085) / 0.06) ** 2, 0, 1)) * 2.5 * (self.y > knob_level)
        return np.maximum.reduce([column, knob, trunk, cava, aorta]).astype(np.float32)

    @cached_property
    def breasts(self) -> Map:
        """Thickness of breast tissue."""
        if self.traits.breasts == 0:
            return np.zeros((self.size, self.size), np.float32)
        out, down = 0.52 * self.traits.half_width, self.traits.base - 0.2
        pair = [
            self.traits.breasts * self.ellipsoid((sign * out, down), (0.4, 0.36), 1.0, 0.3 * sign) ** 3
            for sign in SIDES.values()
        ]
        return pair[0] + pair[1]

    @property
    def carina(self) -> float:
        """Height at which the trachea divides."""
        return self.traits.heart_level - 0.40

    def airways(self) -> Map:
        """Air in the trachea and main bronchi, as a thickness in cm."""
        canvas = Canvas(self.size)
        tilt, carina = self.traits.tilt, self.carina
        for ends in ((0.0, -1.1), (-0.13, carina + 0.13), (0.16, carina + 0.17)):
            course = np.linspace([0.0, carina], ends, 12)[None] + [tilt, 0]
            width = 0.062 if ends[0] == 0 else 0.04
            canvas.polygons(ribbon(course, np.full((1, 12), width)), np.ones(1))
        return 1.1 * canvas.field()

    def stomach(self) -> Map:
        """Gas in the stomach below the left dome, as a thickness in cm."""
        rng = stream(self.seed, "stomach")
        half_axes = (rng.uniform(0.08, 0.16), rng.uniform(0.04, 0.075))
        centre = (0.40 + rng.normal(0, 0.04), self.traits.dome["left"] + 0.05 + half_axes[1])
        gas = self.ellipsoid(centre, half_axes, 1.0, rng.normal(0.1, 0.2))
        return np.asarray(rng.uniform(0, 5) * gas**0.7, np.float32)

    def lung_vessels(self) -> Map:
        """Arteries and veins of the lungs, fanning out from the hila; 1 is the largest calibre."""
        canvas = Canvas(self.size)
        for name, sign in SIDES.items():
            rng = stream(self.seed, "lung vessels", name)
            hilum = np.array([sign * 0.13 + self.traits.tilt, self.carina + 0.20 - 0.05 * (sign > 0)])
            angle = np.radians(np.linspace(-78, 78, 11) + rng.normal(0, 7, 11))
            reach = rng.uniform(0.42, 0.62, 11)[:, None]
            ends = np.stack([sign * np.cos(angle), np.sin(angle)], -1) * reach
            courses = hilum + np.linspace(0, 1, 4)[None, :, None] * ends[:, None]
            stems = trunks(courses, rng.uniform(0.034, 0.055, 11), np.zeros(11, bool), 40, 0.75)
            stems = Bundle(meander(rng, stems.points, 0.015), stems.width, stems.vein)
            second = branches(rng, stems, 6, (0.14, 0.32), 20, 0.02, (0.5, 0.75))
            third = branches(rng, second, 3, (0.06, 0.15), 10, 0.03, (0.5, 0.8))
            for level, pieces in ((third, 1), (second, 2), (stems, 6)):
                draw(canvas, level, np.ones(len(level.vein), bool), 0.05, pieces)
        return canvas.field()
