"""Report texts of image-to-image translation: the headline and cautions."""

from markupsafe import Markup, escape

from modicum.report.by_patient import patient_cautions, scored
from modicum.report.files import Evaluation, RunFiles, as_mapping, number
from modicum.report.panels import panels_of
from modicum.report.sections import Headline
from modicum.report.words import plural, score, sentence_list


def unpaired(run: RunFiles) -> bool:
    """Whether the run was trained on unpaired images and targets."""
    options = as_mapping(run.recipe.get("options"))
    return (run.metrics.get("kind") or run.task.get("kind")) == "unpaired" or options.get(
        "pairing"
    ) == "shuffled"


def about(run: RunFiles) -> str:
    """A short description of how it was trained."""
    return "learned without pairs" if unpaired(run) else "learned from pairs"


def headline(run: RunFiles, evaluation: Evaluation) -> Headline:
    """The error as a share of the scale from black to white, as a sentence and a figure."""
    error = number(evaluation.metrics.get("nmae", {}).get("value"))
    if error is None:
        return Headline("")
    share = _percent(error)
    sentence = f"Where there is more than background, a translated pixel is off by {share} % of the grey scale on average"
    similar = number(evaluation.metrics.get("ssim_foreground", {}).get("value"))
    if similar is not None:
        sentence += f", and small structures agree to {score(similar)} (1 is identical)"
    sentence += f".{_from_patient_to_patient(evaluation)}"
    label = f"a middle grey comes out {share} % of the scale too dark or too bright"
    return Headline(sentence, [(grey_scale(error, label), [("", f"for example: {label}")])], "nmae")


def _from_patient_to_patient(evaluation: Evaluation) -> str:
    images = scored(evaluation, ["nmae"])
    if images is None or images.patients is None:
        return ""
    means = [float(values.mean()) for _, values in images.groups("nmae")]
    return (
        f" From patient to patient it is {_percent(min(means))} to {_percent(max(means))} %."
        if len(means) > 1
        else ""
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if share < 0.0995 else f"{100 * share:.0f}"


def grey_scale(error: float, label: str) -> Markup:
    """A figure of the scale from black to white, with the error around its middle.

    Args:
        error: as a share of the scale.
        label: text for screen readers.
    """
    steps = 32
    greys = "".join(
        f'<rect x="{300 * i / steps:.4g}" y="0" width="{300 / steps + 0.5:.4g}" height="34" fill="rgb({g},{g},{g})"/>'
        for i in range(steps)
        for g in [round(255 * i / (steps - 1))]
    )
    low, high = (300 * min(1.0, max(0.0, 0.5 + side * error)) for side in (-1, 1))
    return Markup(
        f'<svg class="greys" viewBox="0 -2 300 58" role="img" aria-label="{escape(label)}">{greys}'
        f'<path class="off" d="M{low:.4g} 40V52M{high:.4g} 40V52M{low:.4g} 46H{high:.4g}"/>'
        '<circle class="at" cx="150" cy="46" r="3"/></svg>'
    )


def cautions(run: RunFiles, evaluation: Evaluation) -> list[str]:
    """Cautions about the scores of one evaluation."""
    sentences = patient_cautions(evaluation)
    if as_mapping(run.recipe.get("options")).get("change"):
        sentences.append(
            "Enhanced images: vessels and lesions may have been invented or removed. Keep the original beside each, and "
            "look at where the two differ."
        )
    if unpaired(run):
        sentences.append(
            "Learned without pairs. Scores still compare each translation with the target of its row: where the two do "
            "not show the same place of the same patient, they say nothing."
        )
    images = scored(evaluation, ["nmae"])
    if images is not None:
        without = int(images.values["nmae"].isna().sum())
        if without:
            sentences.append(
                f"{plural(without, 'target')} of the {evaluation.title} {'shows' if without == 1 else 'show'} background "
                "alone and count in no score of the foreground."
            )
    return [*sentences, *_of_values(run)]


def _of_values(run: RunFiles) -> list[str]:
    """Cautions about how image values were scaled before comparison."""
    options = as_mapping(run.recipe.get("options"))
    sentences = []
    window = options.get("target_window")
    if isinstance(window, list | tuple) and len(window) == 2:
        centre, width = (number(value) for value in window)
        if centre is not None and width is not None:
            sentences.append(
                f"Targets were cut at {centre - width / 2:g} and {centre + width / 2:g}: errors beyond are not seen."
            )
    if options.get("intensity") == "percentile":
        sentences.append(
            "Each volume was scaled by its own range and what lies beyond was cut: errors are shares of that range, and "
            "of no physical unit."
        )
    return sentences


def pairs_note(evaluation: Evaluation) -> str:
    """How to read a row of example images."""
    names = [str(panel.get("name")) for entry in evaluation.examples for panel in panels_of(entry)]
    parts: list[str] = [name for name in ("source", "output", "target") if name in names]
    note = (
        f"{sentence_list(parts).capitalize()}, and where output and target differ" if "error" in names else ""
    )
    if "change" in names:
        note += (
            "; " if note else ""
        ) + "change is where output and source differ: what may have been invented or lost"
    if "field" in names:
        note += "; last the estimated displacement: a straight grid as it moves with the translation onto the target"
    return f"{note}. Press a row to enlarge it." if note else "Press a row to enlarge it."
