"""Predicted training memory against real steps of the engine, published counts and closed forms."""

import time
from dataclasses import astuple
from pathlib import Path

import pytest
import torch

import modicum
from modicum.data.phantoms import write_fundus_dataset
from modicum.errors import InputError
from modicum.methods import method_class, method_entries
from modicum.planning.memory import CUBLAS_WORKSPACES, predict

# The toys are held to this by check_method: two of them have nothing to learn, or boxes that no dry run makes up.
# octa_quality wants three grades and a network of several maps.
SHIPPED = [name for name in method_entries() if not name.startswith("toy_") and name != "octa_quality"]
METHODS = sorted(name for name in SHIPPED if "classification" in method_class(name).tasks)
ALIKE = (
    "adapter", "adaptformer", "attention", "bitfit", "dora", "dtl", "fpt_plus", "gpaco", "ldam", "lst", "mixed",
    "paco", "partial", "side", "ssf", "vpt",
)  # fmt: skip
"""Methods whose stage is that of ``lora``, ``full``, ``fpt`` or ``spmix``, which are always looked at; as in the
contract's test."""
IN_TURN = [pytest.param(name, marks=pytest.mark.slow) if name in ALIKE else name for name in METHODS]
CONTRASTED = ("spmix", "gpaco", "paco")
VIT = "vit_base_patch16_224"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    fractions = {"train": 0.6, "val": 0.2, "test": 0.2}
    return write_fundus_dataset(
        tmp_path_factory.mktemp("memory"), 10, 64, seed=3, fractions=fractions, masks=False,
        grade_probabilities=(1, 1, 1, 1, 1),
    )  # fmt: skip


def real_memory(images, runs, method, device, **settings):
    """``memory`` of a real run's metrics, and the number of its classes."""
    run = modicum.fit(
        images, method, runs=runs, stores=images.parent / "stores", weights="random", epochs=1, leaks="allow",
        resamples=0, workers=0, device=device, augment="none", write_report=False, **settings,
    )  # fmt: skip
    return run.metrics["memory"], len(run.metrics["classes"])


# --- against the engine ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "backbone", "size"),
    [
        *(
            pytest.param(name, "test_vit", 64, marks=[pytest.mark.slow] if name in ALIKE else [])
            for name in METHODS
        ),
        ("full", "test_resnet", 32),
        ("linear", "test_resnet", 32),
        ("full", "test_efficientnet", 32),
    ],
)
def test_prediction_equals_the_account_of_a_real_step_on_a_cpu(method, backbone, size, images, tmp_path):
    memory, classes = real_memory(
        images, tmp_path, method, "cpu", backbone=backbone, image_size=size, batch_size=4
    )
    found = predict(method, backbone, size, 4, num_classes=classes, device="cpu")
    assert found.accounted_bytes == pytest.approx(memory["peak_bytes"], rel=0.01)
    assert found.saved_bytes == pytest.approx(memory["activations_bytes"], rel=0.01)


@pytest.mark.parametrize("settings", [{"ema_decay": 0.9}, {"optimizer": "sgd"}])
def test_prediction_knows_optimisers_and_averages(settings, images, tmp_path):
    given = {"backbone": "test_vit", "image_size": 64, "batch_size": 4, **settings}
    memory, classes = real_memory(images, tmp_path, "full", "cpu", **given)
    found = predict("full", "test_vit", 64, 4, num_classes=classes, device="cpu", settings=settings)
    assert found.accounted_bytes == pytest.approx(memory["peak_bytes"], rel=0.01)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", METHODS)
def test_prediction_is_within_a_tenth_of_a_gpus_allocator(method, images, tmp_path):
    given = {"backbone": "vit_small_patch16_224", "image_size": 224, "batch_size": 16}
    memory, classes = real_memory(images, tmp_path, method, "cuda", **given)
    found = predict(method, "vit_small_patch16_224", 224, 16, num_classes=classes, device="cuda")
    assert memory["kind"] == "measured"
    assert found.peak_bytes == pytest.approx(memory["peak_bytes"], rel=0.1)


# --- published counts ------------------------------------------------------------------------------------------


def test_a_vit_at_512_pixels_saves_586_mib_an_image_with_fused_attention():
    """Measured on the reference implementation of fine-grained prompt tuning, fp32."""
    found = predict("full", VIT, 512, 1, num_classes=5, device="cpu")
    assert found.saved_bytes / 2**20 == pytest.approx(586.3, abs=0.05)


def test_a_vit_at_512_pixels_saves_1163_mib_an_image_with_explicit_attention(monkeypatch):
    """1,219,377,960 bytes in the reference, which scales the product of queries and keys; timm scales the queries.

    A scaled copy of the queries is kept in each of 12 blocks beside queries, keys and values, which are one storage.
    """
    monkeypatch.setattr("timm.layers.attention.use_fused_attn", lambda *_: False)
    found = predict("full", VIT, 512, 1, num_classes=5, device="cpu")
    scaled_queries = 1025 * 768 * 4
    assert found.saved_bytes == 1_219_377_960 + 12 * scaled_queries


def test_adamw_holds_four_times_what_learns_and_the_account_says_so():
    found = predict("full", VIT, 224, 1, num_classes=5, device="cpu")
    learnable = 85_798_656 + 5 * 769  # timm's count without a classifier, and the head
    static = found.accounted_bytes - found.saved_bytes
    assert static == pytest.approx(
        16 * learnable, rel=1e-4
    )  # a step counter for each tensor, mean and deviation


# --- a GPU -----------------------------------------------------------------------------------------------------


def test_parts_sum_to_the_peak():
    for device in ("cpu", "cuda"):
        found = predict("full", "test_vit", 64, 3, device=device)
        parts = astuple(found)[4:10]
        assert sum(parts) == found.peak_bytes


def test_a_gpu_keeps_no_gradients_in_the_forward_pass_and_has_workspaces():
    cpu = predict("full", VIT, 224, 64, device="cpu", precision="32")
    gpu = predict("full", VIT, 224, 64, device="cuda", precision="32")
    assert gpu.workspaces_bytes == CUBLAS_WORKSPACES
    assert cpu.workspaces_bytes == 0
    # Both peak where the backward pass begins. The engine frees a GPU's gradients before that, a CPU's then.
    assert gpu.gradients_bytes < 0.1 * gpu.weights_bytes
    assert gpu.saved_bytes == pytest.approx(cpu.saved_bytes, rel=1e-3)


def test_accumulated_gradients_are_there_in_the_forward_pass():
    once = predict("full", VIT, 224, 64)
    twice = predict("full", VIT, 224, 64, settings={"accumulate": 2})
    assert twice.peak_bytes - once.peak_bytes == pytest.approx(once.weights_bytes, rel=0.05)


def test_bfloat16_saves_less_than_float32_and_more_than_half_of_it():
    half = predict("full", VIT, 512, 4, precision="bf16").saved_bytes
    whole = predict("full", VIT, 512, 4, precision="32").saved_bytes
    assert whole / 2 < half < whole


@pytest.mark.parametrize("method", IN_TURN)
def test_saved_activations_are_affine_in_the_batch_and_the_peak_is_a_maximum_of_affine_functions(method):
    found = [predict(method, "test_vit", 64, batch) for batch in (8, 16, 24)]
    saved = [prediction.saved_bytes for prediction in found]
    more, again = saved[1] - saved[0], saved[2] - saved[1]
    # Similarities of a batch's two views to each other grow with its square: float32, of 8 further images twice.
    square = 2 * 2 * 8**2 * 4 if method in CONTRASTED else 0
    assert again - more in range(0, 4 * square + 1)
    peaks = [prediction.peak_bytes for prediction in found]
    assert peaks[2] - peaks[1] >= peaks[1] - peaks[0] - 2**18  # convex, but for the allocator's blocks


def test_the_process_ends_as_it_began():
    before = torch.nn.functional.linear(torch.ones(1, 2), torch.ones(3, 2))
    predict("full", "test_vit", 64, 2, device="cuda")
    assert not torch.is_autocast_enabled("cuda")
    assert torch.ones(1).device.type == "cpu"
    assert torch.empty(1, device="meta").device.type == "meta"
    assert torch.equal(before, torch.nn.functional.linear(torch.ones(1, 2), torch.ones(3, 2)))


# --- cost ------------------------------------------------------------------------------------------------------


def resident() -> int:
    fields = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
    )
    return int(fields["VmHWM"].split()[0]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux' account of a process")
def test_a_large_network_on_large_images_takes_seconds_and_no_memory():
    predict("full", "test_vit", 64, 2)  # imports
    before, began = resident(), time.process_time()
    found = predict("full", "vit_large_patch16_224", 1024, 4)
    assert found.peak_bytes > 10e9
    assert resident() - before < 100e6
    assert time.process_time() - began < 20  # 3 s when nothing else runs


# --- what cannot be predicted ----------------------------------------------------------------------------------


def test_one_image_and_batch_normalisation_are_refused_as_in_training():
    with pytest.raises(InputError, match="one image in a batch"):
        predict("linear", "test_resnet", 32, 1)


def test_a_backbone_that_a_method_does_not_take_is_named():
    with pytest.raises(InputError, match="test_resnet"):
        predict("fpt", "test_resnet", 32, 2)
