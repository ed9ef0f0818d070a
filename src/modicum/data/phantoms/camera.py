"""Simulated fundus cameras: from light of the retina to an image."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8


@dataclass(frozen=True)
class Camera:
    """One camera model.

    Attributes:
        radius: radius of the round field as a fraction of half the image.
        cut: the sensor ends at this height above and below the centre, in field radii (1 or more: a full
            circle).
        white: relative brightness of red, green and blue in its lamp and sensor.
        exposure: mean gain.
        falloff: how much darker the edge of the field is than its centre.
        haze: stray light from the lens and cornea.
        blur: width of its point spread function, in field radii.
        noise: standard deviation of the sensor's noise at full signal, at 512 pixels.
        contrast: exponent of the tone curve (1 is linear).
    """

    radius: float
    cut: float
    white: tuple[float, float, float]
    exposure: float
    falloff: float
    haze: float
    blur: float
    noise: float
    contrast: float


CAMERAS: dict[str, Camera] = {
    # A table-top camera in an eye clinic: even, sharp, warm.
    "clinic": Camera(0.97, 1.2, (1.0, 1.0, 1.0), 1.0, 0.24, 0.02, 0.0022, 0.012, 1.0),
    # A screening service: the sensor cuts the circle above and below, redder, more stray light.
    "screening": Camera(0.985, 0.86, (1.08, 0.95, 0.78), 0.96, 0.38, 0.05, 0.003, 0.018, 1.05),
    # A hand-held camera: cool light, uneven, soft and noisy.
    "handheld": Camera(0.92, 1.2, (0.92, 1.06, 1.35), 0.95, 0.5, 0.09, 0.005, 0.03, 0.92),
}


@dataclass(frozen=True)
class Exposure:
    """Parameters that vary between photographs with the same camera.

    Attributes:
        gain: brightness factor.
        white: factors of red, green and blue.
        lean: direction and strength of uneven light, in field radii.
        haze: extra stray light.
        blur: factor on the camera's blur.
    """

    gain: float
    white: Float[np.ndarray, "3"]
    lean: Float[np.ndarray, "2"]
    haze: float
    blur: float


def expose(rng: np.random.Generator) -> Exposure:
    """Draws a random exposure."""
    warmth = rng.normal(0, 0.06)
    return Exposure(
        gain=float(np.exp(np.clip(rng.normal(0, 0.12), -0.28, 0.28))),
        white=np.exp([warmth, 0.0, -1.5 * warmth]).astype(np.float32),
        lean=rng.normal(0, 0.18, 2),
        haze=float(np.clip(rng.exponential(0.025), 0, 0.1)),
        blur=float(rng.uniform(0.8, 1.5)),
    )


def illumination(
    camera: Camera, exposure: Exposure, x: Float[np.ndarray, "1 n"], y: Float[np.ndarray, "n 1"]
) -> Float[np.ndarray, "n n"]:
    """Light that reaches the retina, with falloff from a slightly off-centre maximum."""
    distance = (x - float(exposure.lean[0])) ** 2 + (y - float(exposure.lean[1])) ** 2
    rim = np.clip((x**2 + y**2 - 0.75) / 0.25, 0, 1) ** 2
    return (np.exp(-camera.falloff * distance) * (1 - 0.18 * rim)).astype(np.float32)


def field_of_view(
    camera: Camera, x: Float[np.ndarray, "1 n"], y: Float[np.ndarray, "n 1"]
) -> Float[np.ndarray, "n n"]:
    """The mask of the camera: 1 inside the field, 0 outside, with a soft edge (0.012 of its radius)."""
    inside = np.minimum(1 - np.sqrt(x**2 + y**2), camera.cut - np.abs(y))
    return np.clip(inside / 0.012, 0, 1).astype(np.float32)


def develop(
    light: Float[np.ndarray, "n n 3"],
    field: Float[np.ndarray, "n n"],
    camera: Camera,
    exposure: Exposure,
    rng: np.random.Generator,
    jpeg: int | None,
) -> UInt8[np.ndarray, "n n 3"]:
    """Optics and sensor: blur, white balance, gain, tone curve, noise, rounding to 8 bits and perhaps JPEG.

    Noise is drawn per pixel of a 512-pixel image: a smaller image averages it out, a larger one
    keeps it, as downsizing a photograph would.
    """
    size = light.shape[0]
    sigma = camera.blur * exposure.blur * camera.radius * size / 2
    if sigma > 0.25:
        light = cv2.GaussianBlur(light, (0, 0), sigma)
    gain = camera.exposure * exposure.gain * np.asarray(camera.white, np.float32) * exposure.white
    picture = light * gain.astype(np.float32)
    # The shoulder of the tone curve keeps bright discs and exudates from saturating.
    picture = np.where(picture > 0.75, 0.75 + 0.25 * np.tanh((picture - 0.75) * 4), picture)
    if camera.contrast != 1:
        picture = np.maximum(picture, 0) ** np.float32(camera.contrast)
    amount = camera.noise * min(1.0, size / 512)
    grain = rng.standard_normal((size, size, 3), dtype=np.float32)
    picture += np.float32(amount) * grain * (0.3 + 0.7 * picture)
    picture *= field[..., None]
    rounded = np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
    if jpeg is not None:
        _, coded = cv2.imencode(".jpg", rounded[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, jpeg])
        rounded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR_RGB), np.uint8)
    return rounded
