"""Operations that change intensities: colour, blur, noise, erasing, each with its probability and ranges."""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import AfterValidator, Field
from torch import Tensor

from modicum.transforms import photometric
from modicum.transforms.operation import (
    Drawn,
    Limits,
    NonNegativeLimits,
    PhotometricOperation,
    PositiveLimits,
    Probability,
    Shape,
)
from modicum.transforms.windows import log_uniform, random_windows, uniform

Images = Float[Tensor, "batch channels height width"]


def _half_circle(shift: tuple[float, float]) -> tuple[float, float]:
    if shift[0] < -0.5 or shift[1] > 0.5:
        raise ValueError(f"a hue shift of {shift[0]:g} to {shift[1]:g} leaves -0.5 to 0.5 (half the circle)")
    return shift


def _odd(kernel_size: int) -> int:
    if kernel_size % 2 == 0:
        raise ValueError(f"the kernel size {kernel_size} must be odd")
    return kernel_size


class Brightness(PhotometricOperation):
    """Multiplies all intensities.

    Attributes:
        factor: limits of the uniform factor; 1 changes nothing.
    """

    name: Literal["brightness"] = "brightness"
    factor: NonNegativeLimits = (0.8, 1.2)

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        return {"factor": uniform(count, self.factor, generator)}

    def change(self, image: Images, drawn: Drawn) -> Images:
        return photometric.adjust_brightness(image, drawn["factor"])


class Contrast(PhotometricOperation):
    """Scales the distance from the image's mean grey value.

    Attributes:
        factor: limits of the uniform factor; 1 changes nothing, 0 leaves flat grey.
    """

    name: Literal["contrast"] = "contrast"
    factor: NonNegativeLimits = (0.8, 1.2)

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        return {"factor": uniform(count, self.factor, generator)}

    def change(self, image: Images, drawn: Drawn) -> Images:
        return photometric.adjust_contrast(image, drawn["factor"])


class Saturation(PhotometricOperation):
    """Scales the distance of each pixel's colour from grey.

    Attributes:
        factor: limits of the uniform factor; 1 changes nothing, 0 leaves grey.
    """

    name: Literal["saturation"] = "saturation"
    factor: NonNegativeLimits = (0.8, 1.2)

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        return {"factor": uniform(count, self.factor, generator)}

    def change(self, image: Images, drawn: Drawn) -> Images:
        return photometric.adjust_saturation(image, drawn["factor"])


class Hue(PhotometricOperation):
    """Rotates the hue.

    Attributes:
        shift: limits of the uniform turn, in turns (0.5 = the opposite colour), within -0.5 to 0.5.
    """

    name: Literal["hue"] = "hue"
    shift: Annotated[Limits, AfterValidator(_half_circle)] = (-0.05, 0.05)

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        return {"shift": uniform(count, self.shift, generator)}

    def change(self, image: Images, drawn: Drawn) -> Images:
        return photometric.adjust_hue(image, drawn["shift"])


class ColorJitter(PhotometricOperation):
    """Brightness, contrast, saturation and hue in random order, as torchvision's ColorJitter.

    Each image has its own factors and its own order of the steps whose amplitude is not 0; each step cuts to
    [0, 1], so the order matters a little.

    Attributes:
        brightness: factor uniform in [max(0, 1 - brightness), 1 + brightness].
        contrast: the same for contrast.
        saturation: the same for saturation.
        hue: shift uniform in [-hue, hue], in turns of the colour circle.
    """

    name: Literal["color_jitter"] = "color_jitter"
    brightness: Annotated[float, Field(ge=0)] = 0.0
    contrast: Annotated[float, Field(ge=0)] = 0.0
    saturation: Annotated[float, Field(ge=0)] = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        """``factors`` [count, 4], and ``order`` [count, steps]: which step comes first, second, ..."""
        amplitudes = (self.brightness, self.contrast, self.saturation)
        limits = [(max(0.0, 1 - amplitude), 1 + amplitude) for amplitude in amplitudes]
        columns = [uniform(count, limit, generator) for limit in [*limits, (-self.hue, self.hue)]]
        steps = torch.tensor(
            [i for i, amplitude in enumerate((*amplitudes, self.hue)) if amplitude > 0]
        ).long()
        shuffled = uniform(count, (0.0, 1.0), generator, columns=len(steps)).argsort(1)
        return {"factors": torch.stack(columns, 1), "order": steps[shuffled]}

    def change(self, image: Images, drawn: Drawn) -> Images:
        return photometric.color_jitter(image, drawn["factors"], drawn["order"])


class Grayscale(PhotometricOperation):
    """Converts to grey; three channels are kept."""

    name: Literal["grayscale"] = "grayscale"
    p: Probability = 0.2

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        return {}

    def change(self, image: Images, drawn: Drawn) -> Images:
        return photometric.to_grayscale(image)


class GaussianBlur(PhotometricOperation):
    """Blurs with a Gaussian. Small lesions may vanish.

    Attributes:
        sigma: limits of the uniform standard deviation, in pixels.
        kernel_size: width at which the Gaussian is cut, in pixels, odd.
    """

    name: Literal["gaussian_blur"] = "gaussian_blur"
    p: Probability = 0.2
    sigma: PositiveLimits = (0.5, 0.5)
    kernel_size: Annotated[int, Field(ge=1), AfterValidator(_odd)] = 7

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        return {"sigma": uniform(count, self.sigma, generator)}

    def change(self, image: Images, drawn: Drawn) -> Images:
        return photometric.gaussian_blur(image, drawn["sigma"], self.kernel_size)


class Gamma(PhotometricOperation):
    """Raises intensities to a power: the middle tones change, black and white stay.

    Attributes:
        gamma: limits of the power, drawn log-uniformly; above 1 is darker.
    """

    name: Literal["gamma"] = "gamma"
    gamma: PositiveLimits = (0.8, 1.25)

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        return {"gamma": log_uniform(count, self.gamma, generator)}

    def change(self, image: Images, drawn: Drawn) -> Images:
        return photometric.adjust_gamma(image, drawn["gamma"])


class GaussianNoise(PhotometricOperation):
    """Adds independent normal noise to each pixel and channel, and cuts to [0, 1].

    Attributes:
        std: limits of the uniform standard deviation, as a share of the intensity range 0..1.
    """

    name: Literal["gaussian_noise"] = "gaussian_noise"
    p: Probability = 0.5
    std: NonNegativeLimits = (0.0, 0.05)

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        # The field comes from the CPU too: slower on a GPU, but the same on every device.
        return {
            "std": uniform(count, self.std, generator),
            "field": torch.randn((count, *shape), generator=generator),
        }

    def change(self, image: Images, drawn: Drawn) -> Images:
        return photometric.add_noise(image, drawn["std"], drawn["field"])


class RandomErasing(PhotometricOperation):
    """Fills a random window with one value or with noise (Zhong et al. 2020, "Random Erasing Data Augmentation").
    Masks stay.

    Of ten random windows the first that fits is taken; where none fits, nothing is erased.

    Attributes:
        area: limits of the uniform share of the image's area.
        aspect: limits of width/height, drawn log-uniformly.
        value: the intensity to fill with, in [0, 1].
        noise: standard deviation of independent normal noise about ``value``, cut to [0, 1], of each pixel and channel.
    """

    name: Literal["random_erasing"] = "random_erasing"
    p: Probability = 0.5
    area: PositiveLimits = (0.02, 0.33)
    aspect: PositiveLimits = (0.3, 3.3)
    value: Annotated[float, Field(ge=0, le=1)] = 0.0
    noise: Annotated[float, Field(ge=0)] = 0.0

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        """``window`` [count, 4]: left, top, width, height in pixels; all 0 where none fits. ``field``: noise."""
        window, fits = random_windows(count, shape[1:], self.area, self.aspect, generator)
        drawn = {"window": window * fits.unsqueeze(1)}
        if self.noise:
            drawn["field"] = torch.randn((count, *shape), generator=generator)
        return drawn

    def change(self, image: Images, drawn: Drawn) -> Images:
        field = drawn.get("field")
        fill = self.value if field is None else (self.value + self.noise * field).clamp_(0, 1)
        return photometric.erase(image, drawn["window"], fill)
