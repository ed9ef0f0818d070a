"""The recipe: every resolved setting of a run, as one readable file from which the run can be repeated."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from modicum.data.sampling import SamplingMode
from modicum.data.slices import ALLOWED, USUAL, check_slices
from modicum.engine.recipe.validation import validated
from modicum.errors import InputError
from modicum.tasks import DEFAULT_TASK

RENAMED = {"passes": "repeats_per_epoch", "neighbours": "adjacent_slices"}
"""Settings of earlier versions and their current names: old recipes and commands still work."""
RENAMED_VALUES = {("sampling", "one_of_each"): "round_robin"}


OF_RUN = "run:"
"""Prefix of a setting that names an earlier run."""
STAGE_SOURCES = ("ready", "start")
"""Settings of a stage that name an earlier run."""
OF_THE_WHOLE_RUN = frozenset({"devices", "nodes", "workers", "deterministic"})
"""Settings of the training loop that no stage has for itself."""


class Settings(BaseModel):
    """Base of the recipe's parts: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSettings(Settings):
    """Location of the images, and how the table is read."""

    source: str = Field(
        description="Table, folder, datalist or array file, relative to where the run was started."
    )
    columns: dict[str, str | list[str] | dict[str, Any]] = Field(
        default_factory=dict,
        description="Names of columns, for instance {label: dr_grade, patient: subject}; boxes may be a file instead.",
    )
    box_options: dict[str, Any] = Field(
        default_factory=dict,
        description="How boxes are read, for instance {outside: drop}; see docs/data.md.",
    )
    pairs: tuple[str, str] | None = Field(
        None,
        description="Of a folder: words in names or subfolders that tell sources from targets, for instance [T1, T2].",
    )
    layout: str | None = Field(
        None, description="Name of a public data set's layout, or folder for none; recognised by default."
    )
    layout_options: dict[str, Any] = Field(
        default_factory=dict,
        description="How a public layout is read, for instance {uncertain: ignore}; see docs/data.md.",
    )
    images: str | None = Field(
        None, description="Folder that image paths are relative to, if not the table's."
    )
    split_lists: str | None = Field(None, description="Folder of train/val/test lists that set the split.")
    slices: str = Field(
        USUAL,
        description=f"Of files with several slices: {ALLOWED}; labelled (where a mask is not 0) by default of "
        "segmentation, middle of others.",
    )
    align_geometry: Literal["refuse", "resample"] = Field(
        "refuse",
        description="What to do with NIfTI and DICOM files beside images that lie elsewhere or have other pixels.",
    )
    classes: list[str] | None = Field(None, description="Class names in order; found in the data by default.")
    ordered: bool | None = Field(
        None, description="Classes are grades; by default where they are 0, 1, 2, ..."
    )
    fractions: tuple[float, float, float] = Field(
        (0.7, 0.15, 0.15),
        description="Train, validation and test shares of patients where no split is given.",
    )
    label_fraction: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the training images that is learned from, by whole patients; validation and test stay "
        "whole.",
    )
    held_out: str | None = Field(
        None, description="A domain to test on; all others train. A split that is given does not count."
    )
    split_seed: int | None = Field(
        None, description="Seed of the split where none is given; the run's seed by default."
    )
    folds: int | None = Field(
        None, ge=2, description="Number of folds of a cross-validation, of which this run is one."
    )
    fold: int | None = Field(
        None, ge=1, description="Which of the folds is held out, from 1; `modicum fit --folds N` trains all."
    )
    leaks: Literal["error", "drop", "allow"] = Field("error", description="What to do with images that leak.")
    skip_broken: bool = Field(False, description="Set broken images aside instead of stopping.")
    quality: str | None = Field(
        None,
        description="run:FOLDER that grades all images before anything else is done with them (quality.csv).",
    )
    drop: list[str] = Field(
        default_factory=list,
        description="Of quality: classes of images that are set aside, for instance [ungradable].",
    )
    allow_outside: bool = Field(False, description="Allow image paths outside the data folder.")

    @property
    def every_fold(self) -> bool:
        """Whether all folds of a cross-validation are learned from, as by the ensemble of its runs."""
        return self.folds is not None and self.fold is None

    @field_validator("slices")
    @classmethod
    def _known_slices(cls, value: str) -> str:
        return check_slices(value)

    @field_validator("drop", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("held_out", mode="before")
    @classmethod
    def _name(cls, value: Any) -> Any:
        return value if value is None else str(value)

    @field_validator("classes", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return [str(name) for name in value] if isinstance(value, list | tuple) else value


class ImageSettings(Settings):
    """Preprocessing of files to the network's input."""

    size: tuple[int, int] = Field((224, 224), description="Height and width in pixels.")
    crop: Literal["none", "fundus"] = Field("none", description="Crop to the fundus disc first.")
    resize: Literal["stretch", "pad", "crop"] = Field("stretch", description="How the aspect ratio is met.")
    filter: Literal["area", "bilinear", "bicubic", "lanczos"] = Field(
        "area",
        description="How pixels are combined in resizing, always with antialiasing. area: the mean over a new pixel.",
    )
    window: tuple[float, float] | None = Field(
        None, description="DICOM window centre and width in the file's units."
    )

    @field_validator("size", mode="before")
    @classmethod
    def _square(cls, value: Any) -> Any:
        if isinstance(value, str) and "x" in value:
            value = tuple(value.split("x"))
        return (value, value) if isinstance(value, int | str) else value

    @field_validator("size")
    @classmethod
    def _positive(cls, value: tuple[int, int]) -> tuple[int, int]:
        if min(value) < 1 or max(value) > 16384:
            raise ValueError("sides must be between 1 and 16384 pixels")
        return value


class BackboneSettings(Settings):
    """The network before the head."""

    name: str = Field("resnet50", description="A timm model name.")
    weights: str = Field(
        "hub",
        description="hub, random, a weights file, run:FOLDER, hf:OWNER/NAME, or a name that `modicum methods --weights` "
        "lists.",
    )
    mean: tuple[float, float, float] | None = Field(
        None, description="Subtracted from images in [0, 1]; by default what the weights were trained with."
    )
    std: tuple[float, float, float] | None = Field(
        None, description="Divides images; by default what the weights were trained with."
    )
    position_resize: Literal["size", "scale"] = Field(
        "size",
        description="How position embeddings get to another image size; scale: exactly as the release of FPT does.",
    )


class FeatureSettings(Settings):
    """Stored features of a frozen backbone, for the methods that train on them."""

    mode: Literal["auto", "store", "live"] = Field(
        "auto",
        description="store: extracted once and kept; live: computed for every batch; auto: what the disk allows.",
    )
    disk_gb: float | None = Field(
        None, gt=0, description="Largest store in GB under auto; by default what is free, less a tenth."
    )


class TrainingSettings(Settings):
    """The training loop, the same for every method."""

    epochs: int = Field(20, ge=1, description="Passes over the training images.")
    batch_size: int = Field(16, ge=1, description="Images in a batch on one device.")
    accumulate: int = Field(1, ge=1, description="Batches whose gradients make one step.")
    optimizer: Literal["adamw", "sgd", "adam"] = "adamw"
    lr: float = Field(1e-4, gt=0, description="Peak learning rate.")
    min_lr: float = Field(
        0.0, ge=0, description="Learning rate that the cosine ends at, or below which no schedule falls."
    )
    weight_decay: float = Field(0.05, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="Of SGD.")
    nesterov: bool = Field(True, description="Whether SGD's momentum looks ahead.")
    betas: tuple[float, float] = Field((0.9, 0.999), description="Of AdamW and Adam.")
    schedule: Literal["cosine", "clipped_cosine", "constant", "exponential", "multi_step", "plateau"] = Field(
        "cosine",
        description="How the rate falls: along a cosine to min_lr; along one to 0 that is cut off at min_lr; not at all; "
        "by gamma after each epoch; by gamma at milestones; by gamma where the training loss stops falling.",
    )
    schedule_by: Literal["step", "epoch"] = Field(
        "step", description="Whether warm-up and cosine move with each step or from epoch to epoch."
    )
    gamma: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Factor of exponential (0.6 by default), multi_step and plateau (0.1).",
    )
    milestones: list[int] = Field(
        [15, 25, 45], description="Of multi_step: after how many epochs the rate falls."
    )
    plateau_patience: int = Field(
        5, ge=0, description="Of plateau: epochs without a lower training loss before the rate falls."
    )
    warmup_epochs: float = Field(1.0, ge=0, description="Linear warm-up from 0, counted in steps.")
    clip_norm: float = Field(1.0, ge=0, description="Largest gradient norm; 0 does not clip.")
    ema_decay: float = Field(0.0, ge=0, lt=1, description="Decay of averaged weights; 0 keeps none.")
    ema_power: float = Field(
        0.0,
        ge=0,
        description="How the decay of averaged weights grows: 1 - (1 + n)^-power at update n, at most ema_decay; 0: "
        "(1 + n) / (10 + n).",
    )
    select: Literal["best", "last", "oracle"] = Field(
        "best",
        description="Weights to keep: the best on validation images, or the last. oracle: the best on the test images, "
        "as some releases do; there is no honest test then.",
    )
    monitor: str | None = Field(None, description="Validation metric that selects the best weights.")
    patience: int = Field(
        0, ge=0, description="Validations without a better value before stopping; 0 never stops."
    )
    required_scores: list[float | None] = Field(
        [],
        description="Validation metric that the best epoch so far must have, by epoch from the first (blank: none), or "
        "the training ends there. `modicum tune --prune` sets it.",
    )
    validate_every: int = Field(1, ge=1, description="Epochs between validations.")
    sampling: SamplingMode = Field(
        "natural",
        description="Which training images an epoch shows: all of them (natural); drawn so that classes count alike "
        "(balanced, square_root, progressive, round_robin); or one of each study, for images with reports "
        "(one_per_study).",
    )
    sampling_decay: float = Field(
        0.9,
        gt=0,
        lt=1,
        description="Of sampling=progressive: what is left after each epoch of what a weight has above 1.",
    )
    repeats_per_epoch: int = Field(
        1, ge=1, description="Times that an epoch goes through the training images."
    )
    loss: str = Field(
        "auto",
        description="By name, or a weighted sum such as smooth_l1+0.5*mse; auto: the task's usual one. The names of each "
        "task are in docs/losses.md.",
    )
    class_weights: Literal["none", "balanced", "dynamic", "effective"] | list[float] = Field(
        "none",
        description="How much each class counts in the loss: all alike; as if all had as many images; that at first, and "
        "all alike in the end; by the effective number of images (beta 0.9999); or a number each.",
    )
    class_weights_decay: float = Field(
        0.9,
        gt=0,
        lt=1,
        description="Of class_weights=dynamic: what is left after each epoch of what a weight has above 1.",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of cross-entropy's target that is spread over all classes."
    )
    augment: str | list[dict[str, Any]] = Field(
        "light",
        description="A preset's name, a list of operations, or a YAML file of them (a policy, for instance).",
    )
    precision: Literal["auto", "32", "bf16"] = Field("auto", description="auto: bf16 on a GPU that has it.")
    deterministic: bool = Field(True, description="Same weights for the same recipe on the same machine.")
    channels_last: bool = Field(True, description="Memory layout of images for convolutions on a GPU.")
    checkpoint_minutes: float = Field(10.0, gt=0, description="Minutes between checkpoints inside an epoch.")
    checkpoint_steps: int = Field(
        0, ge=0, description="Steps between checkpoints inside an epoch; 0: by minutes."
    )
    devices: int = Field(1, ge=1, description="GPUs (or CPU processes) on each machine.")
    nodes: int = Field(1, ge=1, description="Machines.")
    workers: int = Field(0, ge=0, description="Loader processes; none are needed with an image store.")

    @field_validator("min_lr")
    @classmethod
    def _below_the_peak(cls, value: float, settings: ValidationInfo) -> float:
        if value > settings.data.get("lr", value):
            raise ValueError(f"the rate cannot end above lr, which is {settings.data['lr']:g}")
        return value

    @field_validator("precision", mode="before")
    @classmethod
    def _precision_as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value


class Recipe(Settings):
    """All settings of a run."""

    method: str
    task: str = DEFAULT_TASK
    options: dict[str, Any] = Field(default_factory=dict, description="The task's own settings.")
    data: DataSettings
    image: ImageSettings = ImageSettings()  # type: ignore[call-arg]
    backbone: BackboneSettings = BackboneSettings()  # type: ignore[call-arg]
    features: FeatureSettings = FeatureSettings()  # type: ignore[call-arg]
    training: TrainingSettings = TrainingSettings()  # type: ignore[call-arg]
    stages: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="By stage, settings of the training loop that are its own; `ready: run:FOLDER` takes the stage "
        "from an earlier run as it is, `start: run:FOLDER` trains on from there.",
    )
    config: dict[str, Any] = Field(default_factory=dict, description="The method's own settings.")
    seed: int = 0
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, ...")
    resamples: int = Field(2000, ge=0, description="Bootstrap resamples of the intervals.")
    evaluate_test: bool = Field(
        True, description="Whether a finished run is evaluated on its test split; trials of a search are not."
    )
    tracking: Literal["none", "csv", "tensorboard", "mlflow"] = Field(
        "none", description="Where losses, metrics and settings are shown too; in the run folder."
    )
    tracking_uri: str | None = Field(
        None, description="Of tracking=mlflow: address of a server, in place of the run folder."
    )
    based_on: str | None = Field(None, description="The recipe that --recipe named.")

    def training_of(self, stage: str) -> TrainingSettings:
        """The training loop's settings of one stage.

        Raises:
            InputError: an unknown setting, or a value out of range.
        """
        overrides = {k: v for k, v in self.stages.get(stage, {}).items() if k not in STAGE_SOURCES}
        if not overrides:
            return self.training
        if shared := sorted(set(overrides) & OF_THE_WHOLE_RUN):
            raise InputError(
                f"stage {stage}: setting '{shared[0]}' is the same for all stages", f"set {shared[0]} itself"
            )
        settings: TrainingSettings = validated(
            TrainingSettings, {**self.training.model_dump(), **overrides}, f"stage {stage}"
        )
        return settings

    def chooses_by_test(self) -> bool:
        """Whether a stage's weights may be chosen on the test images."""
        return any(
            settings.get("select") == "oracle"
            for settings in (self.training.model_dump(), *self.stages.values())
        )

    def earlier_run(self, stage: str) -> tuple[Path, bool] | None:
        """The run folder that a stage is taken from, and whether it is trained on from there; None for neither."""
        for key in STAGE_SOURCES:
            source = self.stages.get(stage, {}).get(key)
            if source is not None:
                return Path(str(source).removeprefix(OF_RUN)), key == "start"
        return None

    def to_yaml(self) -> str:
        """The recipe as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, values: Any) -> Any:
        return with_present_names(values) if isinstance(values, dict) else values

    @classmethod
    def read(cls, path: Path) -> "Recipe":
        """Reads ``recipe.yaml``. Raises :class:`InputError` where it is damaged or has unknown keys."""
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise InputError(
                f"recipe '{path}' cannot be read ({type(error).__name__})", "restore the file"
            ) from error
        if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
            raise InputError(f"recipe '{path}' is not a table of settings", "restore the file")
        return validated(cls, values, str(path))


def with_present_names(values: dict[str, Any]) -> dict[str, Any]:
    """A recipe's values with settings of earlier versions under the names that they have now."""
    changed = dict(values)
    for part, table in values.items():
        if part in {"training", "options"} and isinstance(table, dict):
            changed[part] = {RENAMED.get(key, key): present_value(key, value) for key, value in table.items()}
    return changed


def present_value(key: str, value: Any) -> Any:
    """A value of an earlier version as it is called now."""
    return RENAMED_VALUES.get((key, value), value) if isinstance(value, str) else value
