"""The synthetic eye: traits, disc, fovea and vessel tree of one patient's left or right eye.

Lengths are in units of the field's radius. Everything is laid out as in a left eye, with the disc (nasal) on
the left of the image and the fovea (temporal) to its right; drawing mirrors it for a right eye.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from modicum.data.phantoms.fields import stream
from modicum.data.phantoms.vessels import Bundle, branches, meander, spare, trunks

Eye = Literal["L", "R"]


@dataclass(frozen=True)
class EyeTraits:
    """Traits of one eye.

    Attributes:
        melanin, choroid, lens: amounts of pigment in the retina's background, of blood behind it and of
            yellowing in the lens (about 0.5 to 1.5, 0.5 to 1.5, 0 to 1).
        tessellation: visibility of the choroid's vessels, 0 to 1.
        disc: centre of the optic disc.
        disc_radius: half-axes of the disc, horizontal and vertical.
        cup_ratio: diameter of the cup over that of the disc.
        cup: centre of the cup.
        fovea: centre of the fovea.
        fovea_depth: how much darker the fovea is.
        tortuosity: sideways displacement of vessels over their length.
        calibre: width of the largest vein at the disc.
        artery_ratio: width of arteries over that of veins.
    """

    melanin: float
    choroid: float
    lens: float
    tessellation: float
    disc: Float[np.ndarray, "2"]
    disc_radius: Float[np.ndarray, "2"]
    cup_ratio: float
    cup: Float[np.ndarray, "2"]
    fovea: Float[np.ndarray, "2"]
    fovea_depth: float
    tortuosity: float
    calibre: float
    artery_ratio: float

    @property
    def disc_diameter(self) -> float:
        """Mean diameter of the optic disc, the unit of lesion sizes."""
        return float(self.disc_radius.sum())


def eye_traits(seed: int, eye: Eye) -> EyeTraits:
    """Draws the traits of one eye: mostly shared by the patient's eyes, with small differences."""
    person = stream(seed, "person")
    eye_rng = stream(seed, "eye", eye)

    def trait(mean: float, spread: float, between_eyes: float) -> float:
        limits = person.standard_normal(), eye_rng.standard_normal()
        return (
            mean + spread * float(np.clip(limits[0], -2, 2)) + between_eyes * float(np.clip(limits[1], -2, 2))
        )

    radius = trait(0.143, 0.009, 0.003)
    disc = np.array([trait(-0.47, 0.02, 0.03), trait(0.0, 0.02, 0.04)])
    cup_ratio = float(np.clip(trait(0.42, 0.09, 0.02), 0.2, 0.7))
    disc_radius = np.array([radius * trait(0.93, 0.03, 0.01), radius * trait(1.06, 0.03, 0.01)])
    tessellation = float(np.clip(person.normal(0.15, 0.35), 0, 1))
    return EyeTraits(
        melanin=float(np.clip(trait(0.85, 0.2, 0.02), 0.4, 1.4)) * (1 - 0.35 * tessellation),
        choroid=float(np.clip(trait(0.9, 0.15, 0.02), 0.5, 1.4)),
        lens=float(np.clip(trait(0.45, 0.25, 0.03), 0, 1)),
        tessellation=tessellation,
        disc=disc,
        disc_radius=disc_radius,
        cup_ratio=cup_ratio,
        cup=disc + disc_radius * np.array([trait(0.14, 0.05, 0.02), trait(0.0, 0.05, 0.03)]),
        fovea=disc + np.array([radius * trait(5.0, 0.2, 0.05), radius * trait(0.45, 0.25, 0.1)]),
        fovea_depth=float(np.clip(trait(0.75, 0.2, 0.05), 0.3, 1.2)),
        tortuosity=float(np.clip(trait(0.012, 0.004, 0.001), 0.004, 0.025)),
        calibre=trait(0.030, 0.003, 0.001),
        artery_ratio=trait(0.72, 0.05, 0.01),
    )


# Courses of the great vessels from the disc, in units of the distance from disc to fovea, y downwards:
# the two temporal arcades, the two nasal vessels, and small ones to the macula and straight to the nose.
_ARCADE = np.array([[-0.04, 0.04], [-0.03, -0.13], [0.06, -0.38], [0.36, -0.7], [1.05, -0.88], [2.0, -0.75]])
_NASAL = np.array(
    [[-0.05, 0.04], [-0.06, -0.12], [-0.15, -0.33], [-0.33, -0.62], [-0.5, -0.95], [-0.6, -1.3]]
)
_MACULAR = np.array([[-0.02, 0.0], [0.08, -0.1], [0.25, -0.17], [0.42, -0.22], [0.62, -0.24], [0.8, -0.2]])
_STRAIGHT = np.array(
    [[-0.05, 0.0], [-0.13, -0.05], [-0.25, -0.1], [-0.4, -0.15], [-0.55, -0.2], [-0.75, -0.25]]
)
_FLIP = np.array([1.0, -1.0])
_COURSES = np.stack([_ARCADE, _ARCADE * _FLIP, _NASAL, _NASAL * _FLIP])
_SMALL = np.stack([_MACULAR, _MACULAR * _FLIP, _STRAIGHT, _STRAIGHT * _FLIP, _MACULAR * [0.8, 1.6]])


def _great_vessels(rng: np.random.Generator, traits: EyeTraits, vein: bool) -> Bundle:
    """The four arcades of arteries or veins, and the small vessels that leave the disc separately."""
    distance = float(np.linalg.norm(traits.fovea - traits.disc))
    spread = np.linspace(0.012, 0.13, _COURSES.shape[1])[:, None]
    great = _COURSES * rng.uniform(0.9, 1.08, (4, 1, 2)) + spread * rng.standard_normal(_COURSES.shape)
    # Arteries and veins run side by side: the whole course moves a little, not only its points.
    great[:, 1:] += 0.03 * rng.standard_normal((4, 1, 2))
    chosen = rng.permutation(len(_SMALL))[:3]
    small = _SMALL[chosen] + 0.5 * spread * rng.standard_normal((3, *_SMALL.shape[1:]))
    ratio = 1.0 if vein else traits.artery_ratio
    size = np.concatenate([[1, 1, 0.75, 0.75], np.full(3, 0.42)]) * rng.uniform(0.82, 1.0, 7)
    kind = np.full(7, vein)
    bundle = trunks(
        traits.disc + distance * np.concatenate([great, small]), traits.calibre * ratio * size, kind
    )
    return replace(bundle, points=meander(rng, bundle.points, 0.6 * traits.tortuosity))


def vessel_tree(seed: int, eye: Eye, traits: EyeTraits, beading: bool = False) -> list[Bundle]:
    """The retinal vessels of an eye, level by level.

    Args:
        beading: whether the large veins swell and narrow along their course (a sign of severe retinopathy).
    """
    rng = stream(seed, "vessels", eye)
    arteries = _great_vessels(rng, traits, vein=False)
    veins = _great_vessels(rng, traits, vein=True)
    first = Bundle(
        np.concatenate([arteries.points, veins.points]),
        np.concatenate([arteries.width, veins.width]),
        np.concatenate([arteries.vein, veins.vein]),
    )
    second = branches(
        rng, first, 7, (0.32, 0.75), 40, 1.2 * traits.tortuosity, towards=traits.fovea, start=0.12
    )
    third = branches(rng, second, 4, (0.1, 0.32), 16, 1.6 * traits.tortuosity, (0.5, 0.8))
    if beading:
        along = np.linspace(0, 1, first.width.shape[1])
        swell = 1 + 0.45 * np.sin(2 * np.pi * 11 * along) * np.clip(6 * (along - 0.15), 0, 1)
        first = replace(first, width=first.width * np.where(first.vein[:, None], swell, 1))
    zone = 0.4 * traits.disc_diameter
    return [spare(level, traits.fovea, zone) for level in (first, second, third)]
