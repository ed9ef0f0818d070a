"""Synthetic chest radiographs (PA): rays through a small model of the chest, with exact ground truth and a report.

The loss of a ray is the integral of attenuation along it (``thorax.py``, ``bones.py``); ``chest_findings.py``
adds fluid, consolidation, air or a nodule. The image shows the logarithm of the detected intensity, as
radiography systems do. Nothing here represents any patient.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from modicum.data.phantoms.bones import ribs, shoulders, spine
from modicum.data.phantoms.chest_findings import (
    FINDINGS,
    FindingLocations,
    LungState,
    add_findings,
    choose_findings,
    choose_locations,
)
from modicum.data.phantoms.chest_report import report
from modicum.data.phantoms.fields import as_seed, check_size, resize, stream
from modicum.data.phantoms.thorax import Map, Thorax, thorax_traits

_SOFT_TISSUE = 0.19
"""Attenuation of soft tissue in 1/cm, at the mean energy of a chest tube."""
_RIB, _SHOULDER, _SPINE = 0.72, 1.0, 0.24
"""Attenuation of the thickest part of these bones beyond that of soft tissue."""


@dataclass(frozen=True)
class ChestPhantom:
    """One synthetic radiograph and its ground truth.

    Attributes:
        image: the radiograph, bright where little radiation arrived.
        findings: those present, of FINDINGS.
        labels: 1 or 0 for each of FINDINGS.
        masks: where each finding present is (for cardiomegaly, the heart).
        lungs: "right" and "left" lung fields, the patient's sides (the right is on the left of the image).
        heart: the heart's outline.
        cardiothoracic_ratio: width of the heart over that of the rib cage.
        locations: sides, lobes and sizes.
        report: text with FINDINGS and IMPRESSION.
        view: always "PA".
        seed: seed of the patient.
    """

    image: UInt8[np.ndarray, "size size"]
    findings: frozenset[str]
    labels: dict[str, int]
    masks: dict[str, Bool[np.ndarray, "size size"]]
    lungs: dict[str, Bool[np.ndarray, "size size"]]
    heart: Bool[np.ndarray, "size size"]
    cardiothoracic_ratio: float
    locations: FindingLocations
    report: str
    view: str
    seed: int


def _attenuation(thorax: Thorax, state: LungState) -> Map:
    """Attenuation of each ray: the logarithm of the intensity before over that after the patient."""
    lung = thorax.sides["right"].lung + thorax.sides["left"].lung
    solid = np.maximum(thorax.heart, thorax.mediastinum)
    # Heart and great vessels replace lung in its depth.
    aerated = np.maximum(lung - solid, 0)
    vessels = 2.0 * thorax.lung_vessels() * state.markings * aerated / np.maximum(lung, 1)
    gas = thorax.airways() + thorax.stomach()
    tissue = thorax.body + thorax.breasts - aerated * (1 - state.density) + vessels + state.extra - gas
    bone = _RIB * ribs(thorax) + _SHOULDER * shoulders(thorax) + _SPINE * spine(thorax)
    return (_SOFT_TISSUE * np.maximum(tissue, 0) + bone * (thorax.body > 2)).astype(np.float32)


def _display(seed: int, attenuation: Map) -> UInt8[np.ndarray, "size size"]:
    """Detector and display: quantum noise, scatter, evened-out large structures, a film-like curve, 8 bits."""
    rng, size = stream(seed, "detector"), attenuation.shape[0]
    dose = rng.uniform(0.7, 1.5)
    # Few quanta arrive behind thick parts; after the logarithm their noise grows as the root of the attenuation.
    spread = 0.0035 * min(1.0, size / 512) / dose * np.exp(attenuation / 2)
    seen = attenuation + (spread * rng.standard_normal((size, size), dtype=np.float32)).astype(np.float32)
    seen = cv2.GaussianBlur(seen, (0, 0), 0.0016 * size) if size >= 128 else seen
    smooth = cv2.GaussianBlur(resize(seen, 64), (0, 0), 5)
    even = seen - rng.uniform(0.3, 0.45) * resize(smooth, size)
    small, patient = resize(even, 64), resize(attenuation, 64) > 0.8
    low, high = np.percentile(small[patient], [1, 99])
    level = 0.1 + 0.82 * (even - low) / max(float(high - low), 1e-3)
    level = np.clip(level, 0, None) ** np.float32(rng.uniform(0.85, 1.2))
    level = np.where(level > 0.8, 0.8 + 0.2 * np.tanh((level - 0.8) * 5), level)
    level *= np.clip(attenuation / 0.4, 0, 1)  # nothing but air: black
    return np.clip(255 * level + 0.5, 0, 255).astype(np.uint8)


def _marker(image: UInt8[np.ndarray, "size size"], seed: int) -> None:
    """Draws the lead letter next to the patient's left shoulder, on the right of the image."""
    rng, size = stream(seed, "marker"), image.shape[0]
    if size < 64:
        return
    corner = (int(size * rng.uniform(0.86, 0.91)), int(size * rng.uniform(0.09, 0.13)))
    cv2.putText(
        image, "L", corner, cv2.FONT_HERSHEY_SIMPLEX, size / 500, 235, max(1, size // 220), cv2.LINE_AA
    )


def chest(
    seed: int | np.integer | np.random.Generator,
    size: int = 512,
    findings: AbstractSet[str] | None = None,
) -> ChestPhantom:
    """Makes a frontal (PA) chest radiograph.

    The seed is the patient; the same seed gives the same chest at every size and, findings apart, with every
    set of findings.

    Args:
        seed: 0 or more; or a generator, which gives another patient at each call.
        size: side of the image in pixels, 16 to 4096.
        findings: which of FINDINGS are present, an empty set for a normal chest, or None to draw them.

    Raises:
        InputError: if an argument is outside its range.
    """
    seed, size = as_seed(seed), check_size(size)
    present = choose_findings(seed, findings)
    locations = choose_locations(seed, present)
    traits = thorax_traits(seed, "cardiomegaly" in present)
    thorax = Thorax(seed, traits, size)
    state = add_findings(thorax, present, locations)
    image = _display(seed, _attenuation(thorax, state))
    _marker(image, seed)
    heart = thorax.heart > 0.5
    widest = float(np.max(thorax.lateral(np.linspace(-0.5, traits.base, 60))))
    columns = np.flatnonzero(heart.any(0))
    ratio = (columns[-1] - columns[0] + 1) * 2 / size / (2 * widest)
    return ChestPhantom(
        image=image,
        findings=present,
        labels={name: int(name in present) for name in FINDINGS},
        masks=state.masks,
        lungs={name: side.inside > 0.5 for name, side in thorax.sides.items()},
        heart=heart,
        cardiothoracic_ratio=float(ratio),
        locations=locations,
        report=report(stream(seed, "report"), present, locations, ratio),
        view="PA",
        seed=seed,
    )
