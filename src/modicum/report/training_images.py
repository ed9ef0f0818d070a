"""What the run's training images looked like, and how many of an evaluation's images are unlike them, in words."""

from collections.abc import Mapping
from typing import Any

from modicum.report.files import Evaluation, RunFiles, as_mapping, number
from modicum.report.words import count, plural, sentence_list


def look_rows(run: RunFiles) -> list[tuple[str, str]]:
    """Rows of name and value on how the training images look; none for a run that does not say."""
    kept = run.training_images
    rows = []
    for name, title, scale, unit in (
        ("median_grey", "Median grey level", 255, "of 255"),
        ("dark_end", "Darkest 1 %, up to", 255, "of 255"),
        ("bright_end", "Brightest 1 %, from", 255, "of 255"),
        ("black_share", "Black pixels", 100, "%"),
        ("white_share", "White pixels", 100, "%"),
        ("spacing_mm", "Spacing", 1, "mm"),
    ):
        if text := _range(as_mapping(as_mapping(kept.get("quantiles")).get(name)), scale, unit):
            rows.append((title, text))
    in_colour = number(kept.get("in_colour"))
    if in_colour is not None:
        rows.append(("In colour", f"{100 * in_colour:.0f} % of training images"))
    if rows:
        images = as_mapping(kept.get("images"))
        rate = number(kept.get("rate")) or 0.0
        thresholds = (
            f"called unlike these: {100 * rate:g} % of images like the {count(images.get('thresholds'))}"
        )
        rows.append(("Thresholds", f"{thresholds} that they were found on"))
    return rows


def _range(quantiles: Mapping[str, Any], scale: float, unit: str) -> str:
    low, median, high = (number(quantiles.get(name)) for name in ("low", "median", "high"))
    if low is None or median is None or high is None:
        return ""
    first, middle, last = (f"{scale * value:.3g}" for value in (low, median, high))
    return f"{middle} {unit}" if first == last else f"{middle} {unit}, mostly {first} to {last}"


def unlike_text(evaluation: Evaluation) -> str:
    """How many images of an evaluation are unlike the training images, in a sentence; empty where none are."""
    counts = as_mapping(evaluation.info.get("unlike_training"))
    unlike, images = number(counts.get("unlike")), number(counts.get("images"))
    if not unlike or images is None:
        return ""
    reasons = [f"{count(amount)} {name}" for name, amount in as_mapping(counts.get("reasons")).items()]
    verb = "is" if unlike == 1 else "are"
    why = f" ({sentence_list(reasons)})" if reasons else ""
    return f"{count(unlike)} of {plural(int(images), 'image')} {verb} unlike the training images{why}: look at them."
