"""Named augmentations for the usual kinds of images."""

from collections.abc import Mapping
from types import MappingProxyType

from modicum.transforms.operation import Operation
from modicum.transforms.rand_augment import RandAugment
from modicum.transforms.random_geometry import (
    HorizontalFlip,
    RandomResizedCrop,
    Resize,
    Rotate,
    Translate,
    VerticalFlip,
    Zoom,
)
from modicum.transforms.random_photometry import (
    ColorJitter,
    Gamma,
    GaussianBlur,
    Grayscale,
    RandomErasing,
)
from modicum.transforms.scale_crop import RandomScaleCrop

_RADIOGRAPH = (RandomResizedCrop(area=(0.08, 1.0), aspect=(3 / 4, 4 / 3)), HorizontalFlip())

PRESETS: Mapping[str, tuple[Operation, ...]] = MappingProxyType(
    {
        # Only the resize to the output size, as evaluation does.
        "none": (),
        # For a first run, or if little is known of the images.
        "light": (HorizontalFlip(), Resize(), ColorJitter(brightness=0.1, contrast=0.1)),
        # A fundus photograph has no up or down that matters for its grade. Huang et al., "Identifying the key
        # components in ResNet-50 for diabetic retinopathy grading from fundus images" (Diagnostics 2023, 13,
        # 1664): the single-eye recipe, in its order.
        "fundus": (
            HorizontalFlip(p=0.5),
            VerticalFlip(p=0.5),
            ColorJitter(brightness=0.2, contrast=0.2),
            RandomResizedCrop(area=(0.87, 1.15), aspect=(0.7, 1.3)),
            Rotate(degrees=(-180, 180)),
            Translate(fraction=0.2),
        ),
        # The same of both eyes of a patient: there the release crops before it changes colours.
        "fundus_both_eyes": (
            HorizontalFlip(p=0.5),
            VerticalFlip(p=0.5),
            RandomResizedCrop(area=(0.87, 1.15), aspect=(0.7, 1.3)),
            ColorJitter(brightness=0.2, contrast=0.2),
            Rotate(degrees=(-180, 180)),
            Translate(fraction=0.2),
        ),
        # Views of a patch around a lesion: Huang et al., "Lesion-based Contrastive Learning" (MICCAI 2021). No blur:
        # small lesions would vanish.
        "lesion_patch": (
            HorizontalFlip(p=0.5),
            VerticalFlip(p=0.5),
            ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
            RandomResizedCrop(area=(0.8, 1.2), aspect=(0.8, 1.2)),
            Rotate(degrees=(-180, 180)),
            Translate(fraction=0.2),
            Grayscale(p=0.2),
        ),
        # A chest radiograph is never upside down, and a mirrored one has the heart on the wrong side.
        "chest": (
            Rotate(degrees=(-10, 10)),
            Zoom(factor=(0.9, 1.1)),
            Translate(fraction=0.05),
            Resize(),
            ColorJitter(brightness=0.1, contrast=0.2),
            Gamma(p=0.5, gamma=(0.8, 1.25)),
        ),
        # The usual augmentation of natural images.
        "natural": (
            RandomResizedCrop(area=(0.08, 1.0), aspect=(3 / 4, 4 / 3)),
            HorizontalFlip(),
            ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4),
        ),
        # The two views of SPMix (arXiv 2406.10801), which are those of GPaCo. Its RandAugment draws two of fourteen
        # operations, each for half of the images; here the geometric ones among them, without shears, come with the same
        # chance, once, and two photometric ones are of RandAugment's own list.
        "skin_query": (
            RandomResizedCrop(area=(0.08, 1.0), aspect=(3 / 4, 4 / 3)),
            HorizontalFlip(),
            Rotate(p=0.07, degrees=(-30, 30)),
            Translate(p=0.14, fraction=0.45),
            ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4),
            RandAugment(p=0.5, length=1, strength=9),
            RandAugment(p=0.5, length=1, strength=9),
        ),
        "skin_key": (
            RandomResizedCrop(area=(0.08, 1.0), aspect=(3 / 4, 4 / 3)),
            ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4),
            Grayscale(p=0.2),
            GaussianBlur(p=0.5, sigma=(0.1, 2.0), kernel_size=13),
            HorizontalFlip(),
        ),
        # As in the fine-tuning of foundation models of radiographs, although it mirrors the heart: MRM
        # (Zhou et al., arXiv 2301.13155) and, on MRM's weights, Lian et al. (arXiv 2401.12215).
        "radiograph": _RADIOGRAPH,
        # The same authors on an MAE of radiographs: two operations of RandAugment, each on half of the images, at
        # timm's magnitude 9 of 10, which is 8 of 9 here; then a quarter of the images lose a window to noise that
        # is standard normal once their mean and standard deviation are taken off.
        "radiograph_strong": (
            *_RADIOGRAPH,
            RandAugment(p=0.5, length=1, strength=8),
            RandAugment(p=0.5, length=1, strength=8),
            RandomErasing(p=0.25, area=(0.02, 1 / 3), aspect=(0.3, 1 / 0.3), value=0.4785, noise=0.2834),
        ),
        # What segmentation of vessels is trained with in Lyu et al., "AADG" (IEEE TMI 2022, 41, 3699): the baseline
        # that their search is compared with. They do not flip.
        "segmentation": (RandomScaleCrop(p=0.8, factor=(0.5, 2.0)),),
        # The same behind two operations of their search space, at the strongest.
        "randaugment": (RandAugment(), RandomScaleCrop(p=0.8, factor=(0.5, 2.0))),
    }
)
