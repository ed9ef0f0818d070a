"""What is pasted where: every random choice of LesionPaste, drawn on the CPU, image by image and type by type.

arXiv 2203.06354 and its code (types by severity, counts, positions, augmentation). Each type of each image has a random
stream of its own: what is drawn for one image depends neither on the images beside it nor on other types.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Int

from modicum.errors import InputError
from modicum.transforms.lesion_bank import LesionBank

SIDE = 512
"""Side of the images in pixels that distances of the release are measured on."""
ALWAYS, FEWEST_ALWAYS = -1, 3
"""The severity above which the commonest type is pasted, and how many of it at least."""
_PUBLISHED = {"ma": (ALWAYS, 10.0), "he": (80, 20.0), "ex": (90, 20.0), "se": (95, 15.0)}
_ALIASES = {
    "microaneurysm": "ma", "microaneurysms": "ma", "haemorrhage": "he", "haemorrhages": "he", "hemorrhage": "he",
    "hemorrhages": "he", "hard exudate": "ex", "hard exudates": "ex", "exudate": "ex", "exudates": "ex",
    "soft exudate": "se", "soft exudates": "se", "cotton wool spot": "se", "cotton wool spots": "se",
}  # fmt: skip


@dataclass(frozen=True)
class LesionRule:
    """When lesions of a type are pasted, and how far from the border of the organ.

    Attributes:
        above: of a severity drawn from 0 to 100: images with a higher one get this type (-1: all images).
        margin: least distance of a lesion's centre from the border, in pixels of images of 512 pixels.
    """

    above: int = ALWAYS
    margin: float = 10.0


def published_order(name: str) -> int:
    """The place of a type of lesion in the published order of pasting (MA, HE, EX, SE); the last for any other."""
    known = _plain(name)
    return list(_PUBLISHED).index(known) if known in _PUBLISHED else len(_PUBLISHED)


def _plain(name: str) -> str:
    words = name.lower().replace("_", " ").strip()
    return _ALIASES.get(words, words)


def usual_rules(bank: LesionBank, given: Mapping[str, LesionRule] | None = None) -> list[LesionRule]:
    """A rule for each type of a bank: as given, as published for MA, HE, EX and SE, else by how common it is.

    The commonest type is always pasted, the others from severities of 80, 90 and 95 on.

    Raises:
        InputError: a rule of a type that the bank does not have.
    """
    for name in given or {}:
        if name not in bank.types:
            raise InputError(f"no lesion of type '{name}' is annotated", f"known: {', '.join(bank.types)}")
    known = [_PUBLISHED.get(_plain(name)) for name in bank.types]
    common = sorted(range(len(bank.types)), key=lambda kind: -len(bank.of(kind)))
    by_rank = {kind: min(95, (ALWAYS, 80, 90, 95)[min(rank, 3)]) for rank, kind in enumerate(common)}
    rules = []
    for kind, name in enumerate(bank.types):
        published = known[kind]
        above, margin = published if published and None not in known else (by_rank[kind], 10.0)
        rules.append((given or {}).get(name, LesionRule(above, margin)))
    if all(rule.above > ALWAYS for rule in rules) and not given:
        rules[common[0]] = LesionRule(ALWAYS, rules[common[0]].margin)  # something must be pasted
    return rules


@dataclass(frozen=True)
class LesionAugmentation:
    """How lesions vary, drawn anew for each paste. Limits of uniform draws; the defaults are the release's.

    Attributes:
        scale: factor on width and height, drawn separately.
        flips: whether they are mirrored, left to right and upside down, half of the time each.
        degrees: largest rotation to either side.
        gamma: exponent of each channel; of grey lesions the same for all.
        brightness: factor on the brightness (the largest channel).
        shift: added to the brightness, in grey levels of 255, to either side.
        colour: added to hue (in 255ths of a turn) and saturation (in grey levels), to either side; grey ones stay grey.
    """

    scale: tuple[float, float] = (0.5, 1.0)
    flips: bool = True
    degrees: float = 45.0
    gamma: tuple[float, float] = (0.9, 1.1)
    brightness: tuple[float, float] = (0.9, 1.1)
    shift: float = 10.0
    colour: float = 10.0


NO_AUGMENTATION = LesionAugmentation((1.0, 1.0), False, 0.0, (1.0, 1.0), (1.0, 1.0), 0.0, 0.0)


@dataclass(frozen=True)
class Pastes:
    """Pastes of a batch, image by image in the order in which they are pasted.

    Attributes:
        image: index in the batch.
        rank: number of the paste in its image, from 0.
        lesion: number in the bank.
        centre: x and y of the middle, in whole pixels.
        inverse: from an offset in the image to one in the lesion's patch ``[n, 2, 2]``.
        extent: half of width and height of what is pasted.
        colour: ``[n, 7]``: gamma of three channels, factor and shift of brightness, hue, saturation.
        blend: share of the lesion.
        severity: of each image.
    """

    image: Int[np.ndarray, "n"]
    rank: Int[np.ndarray, "n"]
    lesion: Int[np.ndarray, "n"]
    centre: np.ndarray
    inverse: np.ndarray
    extent: np.ndarray
    colour: np.ndarray
    blend: np.ndarray
    severity: Int[np.ndarray, "b"]

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True)
class PasteDraws:
    """Draws pastes.

    Attributes:
        bank: the lesions.
        rules: one a type.
        augmentation: of lesions.
        blend: limits of the share of the lesion.
        stream: a number that tells draws of different uses apart.
    """

    bank: LesionBank
    rules: Sequence[LesionRule]
    augmentation: LesionAugmentation = LesionAugmentation()
    blend: tuple[float, float] = (0.7, 0.7)
    stream: int = 0
    _sizes: np.ndarray = field(init=False, repr=False)
    _is_grey: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_is_grey", self.bank.is_grey)
        sizes = np.stack([self.bank.widths.cpu().numpy(), self.bank.heights.cpu().numpy()], 1)
        object.__setattr__(self, "_sizes", sizes)

    def draw(
        self,
        seeds: Sequence[int] | Int[np.ndarray, "b"],
        size: tuple[int, int],
        organs: Sequence["Organ"],
    ) -> Pastes:
        """Pastes of a batch.

        Args:
            seeds: one an image, not negative; the same seed gives the same pastes.
            size: height and width of the images.
            organs: where lesions may lie in each image.
        """
        parts, severities = [], []
        for index, seed in enumerate(seeds):
            severity = int(np.random.default_rng([self.stream, int(seed), 0]).integers(0, 101))
            severities.append(severity)
            rank = 0
            for kind, rule in enumerate(self.rules):
                if severity <= rule.above:
                    continue
                generator = np.random.default_rng([self.stream, int(seed), 1 + kind])
                drawn = self._of_type(generator, kind, rule, size, organs[index])
                count = len(drawn["lesion"])
                parts.append({"image": np.full(count, index), "rank": rank + np.arange(count), **drawn})
                rank += count
        empty = {
            "image": np.zeros(0, int),
            "rank": np.zeros(0, int),
            **self._parameters(None, np.zeros(0, int)),
        }
        empty["centre"] = np.zeros((0, 2), int)
        joined = {name: np.concatenate([part[name] for part in (parts or [empty])]) for name in empty}
        return Pastes(**joined, severity=np.array(severities, int))

    def counts(self, kind: int) -> tuple[int, int]:
        """Least and largest number of lesions of a type: 1 (3 of a type that is always pasted) to 1.5 times as many as an
        annotated image has.
        """
        most = max(1, int(np.floor(1.5 * self.bank.per_image(kind))))
        return (min(FEWEST_ALWAYS, most) if self.rules[kind].above <= ALWAYS else 1), most

    def _of_type(
        self,
        generator: np.random.Generator,
        kind: int,
        rule: LesionRule,
        size: tuple[int, int],
        organ: "Organ",
    ) -> dict[str, np.ndarray]:
        low, high = self.counts(kind)
        count = int(generator.integers(low, high + 1))
        lesion = generator.choice(self.bank.of(kind), count)
        centre = organ.points(generator, count, rule.margin * min(size) / SIDE)
        return {"centre": centre, **self._parameters(generator, lesion[: len(centre)])}

    def _parameters(
        self, generator: np.random.Generator | None, lesion: Int[np.ndarray, "n"]
    ) -> dict[str, np.ndarray]:
        """Augmentation of each paste."""
        generator = generator or np.random.default_rng(0)
        own, count = self.augmentation, len(lesion)
        scale = generator.uniform(*own.scale, (count, 2))
        flips = np.where(generator.random((count, 2)) < 0.5, -1.0, 1.0) if own.flips else np.ones((count, 2))
        angle = np.deg2rad(generator.uniform(-own.degrees, own.degrees, count))
        cosine, sine = np.cos(angle), np.sin(angle)
        turn = np.stack([np.stack([cosine, -sine], -1), np.stack([sine, cosine], -1)], -2)
        # Out of an offset: turned back, then scaled and mirrored back.
        inverse = np.swapaxes(turn, -1, -2) * (flips / scale)[:, :, None]
        half = self._sizes[lesion] * scale / 2
        extent = np.abs(turn) @ half[:, :, None]
        colour = np.concatenate(
            [
                generator.uniform(*own.gamma, (count, 3)),
                generator.uniform(*own.brightness, (count, 1)),
                generator.uniform(-own.shift, own.shift, (count, 1)) / 255,
                generator.uniform(-own.colour, own.colour, (count, 2)) / 255,
            ],
            1,
        )
        if self._is_grey:
            # A tint in a grey image gives every paste away, and no real lesion has one.
            colour[:, 1:3], colour[:, 5:] = colour[:, :1], 0.0
        blend = generator.uniform(*self.blend, count)
        return {
            "lesion": lesion,
            "inverse": inverse,
            "extent": extent[:, :, 0],
            "colour": colour,
            "blend": blend,
        }


class Organ:
    """Where lesions may lie: the disc of a fundus photograph, or any mask.

    Args:
        size: height and width of the image.
        mask: where the organ is; None for the largest disc around the centre.
    """

    def __init__(self, size: tuple[int, int], mask: Bool[np.ndarray, "h w"] | None = None) -> None:
        self._size = size
        self._depth: np.ndarray | None = None
        if mask is not None:
            import cv2

            framed = np.pad(mask.astype(np.uint8), 1)  # what lies beyond the image is outside
            self._depth = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]

    def points(self, generator: np.random.Generator, count: int, margin: float) -> Int[np.ndarray, "n 2"]:
        """Whole pixels (x, y), uniform among those at least ``margin`` pixels inside; fewer where there is no room."""
        if self._depth is None:
            return self._in_disc(generator, count, margin)
        inside = np.flatnonzero(self._depth > margin)
        if not len(inside):
            inside = np.flatnonzero(self._depth > 0)  # an organ that is narrower than that
        if not len(inside):
            return np.zeros((0, 2), np.int64)
        chosen = inside[generator.integers(len(inside), size=count)]
        return np.stack([chosen % self._size[1], chosen // self._size[1]], 1)

    def _in_disc(self, generator: np.random.Generator, count: int, margin: float) -> np.ndarray:
        """Points of the square around the centre, drawn again until they lie in the disc."""
        side = min(self._size)
        radius = max(1.0, side / 2 - margin)
        middle = np.array([self._size[1], self._size[0]]) / 2
        found = np.zeros((0, 2), np.int64)
        while len(found) < count:
            drawn = generator.integers(0, side, (2 * count + 8, 2)) + ((middle - side / 2).astype(np.int64))
            found = np.concatenate([found, drawn[np.hypot(*(drawn - middle).T) <= radius]])
        return found[:count]
