"""Report text for a synthetic chest radiograph: states findings with their side, and negates all others."""

from collections.abc import Sequence

import numpy as np

from modicum.data.phantoms.chest_findings import FindingLocations

_HEART = (
    "Heart size is normal.",
    "The cardiac silhouette is within normal limits.",
    "No cardiomegaly.",
    "The heart is not enlarged.",
)
_BIG_HEART = (
    "The heart is enlarged, with a cardiothoracic ratio of {ratio:.2f}.",
    "Cardiomegaly, cardiothoracic ratio {ratio:.2f}.",
    "The cardiac silhouette is enlarged (cardiothoracic ratio {ratio:.2f}).",
)
_CONSOLIDATION = (
    "There is consolidation in the {lobe}.",
    "Airspace consolidation is seen in the {lobe}.",
    "Patchy consolidation of the {lobe}.",
)
_NODULE = (
    "A {cm} cm nodule projects over the {side} lung.",
    "There is a rounded {cm} cm nodule in the {side} lung.",
    "{side_start} lung nodule measuring {cm} cm.",
)
_PNEUMOTHORAX = (
    "There is a {amount} {side} pneumothorax.",
    "{amount_start} {side} pneumothorax, with a visible pleural line.",
    "{amount_start} pneumothorax on the {side}.",
)
_EFFUSION = (
    "{amount_start} {side} pleural effusion.",
    "There is a {amount} {side} pleural effusion.",
    "{amount_start} pleural effusion on the {side}, with a meniscus.",
)
_NORMAL = (
    "No acute cardiopulmonary abnormality.",
    "Normal chest radiograph.",
    "No acute cardiopulmonary findings.",
)
_UNREMARKABLE = (
    "Mediastinal contours are normal.",
    "No acute osseous abnormality.",
    "The trachea is midline.",
    "Visualised bones are intact.",
)


def _pick(rng: np.random.Generator, phrases: Sequence[str], **values: object) -> str:
    phrase = phrases[int(rng.integers(len(phrases)))]
    starts = {f"{name}_start": str(value).capitalize() for name, value in values.items()}
    return phrase.format(**values, **starts)


def _listed(names: Sequence[str], word: str) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def _denials(rng: np.random.Generator, absent: Sequence[str]) -> list[str]:
    """Negating sentences: one for all absent findings, or one for each of two halves."""
    if not absent:
        return []
    names = [absent[i] for i in rng.permutation(len(absent))]
    halves = [names[:2], names[2:]] if len(names) > 2 and rng.random() < 0.5 else [names]
    openings = ("No {}.", "There is no {}.", "No evidence of {}.", "No {} is seen.")
    return [openings[int(rng.integers(len(openings)))].format(_listed(half, "or")) for half in halves]


def report(
    rng: np.random.Generator,
    findings: frozenset[str],
    locations: FindingLocations,
    cardiothoracic_ratio: float,
) -> str:
    """Writes the report: a line ``FINDINGS: ...`` and a line ``IMPRESSION: ...``."""
    sentences, short, absent = [], [], []
    if "cardiomegaly" in findings:
        sentences.append(_pick(rng, _BIG_HEART, ratio=cardiothoracic_ratio))
        short.append("cardiomegaly")
    else:
        sentences.append(_pick(rng, _HEART))
    if locations.lobe:
        sentences.append(_pick(rng, _CONSOLIDATION, lobe=locations.lobe))
        short.append(f"{locations.lobe} consolidation")
    else:
        absent.append("consolidation")
    if locations.nodule:
        sentences.append(_pick(rng, _NODULE, side=locations.nodule, cm=locations.nodule_cm))
        short.append(f"{locations.nodule} lung nodule")
    else:
        absent.append("nodule")
    if locations.pneumothorax:
        amount = locations.size_of["pneumothorax"]
        sentences.append(_pick(rng, _PNEUMOTHORAX, side=locations.pneumothorax, amount=amount))
        short.append(f"{amount} {locations.pneumothorax} pneumothorax")
    else:
        absent.append("pneumothorax")
    _effusions(rng, locations, sentences, short, absent)
    sentences += _denials(rng, absent)
    if rng.random() < 0.6:
        sentences.append(_pick(rng, _UNREMARKABLE))
    impression = _listed(short, "and").capitalize() + "." if short else _pick(rng, _NORMAL)
    return f"FINDINGS: {' '.join(sentences)}\nIMPRESSION: {impression}"


def _effusions(
    rng: np.random.Generator,
    locations: FindingLocations,
    sentences: list[str],
    short: list[str],
    absent: list[str],
) -> None:
    amounts = {s: locations.size_of.get(f"effusion_{s}") for s in ("right", "left")}
    present = [side for side, amount in amounts.items() if amount]
    for side in present:
        sentences.append(_pick(rng, _EFFUSION, side=side, amount=amounts[side]))
    if len(present) == 2:
        short.append("bilateral pleural effusions")
    elif present:
        short.append(f"{amounts[present[0]]} {present[0]} pleural effusion")
        absent.append(f"{'left' if present == ['right'] else 'right'} pleural effusion")
    else:
        absent.append("pleural effusion")
