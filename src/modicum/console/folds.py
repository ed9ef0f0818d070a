"""``modicum fit --folds``: which of its options it takes, and what is printed at its end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modicum.console.summary import evaluation_summary
from modicum.engine.run_folder import CROSS_VALIDATION
from modicum.errors import InputError
from modicum.report.words import metric_spread, metric_text


def is_cross_validation(
    data: str | None,
    folds: int | None,
    settings: Mapping[str, Any],
    runs: Path,
    name: str | None,
    parallel: int | None,
    executor: str,
) -> bool:
    """Whether a command trains all folds, or resumes that. Arguments are the command's options.

    Raises:
        InputError: options of a cross-validation without one.
    """
    if folds is not None and "fold" not in settings:
        return True
    if data is None and name is not None and (runs / name / CROSS_VALIDATION).is_file():
        return True
    if parallel is not None or executor != "local":
        raise InputError(
            f"--{'executor' if parallel is None else 'parallel'} is for several runs, and this is one",
            "add --folds N, or leave it out",
        )
    return False


def fit_folds(
    data: str | None,
    method: str | None,
    folds: int | None,
    settings: dict[str, Any],
    self_contained: bool,
    **options: Any,
) -> list[str]:
    """Cross-validates, and returns the lines to print.

    Raises:
        InputError: an option that a cross-validation does not have; see
            :func:`~modicum.cross_validation.cross_validate.cross_validate`.
    """
    from modicum.cross_validation.cross_validate import cross_validate

    if self_contained:
        raise InputError(
            "--self-contained is for one run", "leave it out, and pack the runs you keep: modicum pack RUN"
        )
    done = cross_validate(data, method, folds=5 if folds is None else folds, **options, **settings)
    return summary(done.path, done.metrics)


def summary(path: Path, content: Mapping[str, Any]) -> list[str]:
    """The lines that ``modicum fit --folds`` prints at its end."""
    metric, task = content["metric"], content["task"]
    lines = [f"out of fold: {line}" for line in evaluation_summary(content["out_of_fold"], task, metric)]
    lines.append(f"over {content['folds']} folds: {metric} {_spread(metric, content['across_folds'])}")
    if "test" in content["ensemble"]:
        lines += [
            f"test, ensemble: {line}"
            for line in evaluation_summary(content["ensemble"]["test"], task, metric)
        ]
    if "test_across_folds" in content:
        lines.append(
            f"test, over {content['folds']} folds: {metric} {_spread(metric, content['test_across_folds'])}"
        )
    lines += [f"note: {caution}" for caution in content["cautions"]]
    ensemble = content["ensemble"]
    lines.append(
        f"ensemble: {path / ensemble['run']}" if ensemble["run"] else f"no ensemble: {ensemble['reason']}"
    )
    return [*lines, f"report: {path / 'report.html'}"]


def _spread(metric: str, across: Mapping[str, Any]) -> str:
    entry = across.get(metric, {})
    if entry.get("mean") is None:
        return "undefined"
    text = metric_text(metric, entry["mean"])
    if entry["deviation"] is None:
        return text
    return f"{text} ± {metric_spread(metric, entry['deviation'])} (mean and deviation)"
