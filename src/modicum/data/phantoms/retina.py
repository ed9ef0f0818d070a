"""Light from a synthetic retina: background, disc, vessels and lesions, before the camera.

Light from the lamp passes the lens, is absorbed by blood and pigment (Beer-Lambert: transmission is
exp(-extinction * amount) in each colour, with green and blue absorbed most by haemoglobin) and is returned
by the tissue behind.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float

from modicum.data.phantoms.camera import Camera, Exposure, illumination
from modicum.data.phantoms.eye import Eye, EyeTraits
from modicum.data.phantoms.fields import Canvas, axis, noise, resize, stream
from modicum.data.phantoms.lesions import Drawing
from modicum.data.phantoms.vessels import Bundle, draw

_SMOOTH = 144
"""Fields without sharp edges are computed at this size and interpolated."""
_FAINTEST = 0.27
"""Vessels that absorb less than this share of a large vein (a sixth of its calibre) are not in the mask."""
# Extinction of red, green and blue by each absorber, for one unit of it.
_MELANIN = np.array([0.30, 0.78, 1.30], np.float32)
_CHOROID = np.array([0.10, 0.50, 0.55], np.float32)
_LENS = np.array([0.00, 0.10, 0.70], np.float32)
_ARTERY = np.array([0.16, 0.85, 0.62], np.float32)
_VEIN = np.array([0.42, 1.12, 0.75], np.float32)
_BLOOD = np.array([0.55, 1.45, 1.00], np.float32)
_LAMP = np.array([0.98, 0.98, 0.86], np.float32)


@dataclass(frozen=True)
class Scene:
    """The eye in front of the camera, and the camera."""

    seed: int
    eye: Eye
    traits: EyeTraits
    tree: list[Bundle]
    drawing: Drawing
    camera: Camera
    exposure: Exposure

    @property
    def mirror(self) -> int:
        """-1 for a right eye: scenes are laid out as left eyes."""
        return 1 if self.eye == "L" else -1

    def coordinates(self, size: int) -> tuple[Float[np.ndarray, "1 size"], Float[np.ndarray, "size 1"]]:
        """Scene coordinates of the image's pixel centres."""
        along = axis(size) / np.float32(self.camera.radius)
        return self.mirror * along[None, :], along[:, None]


@dataclass(frozen=True)
class Retina:
    """Light from the retina, and masks of its parts."""

    light: Float[np.ndarray, "size size 3"]
    vessels: Bool[np.ndarray, "size size"]
    disc: Bool[np.ndarray, "size size"]
    cup: Bool[np.ndarray, "size size"]


def _distance(
    x: Float[np.ndarray, "1 w"], y: Float[np.ndarray, "h 1"], centre: np.ndarray, axes: np.ndarray
) -> Float[np.ndarray, "h w"]:
    """Distance from a centre in units of the half-axes of an ellipse."""
    # Python floats: numpy's own would turn the whole field into doubles.
    across = (x - float(centre[0])) / float(axes[0])
    down = (y - float(centre[1])) / float(axes[1])
    return np.sqrt(across**2 + down**2).astype(np.float32)


def _background(
    scene: Scene, light: Float[np.ndarray, "n n"], x: Float[np.ndarray, "1 n"], y: Float[np.ndarray, "n 1"]
) -> Float[np.ndarray, "n n 3"]:
    """The retina without disc, vessels and lesions: pigment, choroid, macula and the nerve fibres' sheen."""
    traits = scene.traits
    rng = stream(scene.seed, "background", scene.eye)
    size = light.shape[0]
    melanin = traits.melanin * np.exp(0.07 * noise(rng, 3, size, 3) + 0.035 * noise(rng, 24, size, 2))
    choroid = traits.choroid * np.exp(0.10 * noise(rng, 2, size, 2))
    # Choroidal vessels: ridges of a noise, pigment between them; hidden under the macula.
    ridges = np.exp(-((noise(rng, 20, size, 2, 0.3) / 0.35) ** 2))
    to_fovea = _distance(x, y, traits.fovea, np.ones(2))
    visibility = traits.tessellation * (1 - 0.9 * np.exp(-((to_fovea / 0.35) ** 2)))
    melanin *= 1 + 0.2 * visibility * (0.5 - ridges)
    choroid *= 1 + 0.4 * visibility * (ridges - 0.3)
    melanin += 0.16 * np.exp(-((to_fovea / 0.28) ** 2))
    melanin += 0.75 * traits.fovea_depth * np.exp(-((to_fovea / (0.42 * traits.disc_diameter)) ** 2))
    absorbed = melanin[..., None] * _MELANIN + choroid[..., None] * _CHOROID + traits.lens * _LENS
    colour = _LAMP * np.exp(-absorbed)
    to_disc = _distance(x, y, traits.disc, np.ones(2))
    angle = np.arctan2(y - float(traits.disc[1]), x - float(traits.disc[0]))
    streaks = stream(scene.seed, "fibres", scene.eye).standard_normal(120)
    striae = np.interp((angle + np.pi) / (2 * np.pi) * 119, np.arange(120), streaks).astype(np.float32)
    sheen = np.exp(-((to_disc / 0.42) ** 2)) * (0.2 + 0.05 * striae) * np.abs(np.sin(angle)) ** 0.5
    sheen += 0.10 * np.exp(-((to_disc / 0.26) ** 2))
    colour = colour * (1 + 0.6 * sheen[..., None]) + sheen[..., None] * np.array(
        [0.10, 0.13, 0.07], np.float32
    )
    return (colour * light[..., None]).astype(np.float32)


def _sigmoid(value: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    return 0.5 + 0.5 * np.tanh(0.5 * value)


def _disc_colour(seed: int, traits: EyeTraits) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Colours of the disc's rim and of its cup."""
    rng = stream(seed, "disc")
    yellow = np.array([1.0, 1.0, 1.0 - 0.35 * traits.lens])
    rim = np.array([0.92, 0.58, 0.30]) * yellow * rng.uniform(0.93, 1.03)
    cup = np.array([1.0, 0.80, 0.52]) * yellow * rng.uniform(0.95, 1.03)
    return rim.astype(np.float32), cup.astype(np.float32)


def _paint_disc(
    scene: Scene,
    picture: Float[np.ndarray, "n n 3"],
    light: Float[np.ndarray, "n n"],
    x: Float[np.ndarray, "1 n"],
    y: Float[np.ndarray, "n 1"],
) -> tuple[Bool[np.ndarray, "n n"], Bool[np.ndarray, "n n"]]:
    """Paints the disc and its cup into the image; returns their masks."""
    traits = scene.traits
    rim, cup = _disc_colour(scene.seed, traits)
    disc_mask, cup_mask = np.zeros(light.shape, bool), np.zeros(light.shape, bool)
    # Beyond 1.4 radii the disc has no effect; painting only its surroundings saves time.
    near_x = np.abs(x[0] - traits.disc[0]) < 1.4 * traits.disc_radius[0]
    near_y = np.abs(y[:, 0] - traits.disc[1]) < 1.4 * traits.disc_radius[1]
    around = np.ix_(near_y, near_x)
    x, y, light = x[:, near_x], y[near_y], light[around][..., None]
    to_disc = _distance(x, y, traits.disc, traits.disc_radius)
    to_cup = _distance(x, y, traits.cup, traits.cup_ratio * traits.disc_radius)
    part = _blend(picture[around], _sigmoid((1 - to_disc) * 28), light * rim)
    picture[around] = _blend(part, 0.85 * _sigmoid((1 - to_cup) * 7), light * cup)
    disc_mask[around] = to_disc < 1
    cup_mask[around] = (to_disc < 1) & (to_cup < 1)
    return disc_mask, cup_mask


def _blend(
    picture: Float[np.ndarray, "h w 3"],
    share: Float[np.ndarray, "h w"],
    colour: Float[np.ndarray, "h w 3"] | Float[np.ndarray, "3"],
) -> Float[np.ndarray, "h w 3"]:
    return picture + share[..., None] * (colour - picture)


def _draw_vessels(scene: Scene, size: int) -> tuple[Canvas, Canvas, Canvas]:
    """Canvases of arteries, veins and the light reflex along the middle of the larger ones."""
    tree, traits = scene.tree, scene.traits
    arteries, veins, reflex = (Canvas(size, scene.camera.radius, scene.mirror) for _ in range(3))
    for level, pieces in zip(reversed(tree), (1, 2, 10), strict=True):
        draw(arteries, level, ~level.vein, traits.calibre, pieces)
        draw(veins, level, level.vein, traits.calibre, pieces)
    for level, pieces in ((tree[1], 1), (tree[0], 4)):
        draw(reflex, level, ~level.vein, 0.7 * traits.calibre, pieces, share=0.3, thinnest=0.008)
        draw(reflex, level, level.vein, 2.5 * traits.calibre, pieces, share=0.25, thinnest=0.015)
    return arteries, veins, reflex


def _soften(field: Float[np.ndarray, "n n"], sigma: float) -> Float[np.ndarray, "n n"]:
    return cv2.GaussianBlur(field, (0, 0), sigma) if sigma > 0.2 else field


def _add_lesions(
    picture: Float[np.ndarray, "n n 3"], drawing: Drawing, light: Float[np.ndarray, "n n"], unit: float
) -> Float[np.ndarray, "n n 3"]:
    """Adds lesions: exudates cover, blood absorbs. ``unit`` is the field's radius in pixels."""
    canvas = drawing.canvas
    if not canvas["soft_exudate"].empty:
        share = 0.45 * _soften(canvas["soft_exudate"].field(), 0.019 * unit)
        picture = _blend(picture, share, light[..., None] * np.array([0.95, 0.86, 0.66], np.float32))
    if not canvas["hard_exudate"].empty:
        share = 0.85 * _soften(canvas["hard_exudate"].field(), 0.003 * unit)
        picture = _blend(picture, share, light[..., None] * np.array([1.05, 0.90, 0.42], np.float32))
    blood = np.zeros(light.shape, np.float32)
    for name, softness, strength in (
        ("neovascularisation", 0.0015, 0.75),
        ("microaneurysm", 0.002, 0.9),
        ("haemorrhage", 0.005, 0.72),
    ):
        if not canvas[name].empty:
            blood += strength * _soften(canvas[name].field(), softness * unit)
    if blood.any():
        picture = picture * np.exp(-blood[..., None] * _BLOOD)
    if not canvas["preretinal"].empty:
        share = 0.8 * _soften(canvas["preretinal"].field(), 0.012 * unit)
        picture = _blend(picture, share, light[..., None] * np.array([0.34, 0.06, 0.04], np.float32))
    return picture


def render(scene: Scene, size: int) -> Retina:
    """Light that leaves the eye towards the camera, and the masks of its normal parts."""
    unit = 0.5 * size * scene.camera.radius
    x, y = scene.coordinates(_SMOOTH)
    coarse_light = illumination(scene.camera, scene.exposure, x, y)
    light = resize(coarse_light, size)
    picture = resize(_background(scene, coarse_light, x, y), size)
    grain = noise(stream(scene.seed, "grain", scene.eye), 150, size)
    picture = picture * (1 + 0.012 * grain)[..., None]

    x, y = scene.coordinates(size)
    inside_disc, inside_cup = _paint_disc(scene, picture, light, x, y)
    arteries, veins, reflex = _draw_vessels(scene, size)
    blood = arteries.field()[..., None] * _ARTERY + veins.field()[..., None] * _VEIN
    picture = picture * np.exp(-blood) * (1 + 0.25 * reflex.field())[..., None]
    picture = _add_lesions(picture, scene.drawing, light, unit)

    # Stray light is bluish and strongest towards the rim, where the pupil's edge scatters.
    amount = scene.camera.haze + scene.exposure.haze
    veil = resize((amount * (0.6 + 0.9 * (1 - coarse_light))).astype(np.float32), size)
    picture = _blend(picture, veil, np.array([0.62, 0.58, 0.46], np.float32))
    return Retina(picture, arteries.mask(_FAINTEST) | veins.mask(_FAINTEST), inside_disc, inside_cup)
