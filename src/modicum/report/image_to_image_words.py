"""What translation says in words: the headline, and how far its scores carry."""

from markupsafe import Markup, escape

from modicum.report.by_patient import patient_cautions, scored
from modicum.report.files import Evaluation, RunFiles, as_mapping, number
from modicum.report.panels import panels_of
from modicum.report.sections import Headline
from modicum.report.words import plural, score, sentence_list


def unpaired(run: RunFiles) -> bool:
    """Whether images and targets that do not belong together were learned from."""
    options = as_mapping(run.recipe.get("options"))
    return (run.metrics.get("kind") or run.task.get("kind")) == "unpaired" or options.get(
        "pairing"
    ) == "shuffled"


def about(run: RunFiles) -> str:
    """How it learned to translate."""
    return "learned without pairs" if unpaired(run) else "learned from pairs"


def headline(run: RunFiles, evaluation: Evaluation) -> Headline:
    """The error as a share of the scale from black to white, and the same as a picture."""
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
    found = scored(evaluation, ["nmae"])
    if found is None or found.patients is None:
        return ""
    means = [float(values.mean()) for _, values in found.groups("nmae")]
    return (
        f" From patient to patient it is {_percent(min(means))} to {_percent(max(means))} %."
        if len(means) > 1
        else ""
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if share < 0.0995 else f"{100 * share:.0f}"


def grey_scale(error: float, label: str) -> Markup:
    """The scale from black to white, and around its middle how far a pixel is off.

    Args:
        error: share of the scale.
        label: what a screen reader says.
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
    """What the numbers of one evaluation cannot carry."""
    found = patient_cautions(evaluation)
    if unpaired(run):
        found.append(
            "Learned without pairs. Scores still compare each translation with the target of its row: where the two do "
            "not show the same place of the same patient, they say nothing."
        )
    images = scored(evaluation, ["nmae"])
    if images is not None:
        without = int(images.values["nmae"].isna().sum())
        if without:
            found.append(
                f"{plural(without, 'target')} of the {evaluation.title} {'shows' if without == 1 else 'show'} background "
                "alone and count in no score of the foreground."
            )
    return [*found, *_of_values(run)]


def _of_values(run: RunFiles) -> list[str]:
    """What happened to the pictures' values before anything was compared."""
    options = as_mapping(run.recipe.get("options"))
    found = []
    window = options.get("target_window")
    if isinstance(window, list | tuple) and len(window) == 2:
        centre, width = (number(value) for value in window)
        if centre is not None and width is not None:
            found.append(
                f"Targets were cut at {centre - width / 2:g} and {centre + width / 2:g}: errors beyond are not seen."
            )
    if options.get("intensity") == "percentile":
        found.append(
            "Each volume was scaled by its own range and what lies beyond was cut: errors are shares of that range, and "
            "of no physical unit."
        )
    return found


def pairs_note(evaluation: Evaluation) -> str:
    """How to read a row of pictures."""
    names = [str(panel.get("name")) for entry in evaluation.examples for panel in panels_of(entry)]
    shown: list[str] = [name for name in ("source", "output", "target") if name in names]
    note = (
        f"{sentence_list(shown).capitalize()}, and where output and target differ" if "error" in names else ""
    )
    if "field" in names:
        note += "; last the estimated displacement: a straight grid as it moves with the translation onto the target"
    return f"{note}. Press a row to enlarge it." if note else "Press a row to enlarge it."
