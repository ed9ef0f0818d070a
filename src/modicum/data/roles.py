"""What a column of a data set can be: the one table of roles that readers, recipes and the command line go by."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Role:
    """What a column says of each image.

    Attributes:
        name: of the column in a manifest, and the key in a recipe's ``data.columns``.
        help: one line for people who name their column.
        images: whether cells name image files, which are looked for below the data set's folder.
        several: whether one manifest may take it from several columns of a table.
        prefix: what columns ``<prefix><class>`` begin with that have the role for one class or finding each; empty where
            there are none.
    """

    name: str
    help: str
    images: bool = False
    several: bool = False
    prefix: str = ""


LABELS_PREFIX = "labels:"
MASKS_PREFIX = "masks:"

ROLES: dict[str, Role] = {
    role.name: role
    for role in (
        Role("image", "Column with the image paths.", images=True),
        Role("label", "Column with the class of each image."),
        Role(
            "labels",
            "Columns with findings (1, 0, -1/blank: unknown), by commas.",
            several=True,
            prefix=LABELS_PREFIX,
        ),
        Role("patient", "Column with the patient of each image."),
        Role("eye", "Column with the eye of each image: L or R."),
        Role("domain", "Column with the domain (hospital, scanner) of each image."),
        Role("mask", "Column with the mask of each image.", images=True, prefix=MASKS_PREFIX),
        Role("fov", "Column with the field of view: a mask of the pixels that count.", images=True),
        Role("target", "Column with the target image (image-to-image).", images=True),
        Role("saliency", "Column with the saliency map of each image.", images=True),
        Role(
            "boxes",
            "Column with the boxes of each image, or a file of them: CSV, COCO or plain JSON, YOLO's folder of labels; "
            "or masks: around what is marked in columns masks:CLASS.",
        ),
        Role("report", "Column with the reports: their texts, or names of text files."),
        Role("split", "Column with the split of each image: train, val or test."),
    )
}
"""By name, in the order that a manifest's columns have. An order that changes gives data sets other hashes: new roles
may stand anywhere, those that are there keep their order."""
