"""Chains of larger methods: diffusion that enhances, masked pre-training, adapters on what that has learned."""

from pathlib import Path

import pytest
from chain_plans import SMALL, TRAINING, write_eyes, write_plan
from safetensors.torch import load_file

import modicum
from modicum.engine.inference.dense_prediction import DensePredictor
from modicum.errors import InterruptedRunError

DATA = {"leaks": "allow"}
LED = {"degrade": "pairs", "unet_channels": [8, 8], "attention_levels": [], "blocks_per_level": 1, "steps": 5}
SMALL_VIT = {"name": "test_vit", "weights": "random"}
STEPS = [
    {"name": "enhancer", "data": "pairs/manifest.csv", "fit": {"method": "led", "config": LED, **SMALL, "data": DATA}},
    {"name": "enhance", "predict": {"run": "step:enhancer", "batch_size": 4}},
    {
        "name": "pretrain",
        "data": "step:enhance",
        "fit": {"method": "mae", "backbone": SMALL_VIT, **SMALL, "data": DATA},
    },
    {
        "name": "grade",
        "data": "step:enhance",
        "fit": {
            "method": "lora", **SMALL, "backbone": {"name": "step:pretrain"}, "training": {**TRAINING, "epochs": 2},
            "data": DATA,
        },
    },
    {"name": "test", "data": "step:grade", "evaluate": {"run": "step:grade", "split": "test"}},
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return write_eyes(tmp_path_factory.mktemp("methods"))


@pytest.fixture(scope="module")
def stopped(place) -> tuple[list[str], list[str]]:
    """The chain, stopped while it enhances: its states, and what was written by then."""
    real, seen = DensePredictor.predict, list[int]()

    def doomed(self, jobs):
        for predicted in real(self, jobs):
            seen.extend([1] * (self.guard is not None))  # the own evaluations of a training have none
            if len(seen) > 5:  # of the 16 photographs
                raise KeyboardInterrupt
            yield predicted

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(DensePredictor, "predict", doomed)
        with pytest.raises(
            InterruptedRunError, match=r"step 'enhance': stopped; go on with `modicum fit .*--resume"
        ):
            modicum.run_plan(write_plan(place, STEPS), runs=place / "runs", write_report=False)
    chain = modicum.Chain.open(place / "runs" / "eyes")
    # As if the next try would write other names: nothing of the first one may be taken for its own.
    left = chain.folder.outputs("enhance") / "of_the_first_try.png"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.touch()
    return [step.state for step in chain.steps.values()], [left.name]


@pytest.fixture(scope="module")
def chain(place, stopped) -> modicum.Chain:
    return modicum.run_plan(place / "plan.yaml", runs=place / "runs", resume=True, write_report=False)


def test_stopped_while_it_predicts_it_keeps_what_is_finished_and_predicts_again_as_a_whole(stopped, chain):
    states, left = stopped
    assert states == ["finished", "interrupted", "waiting", "waiting", "waiting"]
    assert {step.state for step in chain.steps.values()} == {"finished"}
    rows = chain["enhance"].record.rows
    assert (rows.into, rows.out, rows.set_aside) == (16, 16, {})
    written = {path.name for path in chain.folder.outputs("enhance").rglob("*.png")}
    assert len(written) == 16
    assert not written & set(left)


def test_adapters_stand_on_what_the_step_before_has_learned(chain):
    grade = chain["grade"].run
    assert grade.recipe.backbone.name == "test_vit"
    of_encoder = load_file(chain["pretrain"].path / "weights.safetensors")
    learned = load_file(grade.path / "weights.safetensors")
    assert not [
        name for name in learned if name.endswith("patch_embed.proj.weight")
    ]  # adapters and a head alone
    (wanted,) = (value for name, value in of_encoder.items() if name.endswith("patch_embed.proj.weight"))
    (whole,) = (
        value
        for name, value in grade.method().predictor().state_dict().items()
        if name.endswith("patch_embed.proj.weight")
    )
    assert whole.equal(wanted)


def test_its_evaluation_is_that_of_its_own_test_split(chain):
    own = chain["grade"].run.metrics["evaluations"]["test"]
    assert chain["test"].metrics["metrics"]["accuracy"] == own["metrics"]["accuracy"]
    assert chain["test"].metrics["images"] == own["images"]
