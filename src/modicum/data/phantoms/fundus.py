"""Synthetic fundus images: a small physical model of the retina, its lesions and a camera, with exact ground truth.

``eye.py`` models the eye, ``lesions.py`` its disease, ``retina.py`` the light it returns and ``camera.py`` the
image of it. Nothing here represents any patient.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from modicum.data.phantoms.camera import CAMERAS, develop, expose, field_of_view
from modicum.data.phantoms.eye import Eye, eye_traits, vessel_tree
from modicum.data.phantoms.fields import as_seed, check_size, stream
from modicum.data.phantoms.lesions import LESIONS, Drawing, Ground, draw_lesions, plan, quadrant
from modicum.data.phantoms.retina import Scene, render
from modicum.errors import InputError, did_you_mean

GRADE_PROBABILITIES = (0.4, 0.15, 0.2, 0.13, 0.12)


@dataclass(frozen=True)
class FundusPhantom:
    """One synthetic photograph and its ground truth.

    Attributes:
        image: the photograph, red, green, blue.
        grade: diabetic retinopathy, 0 to 4 (rules in ``lesions.py``).
        lesions: mask by lesion type (the keys are LESIONS); a pre-retinal haemorrhage counts as haemorrhage.
        vessels: pixels at least half covered by a vessel of more than a sixth of the largest vein's calibre.
        disc, cup: the optic disc and its cup.
        field: pixels inside the camera's field of view.
        fovea, disc_centre: row and column of their centres, in pixels (may be fractions).
        disc_diameter: in pixels.
        haemorrhages_per_quadrant: upper nasal, upper temporal, lower nasal, lower temporal.
        counts: number of lesions by type (spots, for hard exudates).
        beading: whether the veins are beaded.
        eye: "L" or "R".
        domain: the camera.
        seed: seed of the patient: the same seed gives the same patient.
    """

    image: UInt8[np.ndarray, "size size 3"]
    grade: int
    lesions: dict[str, Bool[np.ndarray, "size size"]]
    vessels: Bool[np.ndarray, "size size"]
    disc: Bool[np.ndarray, "size size"]
    cup: Bool[np.ndarray, "size size"]
    field: Bool[np.ndarray, "size size"]
    fovea: tuple[float, float]
    disc_centre: tuple[float, float]
    disc_diameter: float
    haemorrhages_per_quadrant: tuple[int, int, int, int]
    counts: dict[str, int]
    beading: bool
    eye: Eye
    domain: str
    seed: int


def draw_grade(seed: int, eye: Eye, probabilities: Sequence[float | int] = GRADE_PROBABILITIES) -> int:
    """Draws a grade for one eye of a patient; the severities of the two eyes correlate at 0.8."""
    if len(probabilities) != 5 or min(probabilities) < 0 or sum(probabilities) <= 0:
        raise InputError(
            f"grade probabilities {tuple(probabilities)} are not 5 shares",
            "pass 5 numbers of 0 or more, for instance (0.6, 0.1, 0.15, 0.1, 0.05)",
        )
    shared = stream(seed, "severity").standard_normal()
    of_eye = stream(seed, "severity", eye).standard_normal()
    severity = math.sqrt(0.8) * shared + math.sqrt(0.2) * of_eye
    rank = 0.5 * (1 + math.erf(severity / math.sqrt(2)))
    limits = np.cumsum(probabilities) / sum(probabilities)
    return min(int(np.searchsorted(limits, rank)), 4)


def fundus(
    seed: int | np.integer | np.random.Generator,
    size: int = 512,
    grade: int | None = None,
    eye: Eye = "L",
    domain: str = "clinic",
    jpeg: int | None = None,
) -> FundusPhantom:
    """Makes a fundus photograph of one eye.

    The seed is the patient: both eyes of a seed share pigment, disc and vessel character. The eye looks the
    same at every size, and (lesions and beading apart) at every grade.

    Args:
        seed: seed of the patient, 0 or more; or a generator, which gives another patient at each call.
        size: side of the image in pixels, 16 to 4096.
        grade: diabetic retinopathy 0 to 4, or None to draw one that goes with the patient's other eye.
        eye: "L" (disc on the left of the image) or "R".
        domain: the camera, a key of CAMERAS.
        jpeg: JPEG quality to compress the image with, or None.

    Raises:
        InputError: if an argument is outside its range.
    """
    seed, size = as_seed(seed), check_size(size)
    if domain not in CAMERAS:
        raise InputError(f"unknown camera domain '{domain}'", did_you_mean(domain, CAMERAS))
    if grade is None:
        grade = draw_grade(seed, eye)
    if grade not in range(5):
        raise InputError(
            f"grade {grade} is not in 0..4", "pass a grade of the international scale, for instance 2"
        )
    if eye not in ("L", "R"):
        raise InputError(f"unknown eye '{eye}'", "pass 'L' or 'R'")
    camera, traits = CAMERAS[domain], eye_traits(seed, eye)
    lesion_rng = stream(seed, "lesions", eye, grade)
    planned = plan(lesion_rng, grade)
    tree = vessel_tree(seed, eye, traits, planned.beading)
    mirror = 1 if eye == "L" else -1
    drawing = draw_lesions(lesion_rng, planned, Ground(traits, camera, tree), size, mirror)
    camera_rng = stream(seed, "camera", eye, domain)
    scene = Scene(seed, eye, traits, tree, drawing, camera, expose(camera_rng))
    retina = render(scene, size)
    window = field_of_view(camera, *scene.coordinates(size))
    field = window > 0.5
    centres = np.stack([traits.fovea, traits.disc]) * [mirror, 1] * camera.radius
    fovea, disc_centre = ((centres[:, ::-1] + 1) * size / 2 - 0.5).tolist()
    return FundusPhantom(
        image=develop(retina.light, window, camera, scene.exposure, camera_rng, jpeg),
        grade=grade,
        lesions={name: drawing.mask(name, window) for name in LESIONS},
        vessels=retina.vessels & field,
        disc=retina.disc & field,
        cup=retina.cup & field,
        field=field,
        fovea=(fovea[0], fovea[1]),
        disc_centre=(disc_centre[0], disc_centre[1]),
        disc_diameter=traits.disc_diameter * camera.radius * size / 2,
        haemorrhages_per_quadrant=_per_quadrant(drawing),
        counts={name: len(drawing.centres[name]) for name in LESIONS},
        beading=planned.beading,
        eye=eye,
        domain=domain,
        seed=seed,
    )


def _per_quadrant(drawing: Drawing) -> tuple[int, int, int, int]:
    centres = drawing.centres["haemorrhage"]
    number = np.bincount(quadrant(np.stack(centres)), minlength=4) if centres else np.zeros(4, int)
    return int(number[0]), int(number[1]), int(number[2]), int(number[3])
