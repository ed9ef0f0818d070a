"""Example images of a made run: which ones, and drawn pictures of them."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def write_examples(
    place: Path,
    rng: np.random.Generator,
    kind: str,
    classes: tuple[str, ...],
    pictures: int,
    images: Sequence[str],
    truth: np.ndarray,
    probabilities: np.ndarray,
) -> None:
    """Writes ``examples.json`` and its PNG files: two thirds mistakes, one third correct, the surest first."""
    place.mkdir()
    cards = []
    chosen = _chosen(kind, classes, pictures, truth, probabilities)
    for number, (row, correct, says, is_true, probability) in enumerate(chosen):
        picture, overlay = draw_fundus(rng)
        Image.fromarray(picture).save(place / f"{number:03d}.png")
        Image.fromarray(overlay).save(place / f"{number:03d}_map.png")
        cards.append(
            {
                "image": images[row],
                "truth": is_true,
                "prediction": says,
                "probability": probability,
                "kind": "correct" if correct else "mistake",
                "picture": f"{number:03d}.png",
                "overlay": f"{number:03d}_map.png",
            }
        )
    (place / "examples.json").write_text(json.dumps(cards, indent=1), encoding="utf-8")


def _chosen(
    kind: str, classes: tuple[str, ...], pictures: int, truth: np.ndarray, probabilities: np.ndarray
) -> list[tuple[int, bool, str, str, float]]:
    found = []
    if kind == "multi-label":
        for row, finding in zip(*np.nonzero(~np.isnan(truth)), strict=True):
            p, there, name = float(probabilities[row, finding]), truth[row, finding] > 0.5, classes[finding]
            says = p >= 0.5
            words = (name if says else f"no {name}", name if there else f"no {name}")
            if says or there:
                found.append((int(row), bool(says == there), *words, max(p, 1 - p)))
    else:
        for row, probability in enumerate(probabilities):
            says = int(probability.argmax())
            words = (classes[says], classes[truth[row]])
            found.append((row, bool(says == truth[row]), *words, float(probability[says])))
    found.sort(key=lambda entry: -entry[4])
    mistakes = [entry for entry in found if not entry[1]][: 2 * pictures // 3]
    return mistakes + [entry for entry in found if entry[1]][: pictures // 3]


def draw_fundus(rng: np.random.Generator, size: int = 320) -> tuple[np.ndarray, np.ndarray]:
    """A simple drawn eye background and the same with a warm glow where a network might have looked."""
    y, x = np.mgrid[0:size, 0:size] / (size - 1) * 2 - 1
    radius = np.hypot(x, y)
    shade = np.clip(1.1 - 0.55 * radius**2, 0, 1)
    picture = np.stack([0.78 * shade, 0.38 * shade, 0.17 * shade], -1)
    disc = rng.choice([-0.55, 0.55])
    picture += 0.55 * np.exp(-((x - disc) ** 2 + y**2) / 0.02)[..., None] * [1, 0.9, 0.6]
    for _ in range(7):
        bend, tilt = rng.normal(0, 0.8), rng.normal(0, 1.1)
        path = tilt * (x - disc) + bend * (x - disc) ** 2
        picture -= (
            0.22
            * np.exp(-(((y - path) / 0.016) ** 2))[..., None]
            * [0.9, 0.8, 0.5]
            * (radius < 0.97)[..., None]
        )
    heat = np.zeros_like(x)
    for _ in range(rng.integers(2, 7)):
        cx, cy = rng.uniform(-0.6, 0.6, 2)
        spot = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / rng.uniform(0.0004, 0.002))
        picture -= spot[..., None] * [0.45, 0.3, 0.12]
        heat += np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 0.05)
    picture = np.clip(picture, 0, 1) * (radius < 0.98)[..., None]
    heat = np.clip(heat / heat.max(), 0, 1)[..., None] * 0.65
    colour = np.array([1.0, 0.75, 0.1])
    overlay = picture * (1 - heat) + colour * heat * (0.35 + 0.65 * picture.mean(-1, keepdims=True))
    return (picture * 255).astype(np.uint8), (np.clip(overlay, 0, 1) * 255).astype(np.uint8)
