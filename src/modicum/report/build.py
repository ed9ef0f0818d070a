"""Writes ``report.html`` from a run folder."""

from pathlib import Path
from typing import Any

from modicum.atomic_files import write_text
from modicum.errors import InputError
from modicum.report.by_domain import domain_blocks
from modicum.report.files import SET_TITLES, Evaluation, RunFiles, number, read_evaluated, read_run
from modicum.report.flow import flow_of
from modicum.report.flow_picture import flow_picture
from modicum.report.for_readers import ReportOptions, reader_blocks
from modicum.report.overview import cautions, hero, subtitle, tiles, versions
from modicum.report.page import style, templates
from modicum.report.pictures import cards_of, split_cards
from modicum.report.places import without_places
from modicum.report.sections import Block, TaskSections
from modicum.report.sections_by_task import sections_of
from modicum.report.training_images import unlike_text
from modicum.report.words import count, plural

PICTURE_BYTES = 1_800_000
"""Size limit of all example images of a page together, as text; keeps the page under 3 MB."""


def build(
    run_folder: Path,
    out: Path | None = None,
    options: ReportOptions = ReportOptions(),  # noqa: B008 - a value
) -> Path:
    """Writes the report of a run folder, finished or not, and returns its path.

    Args:
        run_folder: of the run.
        out: the file; ``report.html`` in the run folder by default.
        options: what a reader asks for.

    Only files of the folder are read. The same folder gives the same bytes.

    Raises:
        InputError: the folder does not exist, or contains no files of a run.
        ResourceError: the disk is full.
    """
    page = Path(run_folder) / "report.html" if out is None else out
    return build_of(checked_run(Path(run_folder)), page, options)


def build_of(run: RunFiles, page: Path, options: ReportOptions) -> Path:
    """Writes the report of a run that was read. Raises :class:`~modicum.errors.ResourceError` where the disk is full."""
    write_text(page, templates().get_template("report.html.j2").render(_page(run, options)))
    return page


def build_evaluation(run_folder: Path, evaluation: Path, page: Path) -> Path:
    """Writes the page of one evaluation that lies outside its run's folder, and returns its path.

    Args:
        run_folder: of the run.
        evaluation: folder of the evaluation.
        page: the file.
    """
    run = read_evaluated(run_folder, evaluation)
    write_text(page, templates().get_template("report.html.j2").render(_page(run, ReportOptions())))
    return page


def render(run_folder: Path, options: ReportOptions = ReportOptions()) -> str:  # noqa: B008 - a value
    """Renders the page as HTML. Raises like :func:`build`."""
    return str(templates().get_template("report.html.j2").render(_page(checked_run(run_folder), options)))


def checked_run(run_folder: Path) -> RunFiles:
    """Reads a run folder. Raises :class:`~modicum.errors.InputError` where it holds no files of a run."""
    if not run_folder.is_dir():
        raise InputError(
            f"'{run_folder}' is not a run folder",
            "pass a folder written by `modicum fit`, for instance runs/NAME",
        )
    run = read_run(run_folder)
    if not (run.metrics or run.recipe_text or run.history or run.evaluations):
        raise InputError(
            f"'{run_folder}' contains no recipe, history or metrics",
            "pass a folder written by `modicum fit`, for instance runs/NAME",
        )
    return run


def _page(run: RunFiles, options: ReportOptions) -> dict[str, Any]:
    from modicum.report.data_summary import data_values
    from modicum.report.figures import theme
    from modicum.report.lesion_bank import bank_blocks
    from modicum.report.pairs import pair_blocks
    from modicum.report.policies import policy_blocks
    from modicum.report.previews import preview_blocks
    from modicum.report.training import cost_values, training_blocks

    sections = sections_of(run.task_name)
    main = run.main
    of_methods = (policy_blocks, pair_blocks, bank_blocks, preview_blocks)
    training = [*training_blocks(run), *(block for blocks in of_methods for block in blocks(run))]
    dense_templates = ("losses.html.j2", "policies.html.j2", "pairs.html.j2")
    dense = sections.galleries is not None or any(block.template in dense_templates for block in training)
    dense = dense or any(evaluation.info.get("domains") for evaluation in run.evaluations)
    return {
        "css": style("report.css"),
        "own_css": style("dense.css") + style("tables.css") if dense else style("tables.css"),
        "lost": sections.lost,
        "theme": theme(),
        "run": run,
        "task": run.task_name.replace("_", " ").replace("-", " ").capitalize() or "Training",
        "subtitle": subtitle(run, sections),
        "hero": hero(run),
        "headline": sections.headline(run, main) if main else None,
        "tiles": tiles(run),
        "cautions": cautions(run, sections),
        "evaluations": [
            _panel(run, sections, evaluation, i, options) for i, evaluation in enumerate(run.evaluations)
        ],
        "flow": None if (flow := flow_of(run)) is None else flow_picture(flow),
        "own_sets": tuple(SET_TITLES.values()),
        "first": run.evaluations.index(main) if main else 0,
        "training": training,
        "cost": cost_values(run),
        "data": data_values(run, sections),
        "recipe": without_places(run.recipe_text),
        "versions": versions(run),
    }


def _panel(
    run: RunFiles, sections: TaskSections, evaluation: Evaluation, index: int, options: ReportOptions
) -> dict[str, Any]:
    illustrated = sum(bool(any_evaluation.examples) for any_evaluation in run.evaluations)
    budget = PICTURE_BYTES // max(1, illustrated)
    galleries = sections.galleries(run, evaluation, budget) if sections.galleries else []
    mistakes, correct = split_cards([] if sections.galleries else cards_of(evaluation, budget))
    images, patients = number(evaluation.info.get("images")), number(evaluation.info.get("patients"))
    size = [plural(int(images), "image")] if images is not None else []
    size += [plural(int(patients), "patient")] if patients else []
    return {
        "title": evaluation.title,
        "size": ", ".join(size),
        "note": _resampling(evaluation) if sections.galleries is None or _has_intervals(evaluation) else "",
        "seen": " ".join(text for text in (_seen(evaluation), unlike_text(evaluation)) if text),
        "blocks": [
            *(blocks := sections.blocks(run, evaluation, f"e{index}")),
            *_of_domains(run, evaluation, blocks),
            *reader_blocks(run, evaluation, options),
        ],
        "map": ", ".join(sorted({str(entry["map"]) for entry in evaluation.examples if entry.get("map")})),
        "mistakes": mistakes,
        "correct": correct,
        "galleries": galleries,
        "predicted": evaluation.predictions is not None,
    }


def _of_domains(run: RunFiles, evaluation: Evaluation, blocks: list[Block]) -> list[Block]:
    """The table of domains, where the task has none of its own."""
    of_domains = domain_blocks(evaluation, run.task_name)
    titles = {block.title for block in blocks}
    return [block for block in of_domains if block.title not in titles]


def _seen(evaluation: Evaluation) -> str:
    images = number(evaluation.info.get("images")) or evaluation.seen + evaluation.resembling
    these = f"of these {count(images)} images"
    seen, alike = count(evaluation.seen), count(evaluation.resembling)
    parts = [f"{seen} {these} were in the training data"] if evaluation.seen else []
    if evaluation.resembling:
        parts.append(f"{alike} {'more' if parts else these} look nearly the same as training images")
    return f"{', and '.join(parts)}: these scores are optimistic." if parts else ""


def _has_intervals(evaluation: Evaluation) -> bool:
    return any(number(entry.get("low")) is not None for entry in evaluation.metrics.values())


def _resampling(evaluation: Evaluation) -> str:
    resamples = number(evaluation.info.get("resamples"))
    if not resamples:
        return ""
    unit = "patients" if evaluation.info.get("resampling_unit") == "patient" else "images"
    confidence = number(evaluation.info.get("confidence")) or 0.95
    return f"{100 * confidence:g} % intervals from {count(resamples)} bootstrap resamples of {unit}."
