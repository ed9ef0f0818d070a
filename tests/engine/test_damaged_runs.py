"""Run folders with damaged files: one line for the user, or the checkpoint before; never an internal error."""

import copy
import json
import random
import shutil
import zipfile

import cv2
import numpy as np
import pytest
import yaml
from made_grades import fit, write_grades
from made_runs import CLASSES, MASKS, TRANSLATION, made_run
from safetensors.torch import load_file

import modicum
from modicum.atomic_files import remove_temporary, write_text
from modicum.data.image import ImageRef
from modicum.data.layouts import load_manifest
from modicum.data.stores.image_store import ImageStore, StoreSettings
from modicum.data.weights_file import read_weights
from modicum.engine.checkpoint import checkpoint_folders, newest_checkpoint
from modicum.engine.inference.evaluate_run import EvaluationSettings, evaluate_run
from modicum.engine.model import load_method
from modicum.engine.model_file import read_model, task_of_run
from modicum.engine.run_folder import RunFolder
from modicum.engine.training.checkpoint_state import check_state
from modicum.engine.training.history import History
from modicum.engine.training.stage_trainer import StageTrainer
from modicum.errors import InputError, ModicumError

ODD = (None, "", "no", [], {}, [[]], -1, 0, 2**70, 1.5, float("nan"), True)


def places(content, above=()):
    """Paths to all values of a JSON content."""
    items = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    for key, value in items:
        yield (*above, key)
        yield from places(value, (*above, key))


def mutated(content, generator: random.Random):
    """A copy with one or two values replaced, removed or moved."""
    changed = copy.deepcopy(content)
    for _ in range(generator.choice((1, 1, 2))):
        path = generator.choice(list(places(changed)))
        table = changed
        for key in path[:-1]:
            table = table[key]
        if generator.random() < 0.2:
            del table[path[-1]]
        elif generator.random() < 0.1 and isinstance(table, dict):
            table[f"{path[-1]}x"] = table.pop(path[-1])
        else:
            table[path[-1]] = copy.deepcopy(generator.choice(ODD))
        if not list(places(changed)):
            break
    return changed


def torn(text: bytes, generator: random.Random) -> bytes:
    """The bytes with one changed, a part missing, or a part twice."""
    at, other = sorted(generator.randrange(len(text)) for _ in range(2))
    kind = generator.randrange(3)
    if kind == 0:
        return text[:at] + bytes([generator.randrange(256)]) + text[at + 1 :]
    return text[:at] + text[other:] if kind == 1 else text[:other] + text[at:]


def readable(call) -> bool:
    """Whether a call succeeds; errors that are not for the user are the test's."""
    try:
        call()
    except ModicumError:
        return False
    return True


# --- model.json and recipe.yaml ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> RunFolder:
    return made_run(tmp_path_factory.mktemp("finished") / "linear", "linear")


@pytest.mark.parametrize("task", [CLASSES, MASKS, TRANSLATION], ids=lambda task: task.name)
def test_no_mutation_of_a_model_file_is_an_internal_error(task, tmp_path):
    folder, generator = RunFolder(tmp_path), random.Random(1)
    digests = {"weights_sha256": "0" * 64, "frozen_backbone_sha256": None}
    content = {"schema": 1, "task": task.to_dict(), **digests, "normalisation": {"mean": [0.5], "std": [0.2]}}
    folder.model.write_text(json.dumps(content))
    assert readable(lambda: task_of_run(folder))
    refused = 0
    for _ in range(300):
        folder.model.write_text(json.dumps(mutated(content, generator)))
        refused += not readable(lambda: task_of_run(folder))
    assert refused > 50
    whole = json.dumps(content).encode()
    for _ in range(100):
        folder.model.write_bytes(torn(whole, generator))
        readable(lambda: task_of_run(folder))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("task", None), ("task", "classification"), ("weights_sha256", 7), ("weights_sha256", "abc"),
        ("frozen_backbone_sha256", []), ("normalisation", {"mean": "0.5", "std": [1]}), ("frozen_backbone", "x.pth"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_model_file_is_named(finished, tmp_path, key, value):
    folder = RunFolder(tmp_path)
    folder.model.write_text(json.dumps({**json.loads(finished.model.read_text()), key: value}))
    with pytest.raises(InputError, match=rf"model.json' is damaged \({key}"):
        read_model(folder)


def test_no_mutation_of_a_recipe_is_an_internal_error(finished, tmp_path):
    folder, generator = RunFolder(tmp_path / "run"), random.Random(2)
    shutil.copytree(finished.path, folder.path)
    content, whole = yaml.safe_load(finished.recipe.read_text()), finished.recipe.read_bytes()
    refused = 0
    for number in range(90):
        damaged = (
            yaml.safe_dump(mutated(content, generator)).encode() if number % 3 else torn(whole, generator)
        )
        folder.recipe.write_bytes(damaged)
        refused += not readable(lambda: load_method(folder))
    assert refused > 30


def test_other_files_of_a_run_are_read_with_care(finished, tmp_path):
    folder, generator = RunFolder(tmp_path / "run"), random.Random(3)
    shutil.copytree(finished.path, folder.path)
    for content in (b"[]", b"7", b"\xff\xfe", b"{", b'"running"', b"[" * 5000, b""):
        folder.status_file.write_bytes(content)
        folder.metrics.write_bytes(content)
        assert not readable(lambda: folder.status)
        assert not readable(lambda: modicum.Run(folder).metrics)
    folder.status_file.unlink()
    folder.weights.write_bytes(torn(folder.weights.read_bytes(), generator))
    assert not readable(lambda: load_method(folder))


# --- checkpoints, history and facts --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grades(tmp_path_factory):
    return write_grades(tmp_path_factory.mktemp("grades") / "data", images=32)


class Killed(BaseException):
    """As a kill, it runs no code of the program's own."""


def kill_at(monkeypatch, owner, name: str, count: int) -> None:
    calls = []
    original = getattr(owner, name)

    def doomed(*arguments, **options):
        calls.append(1)
        if len(calls) == count:
            raise Killed
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, doomed)


SETTINGS = {"epochs": 2, "resamples": 0, "checkpoint_steps": 1, "write_report": False}


@pytest.fixture(scope="module")
def whole(grades, tmp_path_factory):
    runs = tmp_path_factory.mktemp("whole")
    return fit(grades, runs, "run", **SETTINGS)


@pytest.fixture(scope="module")
def killed(grades, whole, tmp_path_factory):
    """A run that was killed in its second epoch."""
    runs = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, StageTrainer, "_step_ended", 4)
        with pytest.raises(Killed):
            fit(grades, runs, "run", stores=whole.path.parent / ".stores", **SETTINGS)
    assert len(checkpoint_folders(runs / "run" / "checkpoints", "tune")) == 2
    return runs / "run"


def test_no_mutation_of_a_checkpoint_is_an_internal_error(killed, tmp_path):
    generator, folder = random.Random(4), tmp_path / "checkpoints"
    shutil.copytree(killed / "checkpoints", folder)
    before, newest = checkpoint_folders(folder, "tune")
    whole = (newest / "checkpoint.json").read_bytes()
    content = json.loads(whole)
    steps = {int(before.name[-8:]), int(newest.name[-8:])}
    for number in range(120):
        changed = mutated(content, generator)
        if number % 2:
            changed.pop("sha256", None)  # as earlier versions wrote it: what is in it is checked one by one
        damaged = json.dumps(changed).encode() if number % 3 else torn(whole, generator)
        (newest / "checkpoint.json").write_bytes(damaged)
        found = newest_checkpoint(folder, "tune", check_state)
        assert found is not None
        assert found.step in steps


def test_a_changed_checkpoint_is_passed_over_whatever_was_changed(killed, tmp_path, capsys):
    folder = tmp_path / "checkpoints"
    shutil.copytree(killed / "checkpoints", folder)
    before, newest = checkpoint_folders(folder, "tune")
    content = json.loads((newest / "checkpoint.json").read_text())
    content["state"]["images"] += 1  # a likely value
    (newest / "checkpoint.json").write_text(json.dumps(content))
    assert newest_checkpoint(folder, "tune", check_state).step == int(before.name[-8:])
    assert "its checksum is wrong" in "".join(capsys.readouterr())
    (before / "learned.safetensors").write_bytes(b"")
    assert newest_checkpoint(folder, "tune", check_state) is None
    assert "it starts anew" in "".join(capsys.readouterr())


def test_no_mutation_of_a_history_is_an_internal_error(killed, tmp_path):
    generator, lines = random.Random(5), (killed / "history.jsonl").read_bytes()
    for number in range(200):
        history = History(tmp_path / f"{number}.jsonl")
        history.path.write_bytes(
            torn(lines, generator) + generator.choice((b"", b"5\n", b"[]\n", b'{"stage": 3}\n'))
        )
        history.forget_after("tune", generator.randrange(6))
        places = [(r.get("kind"), r["stage"], r["step"]) for r in history.records()]
        assert len(places) == len(set(places))


def test_damaged_facts_are_made_again_and_are_those_of_before(tmp_path):
    generator, refs = random.Random(6), []
    for number in range(4):
        picture = np.random.default_rng(number).integers(0, 255, (20, 20), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
        refs.append(ImageRef(tmp_path / f"{number}.png"))
    settings = StoreSettings(8, 8)
    expected = ImageStore.build_or_open(refs, tmp_path / "stores", settings).facts
    (path,) = (tmp_path / "stores").rglob("facts.parquet")
    content, files = path.read_bytes(), (path.parent / "files.parquet").read_bytes()
    for number in range(24):
        path.write_bytes(content if number % 3 == 2 else torn(content, generator))
        (path.parent / "files.parquet").write_bytes(torn(files, generator) if number % 3 == 2 else files)
        assert ImageStore.build_or_open(refs, tmp_path / "stores", settings).facts == expected


def test_a_killed_run_with_a_damaged_checkpoint_and_leftovers_ends_as_one_that_was_never_killed(
    killed, whole, grades, tmp_path
):
    runs = tmp_path / "runs"
    shutil.copytree(killed.parent, runs)
    folder = RunFolder(runs / "run")
    newest = checkpoint_folders(folder.checkpoints, "tune")[-1]
    (newest / "checkpoint.json").write_bytes((newest / "checkpoint.json").read_bytes()[:-40])
    left = [
        folder.path / ".metrics.json.0a1b2c3d.tmp",
        folder.path / "evaluations" / "val" / ".x.csv.0a1b2c3d.tmp",
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    (folder.checkpoints / ".tune-00000009.tmp").mkdir()
    own = folder.path / "notes.tmp"
    own.write_text("the user's")
    fit(grades, runs, "run", resume=True, stores=whole.path.parent / ".stores", **SETTINGS)
    ours, theirs = (load_file(path / "weights.safetensors") for path in (folder.path, whole.path))
    assert all(tensor.equal(theirs[name]) for name, tensor in ours.items())
    assert own.exists()
    assert not list(folder.path.rglob(".*.tmp"))
    first, second = (
        [(r["kind"], r["stage"], r["step"]) for r in History(path / "history.jsonl").records()]
        for path in (folder.path, whole.path)
    )
    assert first == second


def test_a_run_that_was_killed_before_its_report_is_completed_by_resume(whole, grades, tmp_path, capsys):
    runs = tmp_path / "runs"
    shutil.copytree(whole.path, runs / "run")
    folder = RunFolder(runs / "run")
    (folder.checkpoints / "tune-00000001").mkdir(parents=True)
    (folder.path / ".report.html.0a1b2c3d.tmp").write_text("half")
    assert not folder.report.exists()
    settings = {**SETTINGS, "write_report": True}
    fit(grades, runs, "run", resume=True, stores=whole.path.parent / ".stores", **settings)
    assert "its report, which was missing, was written" in "".join(capsys.readouterr())
    assert folder.report.is_file()
    assert not folder.checkpoints.exists()
    assert not (folder.path / ".report.html.0a1b2c3d.tmp").exists()


def test_only_unfinished_writes_of_modicum_are_removed(tmp_path):
    write_text(tmp_path / "a" / "kept.txt", "kept")
    for name in (".tmp", "b.tmp", ".hidden.tmp", ".c.txt.12345.tmp", ".d.txt.0123abcd.tmp2"):
        (tmp_path / name).write_text("the user's")
    remove_temporary(tmp_path)
    assert len(list(tmp_path.rglob("*"))) == 7


# --- archives of arrays --------------------------------------------------------------------------------------------


def zeros_archive(path, **arrays) -> None:
    """An NPZ file whose members hold as many zeros as is said, compressed to a thousandth of that."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, (shape, kind, real) in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                header = {"descr": kind, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for _ in range(0, real, 2**24):
                    file.write(bytes(2**24))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((4, 2**40), "shorter than it declares"),
        ((2**62, 9), "shorter than it declares"),
    ],
)
def test_an_archive_that_declares_more_than_it_holds_is_refused_by_its_header(tmp_path, labels, message):
    images = ((4, 8, 8), "|u1", 2**24)
    zeros_archive(tmp_path / "d.npz", train_images=images, train_labels=(labels, "<f8", 0))
    with pytest.raises(InputError, match=message):
        load_manifest(tmp_path / "d.npz")
    zeros_archive(tmp_path / "w.npz", weight=(labels, "<f4", 0))
    with pytest.raises(InputError, match=r"cannot be read|unpacks to"):
        read_weights(tmp_path / "w.npz")


def test_an_archive_that_unpacks_to_gigabytes_is_refused_by_its_header(tmp_path, monkeypatch):
    from modicum.data import weights_file
    from modicum.data.layouts import npz

    size = 2**26
    zeros_archive(tmp_path / "w.npz", weight=((size // 4,), "<f4", size))
    monkeypatch.setattr(weights_file, "available_bytes", lambda: size - 1)
    with pytest.raises(InputError, match=r"w.npz' unpacks to 0.1 GB"):
        read_weights(tmp_path / "w.npz")
    images = ((4, 8, 8), "|u1", 2**24)
    zeros_archive(tmp_path / "d.npz", train_images=images, train_labels=((4, size // 32), "<f8", size))
    monkeypatch.setattr(npz, "MOST_LABEL_BYTES", size - 1)
    with pytest.raises(InputError, match=r"array 'train_labels' unpacks to 0.1 GB beside 4 images"):
        load_manifest(tmp_path / "d.npz")


def test_a_damaged_metrics_file_does_not_stop_an_evaluation(whole, grades, tmp_path):
    shutil.copytree(whole.path, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    content = json.loads(folder.metrics.read_text())
    folder.metrics.write_text(json.dumps({**content, "evaluations": None}))
    settings = EvaluationSettings(split="test", name="again", workers=0, stores=whole.path.parent / ".stores")
    evaluate_run(folder, None, grades, settings)
    assert list(json.loads(folder.metrics.read_text())["evaluations"]) == ["again"]
