"""A run folder, and what can be done with the model in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modicum.data.layouts.given_images import GivenReading
from modicum.data.reports.prompts import prompts_of, read_prompts
from modicum.engine.devices import chosen_device
from modicum.engine.inference.alignment import (
    Alignment,
    align,
    check_aligned_outputs,
    largest_known_displacement,
)
from modicum.engine.inference.dense_output import PSEUDONYM
from modicum.engine.inference.evaluate_run import EvaluationSettings, evaluate_run
from modicum.engine.inference.evaluation import dense_predictor
from modicum.engine.inference.export import Form, export_run
from modicum.engine.inference.graphs.export_graph import SUFFIXES, export_graph
from modicum.engine.inference.image_text import ImageTextRun
from modicum.engine.inference.predict_run import PredictionSettings, predict_run
from modicum.engine.inference.prediction import PredictionSummary
from modicum.engine.inference.retrieval import (
    RETRIEVED,
    Retrieved,
    data_of,
    image_of,
    retrieve,
    retrieved_table,
)
from modicum.engine.model import load_method, pack_run
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import RunFolder, read_table
from modicum.errors import InputError, did_you_mean
from modicum.methods import Method
from modicum.methods.base import PREDICTOR
from modicum.output_paths import check_files, check_output, in_one_line
from modicum.tasks import DenseTask


def _prompts(
    given: str | Path | Mapping[str, str | Sequence[str]] | None,
) -> dict[str, list[str]] | None:
    """Prompts of a table, or as they are given."""
    if given is None or isinstance(given, Mapping):
        return None if given is None else prompts_of(given)
    return read_prompts(given)


def _prompt_file(given: str | Path | Mapping[str, str | Sequence[str]] | None) -> Path | None:
    return Path(given) if isinstance(given, str | Path) else None


class Run:
    """A run folder, and what can be done with the model in it.

    Args:
        folder: of the run.
        weights: where those of the frozen backbone are now, if they are not found where they were: a file, or
            ``run:FOLDER``. They are checked by their SHA-256.
    """

    def __init__(self, folder: RunFolder, weights: str | Path | None = None) -> None:
        self.folder = folder
        self.weights = None if weights is None else str(weights)

    def __repr__(self) -> str:
        return f"Run('{self.path}', {self.folder.status.get('state', 'empty')})"

    @classmethod
    def open(cls, path: str | Path, weights: str | Path | None = None) -> "Run":
        """An existing run; ``weights`` as for the class. Raises :class:`InputError` where there is none."""
        return cls(RunFolder.open(path), weights)

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def recipe(self) -> Recipe:
        """The resolved settings."""
        return Recipe.read(self.folder.recipe)

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of ``metrics.json``; see ``docs/run-folder.md``."""
        if not self.folder.metrics.is_file():
            raise InputError(f"run '{self.folder.name}' has no metrics yet", "finish it with --resume")
        return read_table(self.folder.metrics)

    def method(self) -> Method:
        """The method with what the run has learned, for code of one's own: its ``predictor()`` maps images
        ``[b, c, h, w]`` in ``[0, 1]`` to outputs, its ``stages()`` are there to be trained further.

        Raises:
            InputError: the run has not finished, or its files are damaged.
        """
        return load_method(self.folder, self.weights)[2]

    @in_one_line
    def predict(
        self,
        images: str | Path | Sequence[str | Path],
        out: str | Path | None = None,
        *,
        batch_size: int | None = None,
        device: str | None = None,
        columns: Mapping[str, Any] | None = None,
        allow_outside: bool = False,
        image_folder: str | Path | None = None,
        split: str | None = None,
        split_lists: str | Path | None = None,
        pairs: tuple[str, str] | None = None,
        slices: str | None = None,
        align_geometry: str | None = None,
        native: bool = False,
        tile: int | None = None,
        overlap: float = 0.25,
        pseudonym: str = PSEUDONYM,
        maps: str | Path | None = None,
        probabilities: bool = False,
        prompts: str | Path | Mapping[str, str | Sequence[str]] | None = None,
        scored_by: str | None = None,
        quality: str | Path | None = None,
        drop: Sequence[str] = (),
        after: str | Path | None = None,
        strict: bool = False,
        conformal: float | None = None,
        conformal_score: str | None = None,
        **answers: Any,
    ) -> PredictionSummary:
        """Predicts images, folders of images, or the images of a data set.

        A table, a folder with a table or of a known layout means the images that it names, as for :func:`load`; any
        other folder means all images below it.

        Numbers go into a CSV or Parquet file, a row an image; pictures (translations, masks) into a folder, beside a
        table: see :mod:`modicum.engine.inference.dense_output` for what becomes of which format.

        Args:
            images: files, folders, tables, data lists or array files; one or several.
            out: where the predictions go: a file (``predictions.csv``), or the folder of pictures (``predictions``).
                What is there by the same name is replaced.
            batch_size: images in one forward pass; that of the training by default.
            device: where to compute.
            columns: of a table: ``{"image": "file"}`` names the column with the paths; ``patient`` and ``eye`` reach
                methods that decide over several images. By default those of the training, where a table has them.
            allow_outside: of a table: accept paths that leave its folder.
            image_folder: of a table: folder that its image paths are relative to.
            split: of a data set: rows to take, such as ``test``; all by default.
            split_lists: of a data set: folder with lists of train, val and test images.
            pairs: of a folder: words that tell images from targets; those of the training where they fit.
            slices: of files with several slices, those that are predicted each by itself: ``all``, ``every:N``,
                ``middle``. By default the middle one stands for all, and of pictures a volume becomes a volume.
            align_geometry: ``resample`` brings the fields of view that a table names onto the images' grids; as in the
                training by default.
            native: of pictures: predict at the size of each file instead of the size in training, in tiles.
            tile: side of the tiles in pixels; that of the training by default.
            overlap: of neighbouring tiles, as a share of their side, from 0 to below 1.
            pseudonym: stands for the patient in DICOM files.
            maps: folder for the maps that the method makes of each image, where it makes some. Of predicted images:
                how far each pixel was changed, and what the method says of its answer.
            probabilities: of masks: write the probability map of each class beside them.
            prompts: of runs that have learned images together with texts: a table with columns ``class`` and ``prompt``,
                or texts by class. The answer is the class whose texts an image is nearest to.
            scored_by: of prompts: ``global``, ``local`` or ``both`` (default, where the run has learned both).
            quality: ``run:FOLDER`` of a run that grades the images first; its table lies beside the predictions.
            drop: classes of that run whose images are not predicted, such as ``ungradable``.
            after: of predicted images: predict from the outputs of another enhancer in place of the images:
                ``run:FOLDER``, or a folder of pictures with the images' names.
            strict: images unlike those of the training (column ``unlike_training``) get no answer, but a row with the
                reason.
            conformal: of classification: add ``prediction_set``, a set of classes that may miss the true one on this
                share of images, such as 0.1.
            conformal_score: of such sets: ``aps`` (default) or ``lac``.
            answers: settings of the method that only change what it answers, such as ``start=200`` of led.

        Raises:
            InputError: nothing to predict, or the run cannot be used. Broken images are rows with an ``error``.
        """
        given = [images] if isinstance(images, str | Path) else list(images)
        to_maps = None if maps is None else Path(maps)
        settings = PredictionSettings(
            batch_size,
            device,
            native,
            tile,
            overlap,
            pseudonym,
            to_maps,
            probabilities,
            _prompts(prompts),
            scored_by,
            None if quality is None else str(quality),
            tuple(drop),
            None if after is None else str(after),
            answers,
            _prompt_file(prompts),
            strict=strict,
            conformal=conformal,
            conformal_score=conformal_score,
        )
        reading = GivenReading(
            columns=columns,
            images=image_folder,
            split=split,
            split_lists=split_lists,
            pairs=pairs,
            slices=slices,
            align_geometry=align_geometry,
            allow_outside=allow_outside,
        )
        to = None if out is None else Path(out)
        return predict_run(self.folder, self.weights, given, to, settings, reading)

    @in_one_line
    def retrieve(
        self,
        queries: str | Sequence[str],
        among: str | Path,
        out: str | Path = "retrieved",
        *,
        k: int = 10,
        scored_by: str | None = None,
        sentences: bool = False,
        split: str | None = None,
        batch_size: int | None = None,
        device: str | None = None,
        **settings: Any,
    ) -> Retrieved:
        """Finds the reports of a data set that fit an image, or its images that fit a sentence.

        Writes ``retrieved.csv``, a row an answer, and ``retrieved.html``, a page with the pictures and, over those that a
        sentence found, what it reads of them.

        Args:
            queries: paths of images, or sentences; one or several.
            among: what :func:`load` reads; for images, with a column of reports.
            out: the folder.
            k: answers to each query.
            scored_by: ``global`` (default), ``local`` or ``both``.
            sentences: put the sentences of reports into table and page. They are left out by default: a report may name
                its patient.
            split: rows of the data set to search, such as ``test``; all by default.
            batch_size: images in one forward pass.
            device: where to compute.
            settings: how the data are read, as for :meth:`evaluate`.

        Raises:
            InputError: the run has not learned images together with texts, or there is nothing to search.
        """
        from modicum.report.retrieval_page import write_retrieved

        asked = [queries] if isinstance(queries, str) else list(queries)
        folder = Path(out)
        check_output("--out", folder, [self.path, Path(among)], folder=True)
        pictures = [ref.path for ref in map(image_of, asked) if ref is not None]
        check_files("--out", [folder / name for name in RETRIEVED], [Path(among), *pictures])
        run = ImageTextRun.open(self.folder, self.weights, device, batch_size)
        given = {key: value for key, value in settings.items() if value is not None}
        data = data_of(run.recipe.data, among, given)
        retrieved = retrieve(run, asked, data, k, scored_by, sentences, split)
        write_retrieved(folder, retrieved, retrieved_table(retrieved), run.settings)
        return retrieved

    @in_one_line
    def align(
        self,
        image: str | Path,
        target: str | Path,
        out: str | Path,
        *,
        field: str | Path | None = None,
        device: str | None = None,
        pseudonym: str = PSEUDONYM,
    ) -> Alignment:
        """Brings an image onto a picture of the other modality, by what the run has learned of registration.

        Args:
            image: what is moved: an image, a NIfTI volume (slice by slice), or the folder of a DICOM series.
            target: of the same kind and size.
            out: the moved image: PNG, NIfTI or DICOM as the image, a folder for a series.
            field: the displacements: NIfTI or NPZ, see :mod:`modicum.engine.inference.displacement_files`;
                beside ``out`` by default.
            device: where to compute.
            pseudonym: stands for the patient in DICOM files.

        Raises:
            InputError: the run has no registration, or the two do not fit each other.
            BrokenImageError: one of them cannot be read.
        """
        check_aligned_outputs(image, target, Path(out), None if field is None else Path(field))
        recipe, task, method = load_method(self.folder, self.weights)
        if not isinstance(task, DenseTask):
            raise InputError(
                f"task '{task.name}' has no registration", "align with a run that translates images"
            )
        predictor = dense_predictor(method.predictor(), task, recipe, chosen_device(device or recipe.device))
        predictor.network.to(predictor.device).eval()
        return align(
            predictor,
            image,
            target,
            Path(out),
            None if field is None else Path(field),
            made_by=f"{self.folder.name} ({recipe.method})",
            pseudonym=pseudonym,
            learned=largest_known_displacement(self.folder),
        )

    @in_one_line
    def export(
        self,
        out: str | Path | None = None,
        *,
        form: Form = "auto",
        part: str | None = None,
        to: str = "safetensors",
        int8: bool = False,
    ) -> Path:
        """Writes what was learned as a file of weights with a card beside it; :func:`modicum.load_exported` opens it.

        Args:
            out: the file, ``.safetensors``; ``export.safetensors`` in the run folder by default.
            form: ``predictor``: all tensors of the network that predicts, frozen backbone included; ``merged``: the same
                as one plain timm network, for methods that allow it; ``auto``: merged where that is possible.
            part: a network that the method offers besides its predictor, for instance ``registration``.
            to: ``safetensors``; ``onnx`` or ``openvino``: the predictor as a graph, compared with PyTorch before it is
                written.
            int8: of ``onnx``, weights in 8 bits, with what that costs on the run's validation images.

        Raises:
            InputError: the run cannot be exported so.
        """
        file = None if out is None else Path(out)
        if to in SUFFIXES and form != "merged" and part in (None, PREDICTOR):
            return export_graph(self.folder, file, to=to, int8=int8, weights=self.weights)
        if to not in (*SUFFIXES, "safetensors"):
            raise InputError(f"--to is '{to}'", did_you_mean(to, (*SUFFIXES, "safetensors")))
        if to in SUFFIXES:
            raise InputError(f"--to {to} writes the predictor alone", "leave --form and --part out")
        if int8:
            raise InputError("--int8 with --to safetensors", "export int8 as ONNX: --to onnx --int8")
        return export_run(self.folder, file, form=form, part=part, weights=self.weights)

    @in_one_line
    def pack(self) -> Path | None:
        """Puts the frozen backbone's weights into the run folder, so that it can be copied anywhere.

        Returns:
            The file; None where the run holds all of its weights anyway.

        Raises:
            InputError: the run has not finished, or the weights are not found.
        """
        return pack_run(self.folder, self.weights)

    @in_one_line
    def evaluate(
        self,
        data: str | Path,
        *,
        split: str | None = None,
        name: str | None = None,
        device: str | None = None,
        skip_broken: bool = False,
        workers: int | None = None,
        stores: str | Path | None = None,
        write_report: bool = True,
        out: str | Path | None = None,
        prompts: str | Path | Mapping[str, str | Sequence[str]] | None = None,
        scored_by: str | None = None,
        after: str | Path | None = None,
        judges: Sequence[str] = (),
        answers: Mapping[str, Any] | None = None,
        conformal: float | None = None,
        conformal_score: str | None = None,
        by: Sequence[str] = (),
        table: str | Path | None = None,
        **settings: Any,
    ) -> dict[str, Any]:
        """Evaluates the model on labelled data; writes ``evaluations/<name>/`` and refreshes the report.

        Args:
            data: what :func:`load` reads. Column names default to those the run was trained with.
            split: rows to take; ``test`` by default where the data has one, else all.
            name: of the evaluation; made of the data's name and the split by default.
            device: where to compute.
            skip_broken: set broken images aside instead of stopping.
            workers: processes that decode images.
            stores: folder of decoded images.
            write_report: whether to refresh ``report.html``.
            out: folder for the evaluation, in place of the run folder, which stays as it is (in an archive, say): neither
                its metrics nor its report know of the evaluation.
            prompts: as for :meth:`predict`: the labels of the data are compared with what the prompts say.
            scored_by: of prompts, as for :meth:`predict`.
            after: of predicted images: predict from the outputs of another enhancer, as for :meth:`predict`.
            judges: of predicted images: runs (``run:FOLDER``) that segment or classify, which are evaluated on images,
                outputs and targets, by the masks and labels of the data.
            answers: settings of the method that only change what it answers, as for :meth:`predict`.
            conformal: of classification: evaluate prediction sets too, as for :meth:`predict`.
            conformal_score: of such sets, as for :meth:`predict`.
            by: columns by which groups of patients are compared, as for :meth:`report`; kept in ``groups.json``.
            table: where their values are; ``data`` by default.
            settings: ``columns``, ``pairs``, ``images``, ``split_lists``, ``slices``, ``align_geometry``,
                ``allow_outside`` where they differ from the run's.

        Returns:
            The content of the evaluation's ``metrics.json``.
        """
        given = {key: value for key, value in settings.items() if value is not None}
        kept = None if stores is None else Path(stores)
        to = None if out is None else Path(out)
        asked = EvaluationSettings(
            split,
            name,
            device,
            skip_broken,
            workers,
            kept,
            given,
            to,
            _prompts(prompts),
            scored_by,
            None if after is None else str(after),
            tuple(judges),
            answers or {},
            _prompt_file(prompts),
            conformal,
            conformal_score,
        )
        content = evaluate_run(self.folder, self.weights, data, asked)
        if by:
            from modicum.report.request import add_groups

            place = to or self.folder.evaluation(
                next(reversed(read_table(self.folder.metrics)["evaluations"]))
            )
            add_groups(self.path, place, by, Path(data if table is None else table))
        if write_report and out is None:
            self.report()
        return content

    @in_one_line
    def report(
        self,
        out: str | Path | None = None,
        *,
        prevalence: float | None = None,
        by: Sequence[str] = (),
        table: str | Path | None = None,
        least: int = 20,
        of: str | None = None,
        review: bool = False,
    ) -> Path:
        """Writes the report, one self-contained page, and returns its path.

        Args:
            out: the file; ``report.html`` in the run folder by default.
            prevalence: share of positives among the reader's own patients: adds predictive values and net benefit there.
            by: columns by which groups of patients are compared: ``sex``, or with cut points ``age:40,60``.
            table: where their values are; by default the run's manifest, then the data as the training found them.
            least: images below which a group is too small for numbers.
            of: name of the evaluation that groups are made of; the one in the headline by default.
            review: also write ``review.html`` and ``review.md`` beside the page: model card and checklists.

        Raises:
            InputError: a prevalence that is none, a column that makes no groups.
        """
        from modicum.report.for_readers import ReportOptions
        from modicum.report.request import ReportRequest, write_reports

        given = None if table is None else Path(table)
        request = ReportRequest(ReportOptions(prevalence), tuple(by), given, least, of, review)
        if out is not None:
            check_output("--out", Path(out), self.folder.files_but_report)
        return write_reports(self.path, None if out is None else Path(out), request)[0]
