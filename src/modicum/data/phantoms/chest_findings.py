"""Findings on a synthetic chest radiograph: their locations and how they change the lung's tissue."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool

from modicum.data.phantoms.fields import noise, stream
from modicum.data.phantoms.thorax import CM_PER_UNIT, LUNG_DENSITY, Map, Thorax
from modicum.errors import InputError, did_you_mean

FINDINGS = ("cardiomegaly", "effusion_left", "effusion_right", "consolidation", "pneumothorax", "nodule")
LOBES = ("right upper lobe", "right middle lobe", "right lower lobe", "left upper lobe", "left lower lobe")
_PROBABILITIES = (0.3, 0.25, 0.25, 0.3, 0.18, 0.22)
_NORMAL_SHARE = 0.35
# Centre (outwards, down) and half-axes of the part of each lobe where consolidation is added.
_LOBE_LOCATIONS = {
    "right upper lobe": ((0.36, -0.36), (0.24, 0.20)),
    "right middle lobe": ((0.34, 0.12), (0.22, 0.14)),
    "right lower lobe": ((0.44, 0.24), (0.24, 0.18)),
    "left upper lobe": ((0.36, -0.34), (0.23, 0.21)),
    "left lower lobe": ((0.48, 0.24), (0.22, 0.19)),
}


@dataclass(frozen=True)
class FindingLocations:
    """Locations and sizes of the findings.

    Attributes:
        size_of: "small", "moderate" or "large" by finding (effusions and pneumothorax).
        lobe: lobe of the consolidation.
        pneumothorax: side of the pneumothorax.
        nodule: side of the nodule.
        nodule_cm: diameter of the nodule in cm.
    """

    size_of: dict[str, str] = field(default_factory=dict)
    lobe: str | None = None
    pneumothorax: str | None = None
    nodule: str | None = None
    nodule_cm: float | None = None


def choose_findings(seed: int, findings: AbstractSet[str] | None) -> frozenset[str]:
    """Checks the findings, or draws a random set (more than a third of the patients have none)."""
    if findings is not None:
        for name in sorted(findings):
            if name not in FINDINGS:
                raise InputError(f"unknown chest finding '{name}'", did_you_mean(name, FINDINGS))
        return frozenset(findings)
    rng = stream(seed, "findings")
    if rng.random() < _NORMAL_SHARE:
        return frozenset()
    while True:
        present = rng.random(len(FINDINGS)) < _PROBABILITIES
        if present.any():
            return frozenset(name for name, is_present in zip(FINDINGS, present, strict=True) if is_present)


def choose_locations(seed: int, findings: frozenset[str]) -> FindingLocations:
    """Draws sides, lobes and sizes so that findings do not hide each other."""
    rng = stream(seed, "places")
    sizes = {name: ("small", "moderate", "large")[rng.choice(3, p=[0.4, 0.4, 0.2])] for name in FINDINGS}
    chosen = {
        n: s for n, s in sizes.items() if n in findings and n.split("_")[0] in ("effusion", "pneumothorax")
    }
    lobe, side = LOBES[rng.integers(len(LOBES))], ("right", "left")[rng.integers(2)]
    effusions = [s for s in ("right", "left") if f"effusion_{s}" in findings]
    if "consolidation" in findings:
        # Fluid would cover a lower lobe, so the upper lobe of that side is taken then.
        if lobe.split()[0] in effusions and "upper" not in lobe:
            lobe = f"{lobe.split()[0]} upper lobe"
        side = "left" if lobe.startswith("right") else "right"
    if len(effusions) == 1 and "consolidation" not in findings:
        side = "left" if effusions == ["right"] else "right"
    diameter = float(np.round(rng.uniform(1.2, 2.6), 1))
    return FindingLocations(
        size_of=chosen,
        lobe=lobe if "consolidation" in findings else None,
        pneumothorax=side if "pneumothorax" in findings else None,
        nodule=side if "nodule" in findings else None,
        nodule_cm=diameter if "nodule" in findings else None,
    )


@dataclass
class LungState:
    """The lungs while findings are added.

    Attributes:
        density: tissue in the lung as a fraction of solid tissue.
        markings: visibility of the lung's vessels.
        extra: thickness added to the ray, in cm of soft tissue.
        masks: ground truth by finding.
    """

    density: Map
    markings: Map
    extra: Map
    masks: dict[str, Bool[np.ndarray, "size size"]]


def add_findings(thorax: Thorax, findings: frozenset[str], locations: FindingLocations) -> LungState:
    """Adds all findings to the lungs."""
    blank = np.zeros((thorax.size, thorax.size), np.float32)
    texture = noise(stream(thorax.seed, "lung"), 40, thorax.size, 3, 0.7)
    state = LungState(LUNG_DENSITY * (1 + 0.045 * texture), blank + 1, blank.copy(), {})
    if "cardiomegaly" in findings:
        state.masks["cardiomegaly"] = thorax.heart > 0.5
    if locations.lobe is not None:
        _consolidation(thorax, state, locations.lobe)
    if locations.pneumothorax is not None:
        _pneumothorax(thorax, state, locations.pneumothorax, locations.size_of["pneumothorax"])
    if locations.nodule is not None and locations.nodule_cm is not None:
        _nodule(thorax, state, locations.nodule, locations.nodule_cm)
    for side in ("right", "left"):
        if f"effusion_{side}" in findings:
            _effusion(thorax, state, side, locations.size_of[f"effusion_{side}"])
    return state


def _mix(below: Map, share: Map, value: float | Map) -> Map:
    return np.asarray(below + share * (value - below), np.float32)


def _effusion(thorax: Thorax, state: LungState, name: str, amount: str) -> None:
    # Free fluid stands higher along the outer wall (the meniscus) and hides diaphragm and costophrenic angle.
    side, rng = thorax.sides[name], stream(thorax.seed, "effusion", name)
    depth = {"small": 0.17, "moderate": 0.34, "large": 0.58}[amount] * rng.uniform(0.93, 1.07)
    outwards = np.clip(side.across, 0, 1)
    wave = 0.012 * np.sin(5 * outwards + rng.uniform(0, 6))
    surface = thorax.traits.base + 0.03 - depth * (0.58 + 0.42 * outwards**4) + wave
    share = np.clip((thorax.y - surface) / 0.035 + 0.5, 0, 1).astype(np.float32)
    state.density = _mix(state.density, np.where(side.u > 0, share, 0), 1.0)
    state.markings = state.markings * (1 - 0.9 * share * side.inside)
    state.masks[f"effusion_{name}"] = (share > 0.5) & (side.inside > 0.5)


def _consolidation(thorax: Thorax, state: LungState, lobe: str) -> None:
    side, rng = thorax.sides[lobe.split()[0]], stream(thorax.seed, "consolidation")
    (out, down), half_axes = _LOBE_LOCATIONS[lobe]
    centre = np.array([out, down]) + rng.normal(0, 0.025, 2)
    scale = rng.uniform(0.95, 1.25)
    distance = np.hypot((side.u - centre[0]) / half_axes[0], (thorax.y - centre[1]) / half_axes[1]) / scale
    ragged = distance + 0.17 * noise(rng, 6, thorax.size, 3, 0.5)
    share = np.asarray(1 / (1 + np.exp(np.clip((ragged - 0.95) * 6, -30, 30))), np.float32)
    if lobe in ("right upper lobe", "right middle lobe"):
        fissure = (thorax.y + 0.06 + 0.05 * side.u) / 0.012
        below = 1 / (1 + np.exp(-np.clip(fissure, -30, 30)))
        share = (share * (below if "middle" in lobe else 1 - below)).astype(np.float32)
    patchy = 0.66 + 0.06 * noise(rng, 14, thorax.size, 3)
    state.density = _mix(state.density, share * side.inside, np.clip(patchy, 0.3, 1).astype(np.float32))
    state.markings = state.markings * (1 - 0.8 * share)
    state.masks["consolidation"] = (share > 0.5) & (side.inside > 0.5)


def _pneumothorax(thorax: Thorax, state: LungState, name: str, amount: str) -> None:
    # Air rises: the lung falls away from the apex and the outer wall; its edge shows as a fine white line.
    side, rng = thorax.sides[name], stream(thorax.seed, "pneumothorax")
    gap = {"small": 0.07, "moderate": 0.12, "large": 0.2}[amount] * rng.uniform(0.93, 1.07)
    traits = thorax.traits
    lower = np.clip((thorax.y - traits.apex) / (traits.base - traits.apex), 0, 1)
    outer = thorax.lateral(thorax.y - 1.1 * gap) - gap * (1 - 0.65 * lower)
    beyond = side.u - outer
    soft = 1.5 / thorax.size
    air = (side.inside / (1 + np.exp(np.clip(-beyond / soft, -30, 30)))).astype(np.float32)
    state.density = _mix(state.density, air, 0.09)
    state.markings = state.markings * (1 - air)
    line = np.exp(-((beyond / 0.006) ** 2)) * side.inside * (thorax.y > traits.apex + 1.1 * gap)
    state.extra = state.extra + (0.55 * line).astype(np.float32)
    state.masks["pneumothorax"] = (air > 0.5) & (side.inside > 0.5)


def _nodule(thorax: Thorax, state: LungState, name: str, diameter_cm: float) -> None:
    rng = stream(thorax.seed, "nodule")
    side, sign = thorax.sides[name], -1 if name == "right" else 1
    level = rng.uniform(-0.5, -0.12)
    outer = float(thorax.lateral(np.array(level)))
    centre = (sign * (0.05 + rng.uniform(0.4, 0.62) * (outer - 0.05)), level)
    radius = 0.5 * diameter_cm / CM_PER_UNIT
    ball = thorax.ellipsoid(centre, (radius, radius * rng.uniform(0.85, 1)), diameter_cm, rng.uniform(0, 3))
    state.extra = state.extra + 1.25 * ball * side.inside
    state.masks["nodule"] = ball > 0.2 * diameter_cm
    if not state.masks["nodule"].any():  # smaller than a pixel: mark its centre
        column, row = (np.array([centre[0] + thorax.traits.tilt, centre[1]]) + 1) * thorax.size / 2
        state.masks["nodule"][int(row), int(column)] = True
