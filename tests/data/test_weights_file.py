"""Weights files: safetensors, PyTorch files without executing pickles, and NumPy archives."""

import argparse
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from modicum.data.weights_file import read_weights, weights_digest, written_normalisation
from modicum.errors import InputError

TENSORS = {"conv.weight": torch.arange(6.0).reshape(2, 3), "bn.num_batches_tracked": torch.tensor(4)}


def same(found):
    return found.keys() == TENSORS.keys() and all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def test_reads_safetensors(tmp_path):
    save_file(TENSORS, tmp_path / "w.safetensors")
    assert same(read_weights(tmp_path / "w.safetensors"))


@pytest.mark.parametrize("wrap", ["plain", "state_dict", "model", "module."])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt"])
def test_reads_pytorch_files_in_their_usual_wrappings(tmp_path, wrap, suffix):
    content = TENSORS
    if wrap == "module.":
        content = {f"module.{name}": tensor for name, tensor in TENSORS.items()}
    elif wrap != "plain":
        content = {wrap: TENSORS, "epoch": 3}
    torch.save(content, tmp_path / f"w{suffix}")
    assert same(read_weights(tmp_path / f"w{suffix}"))


@pytest.mark.parametrize(
    "written",
    [
        None,
        {"format": "pt"},
        {"input": "no JSON"},
        {"input": "[1]"},
        {"input": '{"channels": 1, "range": [0, 1]}'},
        {"input": '{"mean": [0.5], "std": [0.2]}'},
        {"input": '{"mean": [0.5, 0.5, 0.5], "std": [0, 1, 1]}'},
        {"input": '{"mean": "abc", "std": "def"}'},
        {"input": '{"mean": [NaN, 0, 0], "std": [1, 1, 1]}'},
    ],
)
def test_files_that_say_nothing_usable_of_the_normalisation_are_just_weights(tmp_path, written):
    save_file(TENSORS, tmp_path / "w.safetensors", metadata=written)
    assert written_normalisation(tmp_path / "w.safetensors") is None


def test_a_file_says_how_images_were_normalised(tmp_path):
    said = {"input": '{"mean": [0.5, 0.4, 0.3], "std": [0.1, 0.2, 0.3]}'}
    save_file(TENSORS, tmp_path / "w.safetensors", metadata=said)
    assert written_normalisation(tmp_path / "w.safetensors") == {
        "mean": [0.5, 0.4, 0.3],
        "std": [0.1, 0.2, 0.3],
    }
    torch.save(TENSORS, tmp_path / "w.pth")
    assert written_normalisation(tmp_path / "w.pth") is None


def test_reads_numpy_archives(tmp_path):
    np.savez(tmp_path / "w.npz", **{name: tensor.numpy() for name, tensor in TENSORS.items()})
    assert same(read_weights(tmp_path / "w.npz"))


class Boom:
    executed = False

    def __reduce__(self):
        return (setattr, (Boom, "executed", True))


@pytest.mark.parametrize(
    "save", [lambda content, path: torch.save(content, path), lambda c, p: p.write_bytes(pickle.dumps(c))]
)
def test_never_executes_a_pickle(tmp_path, save):
    path = tmp_path / "evil.pth"
    save({"weight": torch.zeros(2), "extra": Boom()}, path)
    with pytest.raises(InputError, match=r"evil\.pth"):
        read_weights(path)
    assert not Boom.executed


def test_object_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(InputError, match="cannot be read"):
        read_weights(tmp_path / "w.npz")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".npz"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04broken"])
def test_garbage_is_named(tmp_path, suffix, content):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"w{suffix}"):
        read_weights(path)


def test_missing_and_unknown_files_are_named(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_weights(tmp_path / "none.pth")
    (tmp_path / "w.h5").write_bytes(b"x")
    with pytest.raises(InputError, match="is not a weights file"):
        read_weights(tmp_path / "w.h5")


def test_digest_depends_on_names_values_shapes_and_types_but_not_on_order():
    digest = weights_digest(TENSORS)
    assert weights_digest(dict(reversed(TENSORS.items()))) == digest
    assert weights_digest({**TENSORS, "conv.weight": TENSORS["conv.weight"].reshape(3, 2)}) != digest
    assert weights_digest({**TENSORS, "conv.weight": TENSORS["conv.weight"].double()}) != digest
    assert weights_digest({("other" if n.startswith("conv") else n): t for n, t in TENSORS.items()}) != digest


@given(st.integers(0, 5), st.floats(-1e3, 1e3, width=32))
def test_digest_notices_one_changed_value(index, value):
    changed = TENSORS["conv.weight"].clone()
    before = changed.view(-1)[index].item()
    changed.view(-1)[index] = value
    same_value = np.float32(value).tobytes() == np.float32(before).tobytes()
    assert (weights_digest({**TENSORS, "conv.weight": changed}) == weights_digest(TENSORS)) == same_value


# --- checkpoints as training programs write them ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "beside",
    [
        {"args": argparse.Namespace(lr=0.1, out=None, layers=[1, 2])},
        {"best": np.float64(0.71), "step": np.int64(3), "done": np.bool_(True)},
        {"rng": np.random.default_rng(0).integers(0, 9, 5), "torch_rng": torch.get_rng_state()},
        {"out": pathlib.PosixPath("/runs/a"), "size": torch.Size([2]), "device": torch.device("cpu")},
        {"hyper_parameters": {"lr": 1e-3}, "callbacks": {}, "loops": {"epoch": {"done": 3}}, "epoch": 3},
    ],
    ids=["arguments", "numbers", "generators", "paths", "lightning"],
)
def test_plain_objects_beside_the_tensors_are_no_obstacle(tmp_path, beside):
    torch.save({"state_dict": {"weight": torch.ones(2)}, **beside}, tmp_path / "w.pth")
    assert torch.equal(read_weights(tmp_path / "w.pth")["weight"], torch.ones(2))


def test_numbers_of_an_older_numpy_are_read(tmp_path):
    torch.save({"model": {"weight": torch.ones(2)}, "best": np.float64(0.5)}, tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as new, zipfile.ZipFile(tmp_path / "old.pth", "w") as old:
        for item in new.infolist():
            old.writestr(item, new.read(item).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert list(read_weights(tmp_path / "old.pth")) == ["weight"]


def test_what_is_not_read_is_named(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "network.pth")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "program.pt"))
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    (tmp_path / "folder.pth").mkdir()
    for name, said in (
        ("network.pth", r"is not loaded \(torch.nn.modules.linear.Linear\); save the model's state_dict"),
        ("program.pt", r"is a program \(TorchScript\)"),
        ("model.safetensors.index.json", "weights that lie in several files"),
        ("folder.pth", "is a folder"),
    ):
        with pytest.raises(InputError, match=said):
            read_weights(tmp_path / name)
