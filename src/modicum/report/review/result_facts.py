"""What a run knows of its results."""

from collections.abc import Callable, Mapping

from modicum.report.classified import classified
from modicum.report.files import Evaluation, RunFiles, as_mapping, number
from modicum.report.groups.block import group_rows
from modicum.report.overview import cautions, main_metric
from modicum.report.sections_by_task import sections_of
from modicum.report.words import count, metric_interval, metric_text, metric_title, plural, sentence_list
from modicum.tasks.metric_tables import metric_named

Words = tuple[str, str]
_OWN = ("val", "test", "train")


def metric_line(evaluation: Evaluation, name: str) -> str:
    """``AUROC 0.910 (0.873–0.945)``."""
    entry = evaluation.metrics[name]
    text = f"{metric_title(name)} {metric_text(name, entry.get('value'))}"
    between = metric_interval(name, entry)
    return f"{text} ({between})" if between else f"{text} (no interval)"


def _source(evaluation: Evaluation) -> str:
    return f"evaluations/{evaluation.name}/metrics.json"


def _brief(run: RunFiles, evaluation: Evaluation, most: int = 4) -> list[str]:
    summaries = [name for name in evaluation.metrics if "/" not in name]
    brief = [name for name in summaries if metric_named(name, run.task_name).in_brief] or summaries
    return list(dict.fromkeys([main_metric(run, evaluation), *brief]))[:most]


def _scores(run: RunFiles, evaluation: Evaluation) -> str:
    images, patients = number(evaluation.info.get("images")), number(evaluation.info.get("patients"))
    of = f" of {plural(int(patients), 'patient')}" if patients else ""
    lines = ", ".join(metric_line(evaluation, name) for name in _brief(run, evaluation))
    return f"{evaluation.title} ({plural(int(images or 0), 'image')}{of}): {lines}"


def _performance(run: RunFiles) -> Words:
    return ("" if run.main is None else _scores(run, run.main)), _source(run.main) if run.main else ""


def _internal(run: RunFiles) -> Words:
    ours = [e for e in run.evaluations if e.name in _OWN and e.metrics]
    return "; ".join(_scores(run, one) for one in ours), ", ".join(map(_source, ours))


def _external(run: RunFiles) -> Words:
    others = [e for e in run.evaluations if e.name not in _OWN and e.metrics]
    texts = []
    for one in others:
        seen = f", of which {count(one.seen)} were in the training data" if one.seen else ""
        texts.append(_scores(run, one) + seen)
    return "; ".join(texts), ", ".join(map(_source, others))


def _measures(run: RunFiles) -> Words:
    main = run.main
    if main is None:
        return "", ""
    titles = [metric_title(name) for name in main.metrics if "/" not in name]
    return ", ".join(titles), _source(main)


def _uncertainty(run: RunFiles) -> Words:
    main = run.main
    resamples = number(main.info.get("resamples")) if main else None
    if main is None or not resamples:
        return "", ""
    by = "patients, with all their images" if main.info.get("resampling_unit") == "patient" else "images"
    confidence = 100 * (number(main.info.get("confidence")) or 0.95)
    return (
        f"{confidence:g} % percentile intervals from {count(resamples)} bootstrap resamples of {by}",
        _source(main),
    )


def _accuracy(run: RunFiles) -> Words:
    main = run.main
    if main is None:
        return "", ""
    wished = (
        "sensitivity",
        "specificity",
        "accuracy",
        "balanced_accuracy",
        "dice",
        "map_50",
        "ssim_gaussian",
    )
    names = [name for name in wished if name in main.metrics]
    return ", ".join(metric_line(main, name) for name in names), _source(main)


def _calibration(run: RunFiles) -> Words:
    main = run.main
    names = [name for name in ("brier", "ece", "log_loss") if main and name in main.metrics]
    if main is None or not names:
        return "", ""
    lines = ", ".join(metric_line(main, name) for name in names)
    return (
        f"{lines}; slope, intercept and the calibration plot are in report.html",
        f"{_source(main)}, report.html",
    )


def _subgroups(run: RunFiles) -> Words:
    texts, sources = [], []
    for evaluation in run.evaluations:
        columns = evaluation.groups.get("columns")
        if not isinstance(columns, list):
            continue
        sources.append(f"evaluations/{evaluation.name}/groups.json")
        titles = as_mapping(evaluation.groups.get("metrics"))
        for column in columns:
            rows = group_rows(as_mapping(column), titles)
            of = [
                f"{row['name']} {row['cells'][0]['text']} ({row['cells'][0]['small']})"
                if row["cells"]
                else f"{row['name']} too small"
                for row in rows
            ]
            texts.append(
                f"{next(iter(titles.values()), '')} by {as_mapping(column).get('column')}: {sentence_list(of, 12)}"
            )
    return "; ".join(texts), ", ".join(sources)


def _domains(run: RunFiles) -> Words:
    main = run.main
    domains = as_mapping(main.info.get("domains")) if main else {}
    if main is None or len(domains) < 2:
        return "", ""
    name = main_metric(run, main)
    parts = []
    for domain, of in domains.items():
        entry = as_mapping(as_mapping(as_mapping(of).get("metrics")).get(name))
        parts.append(
            f"{domain} {metric_text(name, entry.get('value'))} ({metric_interval(name, entry) or 'no interval'})"
        )
    return f"{metric_title(name)} by domain: {sentence_list(parts, 12)}", _source(main)


def _failures(run: RunFiles) -> Words:
    main = run.main
    if main is None or run.task_name != "classification":
        examples = len(main.examples) if main else 0
        return (
            f"{plural(examples, 'example')} of good and bad results in report.html" if examples else ""
        ), "report.html"
    scored = classified(run, main)
    if scored is None or scored.several:
        return ("examples of mistakes are in report.html" if main.examples else ""), "report.html"
    wrong = int((scored.predicted != scored.truth).sum())
    text = f"{count(wrong)} of {plural(len(scored.truth), 'image')} of the {main.title} were named wrongly"
    return (
        f"{text}; confusion matrix and the surest mistakes are in report.html",
        f"evaluations/{main.name}/predictions.csv",
    )


def _explanations(run: RunFiles) -> Words:
    maps = sorted({str(e["map"]) for one in run.evaluations for e in one.examples if e.get("map")})
    return (f"maps of example images: {', '.join(maps)}" if maps else ""), "examples/examples.json"


def _decision_curve(run: RunFiles) -> Words:
    main = run.main
    scored = classified(run, main) if main is not None and run.task_name == "classification" else None
    if scored is None or scored.severity is not None:
        return "", ""
    return "decision curves (net benefit over threshold probability) are in report.html", "report.html"


def _cautions(run: RunFiles) -> Words:
    sentences = cautions(run, sections_of(run.task_name))
    return " ".join(sentences), "report.html"


RESULT_FACTS: Mapping[str, Callable[[RunFiles], Words]] = {
    "performance": _performance,
    "internal": _internal,
    "external": _external,
    "measures": _measures,
    "uncertainty": _uncertainty,
    "accuracy": _accuracy,
    "calibration": _calibration,
    "subgroups": _subgroups,
    "domains": _domains,
    "failures": _failures,
    "explanations": _explanations,
    "decision_curve": _decision_curve,
    "cautions": _cautions,
}
"""By name, from a run to a text (empty for what is not known) and the files it comes from."""
