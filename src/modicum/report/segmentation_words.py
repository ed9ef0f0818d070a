"""Report texts of segmentation: the headline and cautions."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from modicum.report.by_patient import patient_cautions
from modicum.report.figures import hundred
from modicum.report.files import Evaluation, RunFiles, as_mapping, number
from modicum.report.sections import Headline
from modicum.report.segmentation_images import Segmented, column_of, foreground, segmented
from modicum.report.words import of_hundred, plural, score, sentence_list
from modicum.tasks.segmentation.class_names import FOREGROUND


def about(run: RunFiles) -> str:
    """``marks “vessel” with unet``, ``marks regions with fpn on resnet18``."""
    names = [f"“{name}”" for name in foreground(run) if name != FOREGROUND]
    return f"marks {sentence_list(names, 3) if names else 'regions'}{_network(run)}"


def _network(run: RunFiles) -> str:
    """The decoder, and the encoder if the page does not name it elsewhere: a finished run may have no backbone."""
    architecture = as_mapping(run.recipe.get("config")).get("architecture")
    encoder = as_mapping(run.recipe.get("backbone")).get("name")
    if not isinstance(architecture, str):
        return ""
    return f" with {architecture}" + (
        f" on {encoder}" if run.metrics.get("backbone", encoder) is None else ""
    )


def headline(run: RunFiles, evaluation: Evaluation) -> Headline:
    """Sensitivity and precision per hundred pixels, and Dice over images."""
    dice = number(evaluation.metrics.get("dice", {}).get("value"))
    images = segmented(run, evaluation)
    if images is None or dice is None:
        sentence = "" if dice is None else f"Marks and truth overlap to {score(dice)} (Dice) on average."
        return Headline(sentence)
    weakest = 0
    if len(images.classes) > 1:
        of_class = [
            number(evaluation.metrics.get(f"dice/{name}", {}).get("value")) for name in images.classes
        ]
        defined = [(value, i) for i, value in enumerate(of_class) if value is not None]
        (low, weakest), (high, best) = min(defined, default=(dice, 0)), max(defined, default=(dice, 0))
        sentence = (
            f"Marks and truth overlap to {score(dice)} (Dice), the mean over {len(images.classes)} classes: "
            f"“{images.classes[best]}” comes out best ({score(high)}), “{images.classes[weakest]}” worst ({score(low)})."
        )
    else:
        sentence = (
            f"{_of_pixels(images)}Image by image, marks and truth overlap to {score(dice)} (Dice) on average."
        )
    return Headline(sentence + _worst(images), _pictures(images, weakest), "Dice and areas of each image")


def _of_pixels(images: Segmented) -> str:
    sensitivity, precision = images.sensitivity(0), images.precision(0)
    if sensitivity is None:
        marked = int((images.predicted_area[:, 0] > 0).sum())
        return f"Nothing is to be marked in these images; something is in {marked} of {len(images.names)}. "
    if precision is None:
        return "It marks nothing. "
    return (
        f"Of 100 pixels {_that_are(images.classes[0])} it marks about {of_hundred(sensitivity)}, "
        f"and of 100 that it marks about {of_hundred(precision)} are right. "
    )


def _that_are(name: str) -> str:
    return "that should be marked" if name in ("", FOREGROUND) else f"of “{name}”"


def _worst(images: Segmented) -> str:
    values = images.scores.values["dice"].dropna()
    if len(values) < 2:
        return ""
    sentence = f" The worst of {len(values)} images reaches {score(values.min())}"
    groups = images.scores.groups("dice") if images.scores.patients is not None else []
    if 1 < len(groups) < len(values):
        means = [float(values_of_patient.mean()) for _, values_of_patient in groups]
        sentence += f", and from patient to patient it is {score(min(means))} to {score(max(means))}"
    return f"{sentence}."


def _pictures(images: Segmented, class_index: int) -> list[tuple[Markup, Sequence[tuple[str, str]]]]:
    """Figures of a class's sensitivity and precision, in a hundred dots each."""
    sensitivity, precision = images.sensitivity(class_index), images.precision(class_index)
    which = _that_are(images.classes[class_index])
    pictures: list[tuple[Markup, Sequence[tuple[str, str]]]] = []
    if sensitivity is not None:
        hits = of_hundred(sensitivity)
        caption = [
            ("", f"of 100 pixels {which}"),
            ("good", f"{hits} marked"),
            ("rest", f"{100 - hits} missed"),
        ]
        pictures.append((hundred([("good", hits)], f"Of 100 pixels {which}: {hits} marked"), caption))
    if precision is not None:
        hits = of_hundred(precision)
        what = (
            f"of 100 pixels marked{'' if which.startswith('that') else f' “{images.classes[class_index]}”'}"
        )
        parts = [("good", hits), ("bad", 100 - hits)]
        caption = [("", what), ("good", f"{hits} right"), ("bad", f"{100 - hits} false alarms")]
        pictures.append((hundred(parts, f"{what}: {hits} right".capitalize()), caption))
    return pictures


def cautions(run: RunFiles, evaluation: Evaluation) -> list[str]:
    """Cautions about the scores of one evaluation."""
    sentences = patient_cautions(evaluation)
    images = segmented(run, evaluation)
    if images is None:
        return sentences
    return [*sentences, *_of_domains(run, evaluation, images), *_of_masks(run, evaluation, images)]


def _of_domains(run: RunFiles, evaluation: Evaluation, images: Segmented) -> list[str]:
    if images.domains is None or run.manifest is None:
        return []
    here = sorted(set(images.domains) - {""})
    learned = _trained_domains(run)
    if learned == set(here) and len(here) == 1:
        return [
            f"All images are of one domain, “{here[0]}”: how it does on those of another device or hospital is not known."
        ]
    if learned and set(here) <= learned:
        return [
            f"Every domain of the {evaluation.title} was learned from: how it does on images of another device or "
            "hospital is not known."
        ]
    if len(here) == 1:
        return [
            f"The {evaluation.title} is one domain that was not learned from, “{here[0]}”; others may be harder."
        ]
    return []


def _trained_domains(run: RunFiles) -> set[str]:
    table = run.manifest
    if table is None or "domain" not in table or "split" not in table:
        return set()
    return set(table.loc[table["split"] == "train", "domain"]) - {""}


def _of_masks(run: RunFiles, evaluation: Evaluation, images: Segmented) -> list[str]:
    sentences = []
    if run.manifest is not None and set(images.names) <= set(run.manifest.get("image", ())):
        without = int((column_of(run, "fov", images.names) == "").sum())
        if without:
            all_of_them = without == len(images.names)
            part_without = (
                f"{plural(without, 'image')} of the {evaluation.title} came without a field of view"
            )
            which = "No field of view is given" if all_of_them else part_without
            sentences.append(
                f"{which}, so all pixels count: an empty border is easy, and makes specificity, accuracy and AUROC look "
                "better."
            )
    for class_index, name in enumerate(images.classes):
        counted = np.isfinite(images.dice[:, class_index])
        empty = int((counted & (images.true_area[:, class_index] == 0)).sum())
        if empty:
            what = "nothing to mark" if name in ("", FOREGROUND) else f"no “{name}”"
            sentences.append(
                f"{plural(empty, 'image')} of {len(images.names)} in the {evaluation.title} "
                f"{'shows' if empty == 1 else 'show'} {what}: Dice is 1 where nothing is marked there and 0 where "
                "anything is. “Dice where present” leaves them out."
            )
    uncounted = int((~np.isfinite(images.dice).all(1)).sum())
    if uncounted:
        sentences.append(
            f"{plural(uncounted, 'image')} of the {evaluation.title} have no pixels that count, and no score."
        )
    return sentences
