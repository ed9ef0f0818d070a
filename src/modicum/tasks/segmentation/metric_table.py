"""The metrics of segmentation in words and numbers; :mod:`modicum.tasks.segmentation.metrics` defines them."""

from modicum.tasks.metric import INFINITY, Metric

METRICS = (
    Metric(
        "dice",
        "Dice",
        "overlap; 1 is identical",
        "How much of what is marked and what should be lies on each other: 0 is nothing, 1 is all.",
        per_class=True,
        per_image=True,
        in_brief=True,
    ),
    Metric("iou", "IoU", "overlap, stricter; 1 is identical", per_class=True, per_image=True),
    Metric(
        "auroc",
        "AUROC",
        "of all pixels together: 0.5 is guessing, 1 is perfect",
        "How well it ranks pixels of the class above the others, of all images together: 0.5 is guessing, 1 is perfect. "
        "Where few pixels are of the class it is high soon.",
        chance=0.5,
        per_class=True,
        in_brief=True,
    ),
    Metric("auprc", "AUPRC", "area under precision and recall, of pixels", per_class=True),
    Metric(
        "sensitivity",
        "Sensitivity",
        "pixels of the class that are marked, of all images together",
        per_class=True,
    ),
    Metric(
        "specificity",
        "Specificity",
        "other pixels that are left alone, of all images together",
        per_class=True,
    ),
    Metric(
        "accuracy",
        "Accuracy",
        "pixels that are right, of all images together; high wherever little is to be marked",
        "The share of pixels that are right, of all images together. Where little is to be marked, marking nothing has a "
        "high one, too.",
        per_class=True,
        in_brief=True,
    ),
    Metric(
        "dice_positives",
        "Dice where present",
        "overlap, in images that have the class",
        per_class=True,
    ),
    Metric(
        "empty",
        "Images without the class",
        "share of images with nothing to mark; says nothing of the model",
        higher_is_better=None,
        per_class=True,
    ),
    # In mm where images have a spacing, in pixels otherwise. Seconds an image, and known only at the images' own size.
    Metric(
        "hausdorff95",
        "Hausdorff distance, 95 %",
        "how far outlines are apart at most, but for 5 %; lower is better",
        higher_is_better=False,
        range=(0.0, INFINITY),
        decimals=2,
        per_class=True,
        per_image=True,
        in_training=False,
    ),
    Metric(
        "surface_distance",
        "Surface distance",
        "how far outlines are apart on average; lower is better",
        higher_is_better=False,
        range=(0.0, INFINITY),
        decimals=2,
        per_class=True,
        per_image=True,
        in_training=False,
    ),
)
