"""Lesions of diabetic retinopathy: their numbers by grade, locations and shapes.

Sizes are fractions of the disc's diameter, so fine lesions vanish as images get smaller. The grades follow
the international scale (Wilkinson et al., Ophthalmology 2003;110:1677) in a simplified form:

    0  no lesions
    1  microaneurysms only
    2  also haemorrhages or exudates, but short of grade 3
    3  at least ``SEVERE_PER_QUADRANT`` haemorrhages in each quadrant of the field (often with venous beading)
    4  new vessels at the disc or elsewhere (sometimes with a pre-retinal haemorrhage)
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from modicum.data.phantoms.camera import Camera
from modicum.data.phantoms.eye import EyeTraits
from modicum.data.phantoms.fields import Canvas
from modicum.data.phantoms.vessels import Bundle, branches, draw, meander, trunks

LESIONS = ("microaneurysm", "haemorrhage", "hard_exudate", "soft_exudate", "neovascularisation")
SEVERE_PER_QUADRANT = 5


@dataclass(frozen=True)
class Ground:
    """Where lesions may be: inside the field, off the disc and, for small ones, off the vessels."""

    traits: EyeTraits
    camera: Camera
    tree: list[Bundle]

    @cached_property
    def vessel_points(self) -> Float[np.ndarray, "points 2"]:
        """All points of all centrelines."""
        return np.concatenate([level.points.reshape(-1, 2) for level in self.tree])

    @cached_property
    def vessel_index(self) -> cKDTree:
        """The same points, indexed for distance look-ups."""
        return cKDTree(self.vessel_points, balanced_tree=False, compact_nodes=False)

    def allowed(self, points: Float[np.ndarray, "n 2"], margin: float) -> Bool[np.ndarray, "n"]:
        """Which points keep ``margin`` from the edge of the field and from the disc."""
        inside = np.hypot(points[:, 0], points[:, 1]) < 0.95 - margin
        inside &= np.abs(points[:, 1]) < self.camera.cut - 0.03 - margin
        off_disc = np.hypot(*(points - self.traits.disc).T) > 1.25 * self.traits.disc_radius.max() + margin
        return inside & off_disc

    def clear_of_vessels(self, points: Float[np.ndarray, "n 2"], radius: float) -> Bool[np.ndarray, "n"]:
        """Which points keep ``radius`` from the walls of all vessels."""
        distance, nearest = self.vessel_index.query(points, k=8)
        half_width = np.concatenate([level.width.ravel() for level in self.tree]) / 2
        return (distance - half_width[nearest]).min(1) > radius

    def anywhere(self, rng: np.random.Generator, count: int, margin: float) -> Float[np.ndarray, "count 2"]:
        """Random allowed points, evenly over the field."""
        points = np.zeros((0, 2))
        while len(points) < count:
            tries = rng.uniform(-1, 1, (4 * count + 8, 2))
            points = np.concatenate([points, tries[self.allowed(tries, margin)]])
        return points[:count]

    def beside_vessels(
        self, rng: np.random.Generator, count: int, radius: float
    ) -> Float[np.ndarray, "count 2"]:
        """Random allowed points near vessels, but not on them."""
        points = np.zeros((0, 2))
        while len(points) < count:
            at = self.vessel_points[rng.integers(len(self.vessel_points), size=8 * count + 16)]
            tries = at + rng.normal(0, 0.05, at.shape)
            good = self.allowed(tries, radius)
            points = np.concatenate([points, tries[good][self.clear_of_vessels(tries[good], radius)]])
        return points[:count]


def quadrant(points: Float[np.ndarray, "n 2"]) -> np.ndarray:
    """The quadrant of the field (0 to 3: upper nasal, upper temporal, lower nasal, lower temporal)."""
    return (points[:, 0] > 0) + 2 * (points[:, 1] > 0)


@dataclass(frozen=True)
class Plan:
    """Numbers of lesions of each type in one eye.

    Attributes:
        haemorrhages: number in each quadrant.
        clusters: number of clusters of hard exudates.
        nets: locations of new vessels: "disc", "elsewhere".
    """

    microaneurysms: int = 0
    haemorrhages: tuple[int, int, int, int] = (0, 0, 0, 0)
    clusters: int = 0
    soft_exudates: int = 0
    beading: bool = False
    nets: tuple[str, ...] = ()
    preretinal: bool = False


def plan(rng: np.random.Generator, grade: int) -> Plan:
    """Draws numbers of lesions that fulfil the definition of a grade."""

    def four(numbers: np.ndarray) -> tuple[int, int, int, int]:
        return int(numbers[0]), int(numbers[1]), int(numbers[2]), int(numbers[3])

    def spread(total: int) -> tuple[int, int, int, int]:
        return four(rng.multinomial(total, [0.25] * 4))

    def number_or_none(low: int, high: int, chance: float) -> int:
        return int(rng.integers(low, high + 1)) if rng.random() < chance else 0

    if grade == 0:
        return Plan()
    if grade == 1:
        return Plan(microaneurysms=int(rng.integers(4, 15)))
    if grade == 2:
        # At most 12 haemorrhages in all cannot put 5 into each of the four quadrants.
        bleeds, clusters, soft = (
            number_or_none(2, 12, 0.85),
            number_or_none(1, 3, 0.6),
            number_or_none(1, 3, 0.3),
        )
        if not (bleeds or clusters or soft):
            bleeds = 4
        return Plan(int(rng.integers(6, 22)), spread(bleeds), clusters, soft)
    if grade == 3:
        bleeding = four(rng.integers(SEVERE_PER_QUADRANT + 1, 13, 4))
        beading = bool(rng.random() < 0.6)
        return Plan(
            int(rng.integers(15, 36)), bleeding, number_or_none(1, 4, 0.7), number_or_none(1, 5, 0.5), beading
        )
    nets = [("disc",), ("disc", "elsewhere"), ("elsewhere",)][rng.choice(3, p=[0.5, 0.25, 0.25])]
    bleeding = spread(int(rng.integers(4, 30)))
    soft, preretinal = number_or_none(1, 4, 0.5), bool(rng.random() < 0.35)
    microaneurysms = int(rng.integers(8, 31))
    return Plan(
        microaneurysms, bleeding, number_or_none(1, 3, 0.5), soft, bool(rng.random() < 0.3), nets, preretinal
    )


def blob(
    rng: np.random.Generator,
    centre: Float[np.ndarray, "2"],
    half_axes: tuple[float, float],
    angle: float = 0.0,
    roughness: float = 0.2,
    corners: int = 14,
) -> Float[np.ndarray, "corners 2"]:
    """An ellipse with an irregular outline; ``angle`` rotates its first axis, in radians."""
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    reach = np.exp(roughness * rng.standard_normal(corners))
    along, across = half_axes[0] * reach * np.cos(turn), half_axes[1] * reach * np.sin(turn)
    cosine, sine = np.cos(angle), np.sin(angle)
    return centre + np.stack([cosine * along - sine * across, sine * along + cosine * across], -1)


class Drawing:
    """Canvases of all lesion types of one eye, and the lesions' centres.

    Attributes:
        canvas: one for each of LESIONS, and "preretinal" for the pre-retinal part of the haemorrhages.
        centres: centres of the lesions by type (of the spots, for hard exudates), in field units.
    """

    def __init__(self, ground: Ground, size: int, mirror: int) -> None:
        self.ground = ground
        self.diameter = ground.traits.disc_diameter
        radius = ground.camera.radius
        self.canvas = {name: Canvas(size, radius, mirror) for name in (*LESIONS, "preretinal")}
        self.centres: dict[str, list[Float[np.ndarray, "2"]]] = {name: [] for name in LESIONS}

    def microaneurysms(self, rng: np.random.Generator, count: int) -> None:
        """Dots of 0.025 to 0.05 disc diameters next to vessels."""
        for centre in self.ground.beside_vessels(rng, count, 0.03 * self.diameter + 0.007):
            radius = 0.5 * self.diameter * rng.uniform(0.025, 0.05)
            self.canvas["microaneurysm"].dot(centre, radius, rng.uniform(0.7, 1))
            self.centres["microaneurysm"].append(centre)

    def haemorrhages(self, rng: np.random.Generator, per_quadrant: tuple[int, int, int, int]) -> None:
        """Dots and blots (0.06 to 0.28 disc diameters), and flames along the nerve fibres."""
        for number, count in enumerate(per_quadrant):
            candidates = self.ground.anywhere(rng, 12 * count + 40, 0.04)
            centres = candidates[quadrant(candidates) == number][:count]
            # Not on the axes: rounding must not move a lesion into the next quadrant.
            centres = np.where(np.abs(centres) < 0.03, np.copysign(0.03, centres), centres)
            for centre in centres:
                if rng.random() < 0.25:
                    self._flame(rng, centre)
                else:
                    size = 0.5 * self.diameter * 0.06 * (0.28 / 0.06) ** (rng.random() ** 1.6)
                    shape = (size, size * rng.uniform(0.6, 1))
                    outline = blob(rng, centre, shape, rng.uniform(0, np.pi), 0.22)
                    self.canvas["haemorrhage"].polygon(outline, rng.uniform(0.65, 1))
                self.centres["haemorrhage"].append(centre)

    def _flame(self, rng: np.random.Generator, centre: Float[np.ndarray, "2"]) -> None:
        # Nerve fibres run in arcs from the disc, above and below the fovea.
        away = centre - self.ground.traits.disc
        direction = np.arctan2(away[1], away[0]) + 0.35 * np.sign(away[1]) * (away[0] > 0)
        length, depth = self.diameter * rng.uniform(0.08, 0.2), rng.uniform(0.6, 0.95)
        for _ in range(3):
            shift = rng.normal(0, 0.25 * length, 2)
            half_axes = (length * rng.uniform(0.5, 1), length * rng.uniform(0.1, 0.2))
            outline = blob(rng, centre + 0.5 * shift, half_axes, direction, 0.2, 18)
            self.canvas["haemorrhage"].polygon(outline, depth)

    def hard_exudates(self, rng: np.random.Generator, clusters: int) -> None:
        """Clusters of sharp bright spots, dense or in a ring (circinate), mostly around the macula."""
        fovea = self.ground.traits.fovea
        for _ in range(clusters):
            angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.18, 0.55)
            middle = fovea + distance * np.array([np.cos(angle), np.sin(angle)])
            count = int(rng.integers(12, 45))
            if rng.random() < 0.35:
                around = rng.uniform(0, 2 * np.pi) + rng.uniform(0, rng.uniform(3, 6.3), count)
                ring = rng.uniform(0.35, 0.65) * self.diameter * rng.normal(1, 0.12, count)
                spots = middle + np.stack([ring * np.cos(around), ring * np.sin(around)], -1)
            else:
                spots = middle + rng.normal(0, rng.uniform(0.12, 0.3) * self.diameter, (count, 2)) * [1, 0.7]
            radii = 0.5 * self.diameter * 0.03 * 4 ** (rng.random(count) ** 2)
            for centre, radius in zip(spots, radii, strict=True):
                if self.ground.allowed(centre[None], 0.02)[0]:
                    shape = (radius, radius * rng.uniform(0.6, 1))
                    outline = blob(rng, centre, shape, rng.uniform(0, np.pi), 0.25, 10)
                    self.canvas["hard_exudate"].polygon(outline, rng.uniform(0.55, 1))
                    self.centres["hard_exudate"].append(centre)

    def soft_exudates(self, rng: np.random.Generator, count: int) -> None:
        """Cotton-wool spots: pale and fluffy, 0.2 to 0.4 disc diameters, not far from the disc."""
        candidates = self.ground.beside_vessels(rng, 6 * count + 6, 0.0)
        near = np.hypot(*(candidates - self.ground.traits.disc).T) < 0.95
        for centre in candidates[np.argsort(~near, kind="stable")][:count]:
            size, angle = 0.5 * self.diameter * rng.uniform(0.2, 0.4), rng.uniform(0, np.pi)
            for _ in range(4):
                outline = blob(
                    rng, centre + rng.normal(0, 0.35 * size, 2), (0.75 * size, 0.5 * size), angle, 0.15
                )
                self.canvas["soft_exudate"].polygon(outline, rng.uniform(0.6, 1))
            self.centres["soft_exudate"].append(centre)

    def new_vessels(self, rng: np.random.Generator, location: str) -> None:
        """A fine tortuous net, on the disc or on an arcade vessel."""
        root, reach = self.ground.traits.disc, 0.75 * self.diameter
        if location == "elsewhere":
            points = self.ground.tree[0].points[:, 25:].reshape(-1, 2)
            points = points[self.ground.allowed(points, 0.12)]
            root, reach = points[rng.integers(len(points))], 0.45 * self.diameter
        angle = np.linspace(0, 2 * np.pi, 9, endpoint=False) + rng.normal(0, 0.25, 9)
        ends = np.stack([np.cos(angle), np.sin(angle)], -1) * reach * rng.uniform(0.5, 1.1, (9, 1))
        courses = root + np.linspace(0.05, 1, 4)[None, :, None] * ends[:, None]
        stems = trunks(courses, np.full(9, 0.0065), np.ones(9, bool), 32, 0.3)
        stems = Bundle(meander(rng, stems.points, 0.09), stems.width, stems.vein)
        twigs = branches(rng, stems, 6, (0.25 * reach, 0.55 * reach), 16, 0.09, (0.7, 0.95), start=0.2)
        for level in (stems, twigs):
            draw(self.canvas["neovascularisation"], level, np.ones(len(level.vein), bool), 0.009)
        self.centres["neovascularisation"].append(root)

    def preretinal_haemorrhage(self, rng: np.random.Generator) -> None:
        """Blood in front of the retina: it sinks, so its upper edge is level and its lower one round."""
        candidates = self.ground.anywhere(rng, 60, 0.25)
        centre = candidates[np.argmax(candidates[:, 1] > 0.1)]
        half_width = 0.5 * self.diameter * rng.uniform(0.8, 1.5)
        turn = np.linspace(0, np.pi, 24)
        reach = half_width * np.exp(0.02 * rng.standard_normal(24))
        below = np.stack([reach * np.cos(turn), 0.65 * reach * np.sin(turn)], -1)
        below[[0, -1], 1] = 0
        for name in ("preretinal", "haemorrhage"):
            self.canvas[name].polygon(centre + below)
        self.centres["haemorrhage"].append(centre)

    def mask(self, name: str, field: Float[np.ndarray, "size size"]) -> Bool[np.ndarray, "size size"]:
        """Ground truth of one lesion type: pixels at least half covered, and the pixel of each centre.

        New vessels are marked as the region that the net covers, as graders outline it.
        """
        canvas = self.canvas[name]
        if name == "neovascularisation" and not canvas.empty:
            reach = max(3, round(0.03 * canvas.side / 2)) | 1
            kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
            marked = Canvas(canvas.size)
            marked.values, marked.empty = cv2.morphologyEx(canvas.values, cv2.MORPH_CLOSE, kernel), False
            mask = marked.mask()
        else:
            mask = canvas.mask()
        if self.centres[name]:
            pixels = (canvas.pixels(np.stack(self.centres[name])) + 8) // 16 * canvas.size // canvas.side
            column, row = np.clip(pixels, 0, canvas.size - 1).T
            mask[row, column] = True
        return mask & (field > 0.5)


def draw_lesions(rng: np.random.Generator, planned: Plan, ground: Ground, size: int, mirror: int) -> Drawing:
    """Draws all lesions of a plan."""
    drawing = Drawing(ground, size, mirror)
    drawing.microaneurysms(rng, planned.microaneurysms)
    drawing.haemorrhages(rng, planned.haemorrhages)
    drawing.hard_exudates(rng, planned.clusters)
    drawing.soft_exudates(rng, planned.soft_exudates)
    for location in planned.nets:
        drawing.new_vessels(rng, location)
    if planned.preretinal:
        drawing.preretinal_haemorrhage(rng)
    return drawing
