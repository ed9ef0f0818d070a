"""Runs on a frozen backbone whose weights were named by a relative path: moved, copied, packed."""

import json
import shutil
import sys

import pytest
import torch
from made_runs import made_run
from safetensors.torch import load_file, save_file

from modicum.__main__ import main
from modicum.data.phantoms import write_fundus_dataset
from modicum.data.weights_file import weights_digest
from modicum.engine.model import load_method, pack_run
from modicum.engine.run_folder import RunFolder, read_json, write_json
from modicum.errors import InputError
from modicum.nn import Backbone
from modicum.run import Run
from modicum.tasks.anomaly.task import Anomaly, AnomalyOptions
from modicum.tasks.anomaly.threshold import Threshold

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def answers(path, weights=None) -> torch.Tensor:
    network = Run.open(path, weights).method().predictor().eval()
    with torch.no_grad():
        return network(IMAGES)


def write_backbone(path, seed: int = 123, size: int = 32) -> None:
    torch.manual_seed(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(Backbone("test_vit", (size, size)).body.state_dict(), path)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """``weights/vit.safetensors`` and ``runs/a``, made there by relative paths; then the current folder is another."""
    folder = tmp_path / "project"
    write_backbone(folder / "weights/vit.safetensors")
    monkeypatch.chdir(folder)
    made_run(folder / "runs/a", "linear", weights="weights/vit.safetensors")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


@pytest.fixture
def expected(project, monkeypatch):
    with monkeypatch.context() as inside:
        inside.chdir(project)
        return answers(project / "runs/a")


def alone(project, tmp_path):
    """The run copied to somewhere else, with nothing left of the project."""
    moved = tmp_path / "copies/a"
    shutil.copytree(project / "runs/a", moved)
    shutil.rmtree(project)
    return moved


# Where it is found


def test_a_run_opens_from_another_folder(project, expected):
    assert torch.equal(answers(project / "runs/a"), expected)
    assert torch.equal(answers("../project/runs/a"), expected)


def test_a_run_opens_where_the_whole_project_has_moved(project, expected, tmp_path):
    project.rename(tmp_path / "renamed")
    assert torch.equal(answers(tmp_path / "renamed/runs/a"), expected)


def test_a_copied_run_opens_while_the_file_is_where_it_was(project, expected, tmp_path):
    shutil.copytree(project / "runs/a", tmp_path / "copies/a")
    assert torch.equal(answers(tmp_path / "copies/a"), expected)


@pytest.mark.parametrize(
    "place", ["vit.safetensors", "a/vit.safetensors", "weights/vit.safetensors", "x.safetensors"]
)
def test_a_file_next_to_a_copied_run_is_found_by_name_or_content(place, project, expected, tmp_path):
    content = (project / "weights/vit.safetensors").read_bytes()
    moved = alone(project, tmp_path)
    write_backbone(moved.parent / "decoy.safetensors", seed=1)  # of the same size
    (moved.parent / place).parent.mkdir(exist_ok=True)
    (moved.parent / place).write_bytes(content)
    assert torch.equal(answers(moved), expected)


def test_another_file_under_the_recorded_name_is_passed_over(project, expected, tmp_path):
    write_backbone(tmp_path / "elsewhere/weights/vit.safetensors", seed=1)
    assert torch.equal(answers(project / "runs/a"), expected)


def test_runs_of_earlier_versions_are_found_beside_their_runs_folder(project, expected, tmp_path):
    folder = RunFolder(project / "runs/a")
    kept = ("schema", "task", "weights_sha256", "frozen_backbone_sha256")
    write_json(folder.model, {key: value for key, value in read_json(folder.model).items() if key in kept})
    assert torch.equal(answers(project / "runs/a"), expected)
    project.rename(tmp_path / "renamed")
    assert torch.equal(answers(tmp_path / "renamed/runs/a"), expected)


@pytest.mark.parametrize("name", ["first", "renamed"])
def test_an_earlier_run_is_found_with_its_own_frozen_backbone(name, tmp_path, monkeypatch):
    project = tmp_path / "project"
    write_backbone(project / "weights/vit.safetensors")
    monkeypatch.chdir(project)
    made_run(project / "runs/first", "lora", weights="weights/vit.safetensors", rank=2)
    made_run(project / "runs/second", "linear", weights="run:runs/first")
    expected = answers("runs/second")
    monkeypatch.chdir(tmp_path)
    assert torch.equal(answers("project/runs/second"), expected)
    project.rename(tmp_path / "moved")
    (tmp_path / "moved/runs/first").rename(tmp_path / "moved/runs" / name)
    assert torch.equal(answers("moved/runs/second"), expected)
    shutil.rmtree(tmp_path / "moved/runs" / name)
    with pytest.raises(
        InputError, match=r"'run:runs/first' of the frozen backbone 'test_vit' are not found; pass"
    ):
        answers("moved/runs/second")


# Where it is not


def test_one_line_says_what_is_missing_by_content(project, tmp_path):
    tensors = load_file(project / "weights/vit.safetensors")
    digest, moved = weights_digest(tensors), alone(project, tmp_path)
    with pytest.raises(InputError) as error:
        answers(moved)
    assert "'weights/vit.safetensors' of the frozen backbone 'test_vit' are not found" in str(error.value)
    assert f"pass --weights FILE (the file's SHA-256 is {read_json(moved / 'model.json')['frozen_backbone']['sha256']}"
    assert f"of its tensors {digest})" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_that_are_named_come_before_all_other_places(suffix, project, expected, tmp_path):
    tensors = load_file(project / "weights/vit.safetensors")
    moved = alone(project, tmp_path)
    given = tmp_path / f"given{suffix}"
    torch.save({"state_dict": tensors}, given) if suffix == ".pth" else save_file(tensors, given)
    assert torch.equal(answers(moved, str(given)), expected)
    with pytest.raises(InputError, match=r"weights file 'nothing.pth' does not exist"):
        answers(moved, "nothing.pth")
    write_backbone(tmp_path / "wrong.safetensors", seed=1)
    with pytest.raises(
        InputError, match=r"wrong.safetensors' is not the backbone of run 'a' \(SHA-256 of its tensors"
    ):
        answers(moved, str(tmp_path / "wrong.safetensors"))


def test_a_run_that_holds_all_of_its_weights_needs_none(tmp_path):
    folder = made_run(tmp_path / "full", "full")
    assert "frozen_backbone" not in read_json(folder.model)
    assert pack_run(folder) is None
    assert not folder.backbone.exists()
    with pytest.raises(InputError, match="run 'full' holds all of its weights; leave --weights out"):
        answers(folder.path, "vit.pth")


# Packed


def test_a_packed_run_can_be_copied_anywhere(project, expected, tmp_path):
    path = Run.open(project / "runs/a").pack()
    assert path == project / "runs/a/backbone.safetensors"
    moved = alone(project, tmp_path)
    assert torch.equal(answers(moved), expected)
    assert Run.open(moved).pack() == moved / "backbone.safetensors"  # again: nothing changes
    exported = Run.open(moved).export(tmp_path / "plain.safetensors")
    assert exported.is_file()


@pytest.mark.parametrize(
    ("method", "settings"),
    [("lora", {"rank": 2}), ("linear", {"backbone.position_resize": "scale", "image_size": 48}), ("fpt", {})],
)
def test_a_packed_run_needs_no_seed_and_no_hub(method, settings, tmp_path, monkeypatch):
    folder = made_run(tmp_path / "run", method, **settings)
    recipe, _, made = load_method(folder)
    images = torch.rand(1, 3, *recipe.image.size)
    with torch.no_grad():
        expected = made.predictor().eval()(images)
    pack_run(folder)

    def refused(*arguments):
        raise AssertionError("the run folder has it")

    monkeypatch.setattr("modicum.engine.frozen_backbone.make_backbone", refused)
    with torch.no_grad():
        assert torch.equal(load_method(folder)[2].predictor().eval()(images), expected)


def test_a_damaged_pack_is_said_and_replaced(project, expected, tmp_path, capsys):
    folder = RunFolder(project / "runs/a")
    pack_run(folder)
    folder.backbone.write_bytes(folder.backbone.read_bytes()[:-9])
    assert torch.equal(answers(folder.path), expected)
    assert "'backbone.safetensors' cannot be read" in capsys.readouterr().err
    pack_run(folder)
    moved = alone(project, tmp_path)
    assert torch.equal(answers(moved), expected)
    tensors = load_file(moved / "backbone.safetensors")
    save_file({**tensors, "norm.bias": tensors["norm.bias"] + 1}, moved / "backbone.safetensors")
    with pytest.raises(InputError, match="are not the ones this run was trained with; restore the original"):
        answers(moved)


def test_an_export_does_not_replace_the_backbone(project):
    run, path = Run.open(project / "runs/a"), project / "weights/vit.safetensors"
    with pytest.raises(InputError, match="is the file of the run's frozen backbone; choose another --out"):
        run.export(path)
    run.pack()
    with pytest.raises(InputError, match=r"backbone.safetensors' is a file of the run itself"):
        run.export(project / "runs/a/backbone.safetensors")


# From the command line


@pytest.fixture
def modicum(capsys, monkeypatch):
    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["modicum", *map(str, words)])
        monkeypatch.delenv("MODICUM_DEBUG", raising=False)
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        return stopped.value.code or 0, said.out.strip(), said.err.strip()

    return run


SETTINGS = (
    "--method", "linear", "--backbone", "test_vit", "--image-size", 32, "--epochs", 1, "--workers", 0, "--leaks",
    "allow", "--set", "resamples=0", "--weights", "weights/vit.safetensors", "--device", "cpu",
)  # fmt: skip


def test_a_trained_run_is_used_from_elsewhere(tmp_path, monkeypatch, modicum):
    project = tmp_path / "project"
    write_backbone(project / "weights/vit.safetensors")
    write_fundus_dataset(project / "eyes", 12, 40, seed=3, masks=False, grade_probabilities=(3, 1, 1, 1, 1))
    monkeypatch.chdir(project)
    assert modicum("fit", "eyes", *SETTINGS, "--name", "plain")[0] == 0
    code, _, said = modicum("fit", "eyes", *SETTINGS, "--name", "whole", "--self-contained")
    assert code == 0, said
    assert (project / "runs/whole/backbone.safetensors").is_file()
    assert not (project / "runs/plain/backbone.safetensors").exists()
    for name in ("report.html", "metrics.json", "recipe.yaml", "environment.json"):
        assert str(project / "weights") not in (project / "runs/plain" / name).read_text()
    images = tmp_path / "eyes"
    shutil.copytree(project / "eyes", images)
    (project / "weights/vit.safetensors").rename(tmp_path / "kept.safetensors")
    (tmp_path / "copies").mkdir()
    for name in ("plain", "whole"):
        shutil.copytree(project / "runs" / name, tmp_path / "copies" / name)
    shutil.rmtree(project)
    monkeypatch.chdir(tmp_path / "copies")
    code, _, said = modicum("predict", "plain", images / "images")
    assert code == 2
    assert "pass --weights FILE" in said
    tables = []
    for run, further in (("plain", ("--weights", tmp_path / "kept.safetensors")), ("whole", ())):
        code, _, said = modicum("predict", run, images / "images", "--out", f"{run}.csv", *further)
        assert code == 0, said
        tables.append((tmp_path / f"copies/{run}.csv").read_text())
        code, _, said = modicum("evaluate", run, images, "--split", "all", "--workers", 0, *further)
        assert code == 0, said
        code, out, said = modicum("export", run, *further)
        assert (code, out) == (0, f"{run}/export.safetensors"), said
        assert json.loads((tmp_path / f"copies/{run}/export.json").read_text())["form"] == "merged"
    assert tables[0] == tables[1]
    code, out, said = modicum("pack", "plain", "--weights", tmp_path / "kept.safetensors")
    assert (code, out) == (0, "plain/backbone.safetensors"), said
    assert modicum("predict", "plain", images / "images", "--out", "again.csv")[0] == 0
    assert (tmp_path / "copies/again.csv").read_text() == tables[0]


def test_pack_of_a_run_without_a_frozen_backbone_says_so(tmp_path, modicum):
    folder = made_run(tmp_path / "full", "full")
    assert modicum("pack", folder.path)[:2] == (0, "run 'full' holds all of its weights already")
    code, _, said = modicum("export", folder.path, "--form", "merge")
    assert (code, said.count("\n")) == (2, 0)
    assert "--form is 'merge'; did you mean 'merged'?" in said


# Methods of normal images, whose frozen network is inside what was fitted


@pytest.mark.parametrize(
    ("method", "small"),
    [("padim", {"channels": 8}), ("patchcore", {}), ("reverse_distillation", {})],
)
def test_moved_runs_of_normal_images_find_their_backbone_or_hold_it(method, small, tmp_path, monkeypatch):
    project = tmp_path / "project"
    (project / "weights").mkdir(parents=True)
    torch.manual_seed(123)
    save_file(Backbone("test_resnet", (32, 32)).body.state_dict(), project / "weights/resnet.safetensors")
    monkeypatch.chdir(project)
    normal = Anomaly(("well",), ("ill",), AnomalyOptions(), Threshold(0.5, "validation", 30))
    small = {**small, "backbone": "test_resnet", "weights": "weights/resnet.safetensors"}
    folder = made_run(project / "runs/a", method, normal, **small)
    expected = answers("runs/a")
    monkeypatch.chdir(tmp_path)
    assert torch.equal(answers("project/runs/a"), expected)
    with monkeypatch.context() as inside:
        inside.chdir(project)
        pack_run(folder)
    moved = alone(project, tmp_path)
    assert torch.equal(answers(moved), expected)
    (moved / "backbone.safetensors").unlink()
    with pytest.raises(InputError, match=rf"or put them into the run: modicum pack {moved} --weights FILE"):
        answers(moved)
