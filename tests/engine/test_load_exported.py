"""A predictor file stands alone: every method's network is made again from it, with the run's outputs to the bit."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
import torch
from exported_outputs import of_file, of_run, outputs
from made_runs import made_run, usual
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import modicum
from modicum.engine.inference.export import export_part, export_run
from modicum.engine.model import load_method
from modicum.errors import InputError
from modicum.methods import method_class, registry
from modicum.nn import Backbone
from modicum.run import Run

ALONE = """
import hashlib, sys, torch, modicum
for path in sys.argv[1:]:
    network = modicum.load_exported(path)
    images = torch.rand(2, int(path.split("-")[-2]), 64, 64, generator=torch.Generator().manual_seed(0))
    if "fpt" not in path:
        images = images[..., :32, :32].contiguous()
    with torch.no_grad():
        print(hashlib.sha256(network(images).numpy().tobytes()).hexdigest())
assert not any(name.startswith("lightning") for name in sys.modules)
"""


# Those that the made runs know. All others are exported and opened again after a training, by check_method.
MADE = sorted(
    name
    for name, entry in registry.method_entries().items()
    if entry.value.startswith("modicum.") and usual(name)[0].name in method_class(name).tasks
    and name != "octa_quality"
)  # fmt: skip


@pytest.mark.parametrize("method", MADE)
def test_every_method_gives_the_runs_outputs_to_the_bit(method, tmp_path):
    folder = made_run(tmp_path / "run", method)
    path = export_run(folder, tmp_path / "out/network.safetensors", form="predictor")
    expected = of_run(folder)
    found = of_file(path, folder)
    assert expected.std() > 0
    assert torch.equal(found, expected)
    card = json.loads(path.with_suffix(".json").read_text())
    assert (card["method"], card["form"], card["part"]) == (method, "predictor", "predictor")
    assert card["output"]["shape"] == list(expected.shape[1:])
    assert card["versions"]["torch"] == torch.__version__
    assert str(tmp_path) not in path.with_suffix(".json").read_text()


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("full", {"backbone": "test_resnet"}),
        ("linear", {"backbone": "test_efficientnet", "dropout": 0.2}),
        ("linear", {"pool": "mean"}),
        ("full", {"backbone.mean": [0.1, 0.2, 0.3], "backbone.std": [0.3, 0.2, 0.1]}),
        ("lora", {"pool": "mean", "targets": ["qv", "mlp"], "rank": 2}),
        ("vpt", {"deep": False}),
        ("linear", {"backbone.position_resize": "scale", "image_size": 48}),
        ("fpt", {"store_dtype": "int8", "normalisation": "backbone", "views": ["hflip"]}),
        ("segment", {"flips": True, "tile": 64, "mixstyle": 0.5}),
        ("segment", {"backbone": "test_vit", "architecture": "upernet", "decoder_width": 16}),
        ("reggan", {"mode": "c", "base": "unit"}),
        ("aadg", {"drop_operations": 2, "search_after": 35, "batch_size": 9}),
    ],
)
def test_settings_that_change_the_network_are_on_the_card(method, settings, tmp_path):
    folder = made_run(tmp_path / "run", method, **settings)
    path = export_run(folder, tmp_path / "network.safetensors", form="predictor")
    assert torch.equal(of_file(path, folder), of_run(folder))


def test_another_process_needs_neither_run_folder_nor_weights_nor_hub(tmp_path):
    files, expected = [], []
    torch.manual_seed(5)
    weights = tmp_path / "backbone.safetensors"
    save_file(Backbone("test_vit", (64, 64)).body.state_dict(), weights)
    for method in ("linear", "fpt_plus", "reggan"):
        own = {} if method == "reggan" else {"weights": str(weights)}
        folder = made_run(tmp_path / "runs" / method, method, **own)
        channels = 1 if method == "reggan" else 3
        path = export_run(folder, tmp_path / f"files/{method}-{channels}-x.safetensors", form="predictor")
        path.with_suffix(".json").unlink()
        files.append(path.name)
        expected.append(of_run(folder))
    shutil.rmtree(tmp_path / "runs")
    weights.unlink()
    digests = [hashlib.sha256(o.numpy().tobytes()).hexdigest() for o in expected]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *files],
        cwd=tmp_path / "files", env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == digests


def test_all_tensors_of_the_predictor_are_in_the_file_once(tmp_path):
    folder = made_run(tmp_path / "run", "mae")
    tensors = load_file(export_part(folder, tmp_path / "mae.safetensors"))
    predictor = load_method(folder)[2].predictor()
    assert len(tensors) == len(predictor.backbone.state_dict())  # the encoder is the backbone's own body
    with safe_open(
        export_part(made_run(tmp_path / "side", "side"), tmp_path / "s.safetensors"), "pt"
    ) as file:
        assert any(name.startswith("_backbone.module.body.blocks.0") for name in file.keys())  # noqa: SIM118


def test_loading_leaves_the_generator_alone_and_the_network_in_evaluation_mode(tmp_path):
    path = export_part(made_run(tmp_path / "run", "lora"), tmp_path / "lora.safetensors")
    torch.manual_seed(3)
    before = torch.get_rng_state()
    network = modicum.load_exported(path)
    assert torch.equal(before, torch.get_rng_state())
    assert not any(module.training for module in network.modules())


# Which form


@pytest.mark.parametrize(
    ("method", "form"),
    [("full", "merged"), ("linear", "merged"), ("lora", "merged"), ("mae", "merged"), ("vpt", "predictor"),
     ("fpt", "predictor"), ("segment", "predictor"), ("reggan", "predictor")],
)  # fmt: skip
def test_auto_merges_where_the_method_can(method, form, tmp_path, capsys):
    folder = made_run(tmp_path / "run", method)
    path = Run(folder).export()
    assert path == folder.path / "export.safetensors"
    assert json.loads((folder.path / "export.json").read_text())["form"] == form
    network, expected = modicum.load_exported(path), of_run(folder)
    recipe, task, _ = load_method(folder)
    found = outputs(network, task.channels, recipe.image.size)
    if method != "mae":  # timm's network pools as timm does: here it takes the class token
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert ("its predictor is written" in capsys.readouterr().err) is (method in {"vpt", "fpt"})


def test_a_backbone_that_timm_cannot_hold_falls_back_to_the_predictor(tmp_path):
    folder = made_run(tmp_path / "run", "ssf", backbone="vit_small_patch16_dinov3")
    path = Run(folder).export(tmp_path / "ssf.safetensors")
    assert torch.equal(of_file(path, folder), of_run(folder))


@pytest.mark.parametrize(
    ("method", "asked", "said"),
    [
        (
            "vpt",
            {"form": "merged"},
            "method 'vpt' learns does not fold into its backbone; export its predictor",
        ),
        (
            "segment",
            {"form": "merged"},
            r"makes pictures, which no plain timm network does; .*--form predictor",
        ),
        ("full", {"form": "merge"}, "--form is 'merge'; did you mean 'merged'"),
        ("full", {"form": "merged", "part": "predictor"}, "--part with --form merged"),
        ("full", {"part": "registration"}, "method 'full' has no part 'registration'; leave --part out"),
        ("full", {"out": "RUN/weights.safetensors"}, "is a file of the run itself; choose another --out"),
        ("full", {"out": "RUN/model.safetensors"}, "model.json' is a file of the run itself"),
        (
            "full",
            {"out": "RUN/export.pt"},
            r"is not a weights file \(expected .safetensors\); end its name with \.safetensors",
        ),
    ],
)
def test_what_cannot_be_exported_is_said_in_one_line(method, asked, said, tmp_path):
    folder = made_run(tmp_path / "run", method)
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    if "out" in asked:
        asked = {**asked, "out": asked["out"].replace("RUN", str(folder.path))}
    with pytest.raises(InputError, match=said):
        Run(folder).export(**asked)
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before


def test_the_part_is_in_the_default_name(tmp_path):
    folder = made_run(tmp_path / "run", "reggan")
    path = Run(folder).export(part="registration")
    assert path.name == "export-registration.safetensors"
    moving, fixed = torch.rand(2, 2, 1, 32, 32)
    _, _, method = load_method(folder)
    with torch.no_grad():
        field = modicum.load_exported(path)(method.predictor().eval()(moving), fixed)
        torch.testing.assert_close(field, method.predictor().displacement(moving, fixed))


# Somebody else's method


@pytest.fixture
def others(monkeypatch):
    """Methods of this folder's module, as entry points of another package would name them."""
    entries = registry.method_entries()
    for name, found in (("memory_bank", "MemoryBank"), ("forgetful", "Forgetful")):
        entries[name] = EntryPoint(name, f"memory_bank_method:{found}", "modicum.methods")
    for module in ("modicum.methods.registry", "modicum.engine.inference.export"):
        monkeypatch.setattr(f"{module}.method_entries", lambda: entries)
    return entries


def test_fitted_buffers_of_any_size_are_in_the_file(tmp_path, others):
    folder = made_run(tmp_path / "run", "memory_bank")
    path = Run(folder).export(tmp_path / "bank.safetensors")
    tensors = load_file(path)
    assert tensors["stage.bank"].shape == (7, 64)
    assert torch.equal(of_file(path, folder), of_run(folder))
    assert json.loads(path.with_suffix(".json").read_text())["decides_over"] == "set"


def test_a_predictor_that_keeps_something_elsewhere_is_refused(tmp_path, others):
    folder = made_run(tmp_path / "run", "forgetful")
    with pytest.raises(
        InputError, match=r"made again from .* gives other outputs; keep all that it learns in parameters"
    ):
        Run(folder).export(tmp_path / "bank.safetensors")
    assert not (tmp_path / "bank.safetensors").exists()


def test_a_method_that_is_not_installed_is_named(tmp_path, others):
    path = Run(made_run(tmp_path / "run", "memory_bank")).export(tmp_path / "bank.safetensors")
    del others["memory_bank"]
    with pytest.raises(
        InputError, match="of a network of method 'memory_bank', which is not installed; install the package"
    ):
        modicum.load_exported(path)
