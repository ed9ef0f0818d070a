"""Exported files that are damaged, of earlier versions, or made by somebody who wants something opened."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors
import timm
import torch
from exported_outputs import of_file, of_run, outputs
from made_runs import CLASSES, made_run, usual
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import modicum
from modicum.engine.inference.export import export_part
from modicum.engine.model import load_method
from modicum.errors import InputError
from modicum.methods.reggan import exported_network
from modicum.run import Run


@pytest.fixture
def plain(tmp_path):
    """A predictor file of ``lora``, on its own."""
    folder = made_run(tmp_path / "runs/plain", "lora", rank=2)
    return export_part(folder, tmp_path / "plain.safetensors")


# Damage


def rewritten(path, change, digest=True):
    """A file with another card, as somebody could make it who knows the format."""
    from modicum.engine.inference import exported_file

    card, tensors = exported_file.read_export(path)
    change(card, tensors)
    text = json.dumps(card)
    metadata = {"card": text, "digest": exported_file._digest(text, tensors) if digest else "0"}
    save_file(tensors, path, metadata)
    path.with_suffix(".json").unlink(missing_ok=True)
    return path


def test_any_flipped_byte_is_noticed(plain):
    whole = plain.read_bytes()
    generator = np.random.default_rng(0)
    header = int.from_bytes(whole[:8], "little")
    plain.with_suffix(".json").unlink()
    for position in [*generator.integers(0, header, 20), *generator.integers(header, len(whole), 20)]:
        changed = bytearray(whole)
        changed[position] ^= 1
        plain.write_bytes(changed)
        try:
            network = modicum.load_exported(plain)
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:  # in what only readers of earlier versions look at
            plain.write_bytes(whole)
            images = torch.rand(1, 3, 32, 32)
            assert torch.equal(network(images), modicum.load_exported(plain)(images))


@pytest.mark.parametrize("length", [0, 5, 100, 5000, -1])
def test_a_truncated_file_is_damaged(plain, length):
    plain.write_bytes(plain.read_bytes()[:length])
    with pytest.raises(InputError, match=r"'.*plain\.safetensors' is damaged .*; copy it again, or export"):
        modicum.load_exported(plain)


@pytest.mark.parametrize(
    ("entry", "value", "said"),
    [
        ("config", {"rank": "many"}, r"cannot be used \(config.rank: Input should be a valid integer"),
        ("config", None, r"cannot be used \(config: Input should be a valid dictionary"),
        ("config", {"rank": 3}, "tensors do not fit the network"),
        ("config", {"no_such_setting": 3}, r"cannot be used \(config.no_such_setting"),
        ("image_size", [32, -1], r"cannot be used \(image_size.1"),
        ("image_size", [30, 30], "the card does not describe a network: image size 30x30 is not a multiple"),
        ("task", {}, r"does not describe a network of method 'lora' \(KeyError"),
        ("task", {"name": "chess"}, "unknown task 'chess'"),
        ("part", "engine", "has no part 'engine'"),
        ("method", "lore", "of a network of method 'lore', which is not installed"),
        ("schema", 3, r"schema 3, of a later version of modicum; update modicum"),
        ("schema", "2.5", "cannot be used"),
        ("backbone", None, "the card does not describe a network: it names no backbone"),
        ("backbone", {"name": "vit_of_nobody"}, "backbone 'vit_of_nobody' is not a timm model"),
        ("backbone", {"name": "test_resnet"}, "the card does not describe a network"),
        ("backbone", {"name": "hf-hub:somebody/vit"}, "would have to be fetched"),
        ("backbone", {"name": "local-dir:/tmp"}, "would have to be fetched"),
        ("backbone", {"name": "test_vit", "arguments": {"checkpoint_path": "x.pth"}}, "would have to be fetched"),
    ],
)  # fmt: skip
def test_a_damaged_card_is_named_in_one_line(plain, entry, value, said):
    path = rewritten(plain, lambda card, tensors: card.update({entry: value}))
    with pytest.raises(InputError, match=said) as error:
        modicum.load_exported(path)
    assert str(error.value).startswith(f"'{path}'")
    assert "\n" not in str(error.value)


def test_tensors_that_are_missing_or_too_many_are_named(plain):
    path = rewritten(plain, lambda card, tensors: tensors.update(other=torch.zeros(1)))
    with pytest.raises(InputError, match=r"1 tensors do not fit the network \(for instance 'other'\)"):
        modicum.load_exported(path)
    path = rewritten(path, lambda card, tensors: [tensors.pop(name) for name in ("other", "head.1.bias")])
    with pytest.raises(InputError, match=r"1 tensors do not fit the network \(for instance 'head.1.bias'\)"):
        modicum.load_exported(path)


def test_files_of_others_have_no_card(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="has no card that says how to make its network"):
        modicum.load_exported(path)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(InputError, match=r"the card in '.*weights.json' is damaged"):
        modicum.load_exported(path)
    with pytest.raises(InputError, match=r"weights.json' is not an exported network; name the .safetensors"):
        modicum.load_exported(path.with_suffix(".json"))
    with pytest.raises(InputError, match="does not exist"):
        modicum.load_exported(tmp_path / "nothing.safetensors")


def test_a_file_that_was_written_anew_takes_the_card_beside_it(plain):
    expected = modicum.load_exported(plain)(torch.ones(1, 3, 32, 32))
    save_file(load_file(plain), plain)
    assert torch.equal(modicum.load_exported(plain)(torch.ones(1, 3, 32, 32)), expected)


def test_a_merged_card_cannot_make_timm_open_files(tmp_path):
    path = Run(made_run(tmp_path / "run", "full")).export(tmp_path / "merged.safetensors")
    evil = {"checkpoint_path": str(tmp_path / "x.pth"), "num_classes": 3}
    rewritten(path, lambda card, tensors: card.update(arguments=evil))
    with pytest.raises(InputError, match=r"arguments.checkpoint_path: Extra inputs are not permitted"):
        modicum.load_exported(path)
    rewritten(path, lambda card, tensors: card.update(arguments={"num_classes": 3}, backbone="local-dir:x"))
    with pytest.raises(InputError, match="'local-dir:x' is not a timm model"):
        modicum.load_exported(path)


# Backbones of the model hub


def test_a_backbone_of_the_hub_is_made_without_the_hub(tmp_path, monkeypatch):
    import timm.models._factory as factory

    asked = []

    def config(name, cache_dir=None):
        asked.append(name)
        return {"architecture": "test_vit"}, "test_vit", {"img_size": 160, "init_values": 0.5}

    monkeypatch.setattr(factory, "load_model_config_from_hf", config)
    monkeypatch.setattr("timm.models.load_model_config_from_hf", config)
    folder = made_run(tmp_path / "run", "linear", backbone="hf-hub:somebody/vit")
    path = export_part(folder, tmp_path / "hub.safetensors")
    expected = of_run(folder)
    del asked[:]
    found = outputs(modicum.load_exported(path), 3, (32, 32))
    assert asked == []
    assert torch.equal(found, expected)
    assert any(name.endswith("ls1.gamma") for name in load_file(path))  # of init_values


# Files of earlier versions


def of_earlier_version(path, method, old_names, tmp_path):
    """The file and the card that version 0.1 before this one wrote of a run that makes pictures."""
    folder = made_run(tmp_path / "run", method)
    recipe, task, made = load_method(folder)
    network = made.predictor()
    card = {
        "schema": 1, "run": "run", "method": method, "part": "predictor", "network": type(network).__name__,
        "config": made.config.model_dump(mode="json"), "image_size": [32, 32],
        "channels": [task.channels, task.num_outputs], **old_names,
        "input": {"channels": task.channels, "range": [0, 1], "adjacent_slices": 0},
        "output": {"channels": 1}, "image": recipe.image.model_dump(mode="json"), "task": task.to_dict(),
    }  # fmt: skip
    if method == "reggan":
        del card["task"]["options"]["adjacent_slices"]
        card["task"]["options"]["neighbours"] = 0
    metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in card.items()}
    save_file(network.state_dict(), path, metadata)
    path.with_suffix(".json").write_text(json.dumps(card))
    return folder


@pytest.mark.parametrize(
    ("method", "old_names"),
    [("reggan", {}), ("segment", {"encoder": "test_resnet"}), ("aadg", {"encoder": "test_resnet"})],
)
def test_files_of_earlier_versions_load(method, old_names, tmp_path):
    path = tmp_path / "old.safetensors"
    folder = of_earlier_version(path, method, old_names, tmp_path)
    assert torch.equal(of_file(path, folder), of_run(folder))
    # The function that was documented, which made a traceback of a segmentation's card.
    network = exported_network(json.loads(path.with_suffix(".json").read_text()))
    network.load_state_dict(load_file(path))
    assert torch.equal(outputs(network, usual(method)[0].channels, (32, 32)), of_run(folder))


@pytest.mark.parametrize("method", ["reggan", "segment", "aadg", "linear"])
def test_the_documented_function_makes_networks_of_todays_cards(method, tmp_path):
    folder = made_run(tmp_path / "run", method)
    path = export_part(folder, tmp_path / "network.safetensors")
    network = exported_network(json.loads(path.with_suffix(".json").read_text()))
    network.load_state_dict(load_file(path))
    assert torch.equal(outputs(network, usual(method)[0].channels, (32, 32)), of_run(folder))


def test_an_old_merged_file_loads(tmp_path):
    folder = made_run(tmp_path / "run", "full")
    path = Run(folder).export(tmp_path / "merged.safetensors")
    new = {"form", "versions", "decides_over", "card", "digest"}
    with safe_open(path, "pt") as file:
        metadata = {key: value for key, value in file.metadata().items() if key not in new}
    save_file(load_file(path), path, metadata)
    path.with_suffix(".json").unlink()
    torch.testing.assert_close(of_file(path, folder), of_run(folder), atol=1e-5, rtol=1e-5)


def test_a_predictor_file_of_full_fine_tuning_starts_another_run_with_its_normalisation(tmp_path):
    own = {"backbone.mean": [0.5, 0.4, 0.3], "backbone.std": [0.2, 0.3, 0.4]}
    path = export_part(made_run(tmp_path / "run", "full", **own), tmp_path / "full.safetensors")
    folder = made_run(tmp_path / "next", "linear", CLASSES, weights=str(path))
    backbone = load_method(folder)[2].predictor().backbone
    assert backbone.normalisation["mean"] == pytest.approx([0.5, 0.4, 0.3])


def test_the_code_of_the_page_works(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs/export.md").read_text()
    opened, made, by_timm, _ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)  # the last is a graph's
    monkeypatch.chdir(tmp_path)
    images = torch.rand(2, 3, 32, 32)
    folder = made_run(tmp_path / "run", "full")
    network = load_method(folder)[2].predictor().eval()
    names = {"Path": Path, "json": json, "safetensors": safetensors, "torch": torch, "timm": timm}
    names["images"] = images
    with torch.no_grad():
        expected = network(images)
        Run(folder).export("model.safetensors", form="predictor")
        for code in (opened, made + "outputs = network(images)"):
            exec(code, names)  # noqa: S102 - our own page
            assert torch.equal(names["outputs"], expected)
        Run(folder).export("model.safetensors", form="merged")
        exec(by_timm, names)  # noqa: S102
    torch.testing.assert_close(names["outputs"], expected, atol=1e-5, rtol=1e-5)
