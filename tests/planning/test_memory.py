"""Predicted training memory against real steps of the engine, published counts and closed forms."""

import resource

import pytest
import timm.layers
import torch

import modicum
from modicum.data.phantoms import write_fundus_dataset
from modicum.errors import InputError
from modicum.methods import method_entries
from modicum.planning.memory import CUBLAS_WORKSPACES, predict

METHODS = sorted(method_entries())
BACKBONES = {"test_vit": 64, "test_resnet": 32}
SMALL = {"test_vit": {"augment": "none"}, "test_resnet": {"augment": "none"}}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    fractions = {"train": 0.6, "val": 0.2, "test": 0.2}
    return write_fundus_dataset(
        tmp_path_factory.mktemp("memory"), 10, 64, seed=3, fractions=fractions, masks=False,
        grade_probabilities=(1, 1, 1, 1, 1),
    )  # fmt: skip


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("method", METHODS)
def test_prediction_equals_the_account_of_a_real_step_on_a_cpu(method, backbone, images, tmp_path):
    settings = {"backbone": backbone, "image_size": BACKBONES[backbone], "batch_size": 4, "augment": "none"}
    try:
        run = modicum.fit(
            images, method, runs=tmp_path, stores=images.parent / "stores", weights="random", epochs=1,
            leaks="allow", resamples=0, workers=0, device="cpu", **settings,
        )  # fmt: skip
    except InputError:  # a method of transformers on a convolutional network
        with pytest.raises(InputError):
            predict(method, backbone, BACKBONES[backbone], 4, device="cpu")
        return
    memory = run.metrics["memory"]
    found = predict(
        method, backbone, BACKBONES[backbone], 4, num_classes=len(run.metrics["classes"]), device="cpu"
    )
    assert found.accounted_bytes == pytest.approx(memory["peak_bytes"], rel=0.01)
    assert found.saved_bytes == pytest.approx(memory["activations_bytes"], rel=0.01)
