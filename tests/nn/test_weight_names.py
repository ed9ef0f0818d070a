"""Weights of a backbone under the names that training frameworks give them; what does not fit is refused with a guess."""

import pytest
import timm
import torch

from modicum.data.weights_file import read_weights
from modicum.errors import InputError
from modicum.nn import Backbone, load_backbone_weights
from modicum.nn.architecture_guess import likely_architecture

NAME, SIZE = "test_resnet", (64, 64)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return timm.create_model(NAME).state_dict()


def under(prefix: str, tensors: dict[str, torch.Tensor], add: float = 0.0) -> dict[str, torch.Tensor]:
    return {prefix + name: t + add if t.is_floating_point() else t for name, t in tensors.items()}


def loaded(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    backbone = Backbone(NAME, SIZE)
    load_backbone_weights(backbone, tensors, "file")
    return backbone.body.state_dict()


def equal(found: dict[str, torch.Tensor], weights: dict[str, torch.Tensor], add: float = 0.0) -> bool:
    return all(
        torch.equal(t, weights[n] + add if t.is_floating_point() else weights[n]) for n, t in found.items()
    )


@pytest.mark.parametrize(
    "prefix",
    ["model.", "student.", "teacher.", "module.", "net.backbone.", "model._orig_mod.", "module.encoder_q.", "my_own."],
)  # fmt: skip
def test_tensors_are_found_under_any_prefix_and_it_is_named(weights, prefix, capsys):
    others = {"criterion.weight": torch.ones(3), "hyper": torch.ones(1), "model_ema.decay": torch.ones(1)}
    assert equal(loaded({**others, **under(prefix, weights)}), weights)
    assert f"those under '{prefix}' are used" in "".join(capsys.readouterr())


@pytest.mark.parametrize("prefix", ["", "backbone.", "encoder.", "backbone.body."])
def test_the_prefixes_of_old_are_still_removed_without_a_word(weights, prefix, capsys):
    assert equal(loaded(under(prefix, weights)), weights)
    assert "".join(capsys.readouterr()) == ""


@pytest.mark.parametrize(
    ("chosen", "other"),
    [("teacher.", "student."), ("ema_model.", "model."), ("module.encoder_q.", "module.encoder_k."), ("a.", "target.")],
)  # fmt: skip
def test_of_two_networks_the_averaged_one_or_the_learned_one_is_used_and_both_are_named(
    weights, chosen, other, capsys
):
    for pair in ((chosen, other), (other, chosen)):  # whatever the order in the file
        both = {name: t for p in pair for name, t in under(p, weights, 1.0 * (p == chosen)).items()}
        assert equal(loaded(both), weights, 1.0)
        said = "".join(capsys.readouterr())
        assert f"those under '{chosen}' are used" in said
        assert f"'{other}'" in said


@pytest.mark.parametrize("wrap", ["state_dict_ema", "model_ema", "student", "teacher", "net_g", "weights"])
def test_tables_of_tensors_in_a_checkpoint_are_found_and_named(weights, tmp_path, wrap, capsys):
    torch.save({wrap: under("model.", weights), "epoch": 3, "optimizer": {"state": {}}}, tmp_path / "w.ckpt")
    assert equal(loaded(read_weights(tmp_path / "w.ckpt")), weights)
    assert f"'{wrap}' is used" in "".join(capsys.readouterr())


def test_of_learned_and_averaged_tables_the_first_is_used_as_ever_and_the_other_is_named(
    weights, tmp_path, capsys
):
    torch.save({"state_dict_ema": under("", weights, 1.0), "state_dict": weights}, tmp_path / "w.pth")
    assert equal(read_weights(tmp_path / "w.pth"), weights)
    assert "'state_dict' is used; 'state_dict_ema' are there too" in "".join(capsys.readouterr())


def test_position_embeddings_of_another_size_are_found_under_a_prefix():
    state = timm.create_model("test_vit", img_size=(160, 160)).state_dict()
    load_backbone_weights(Backbone("test_vit", (64, 64)), under("model.", state), "file")


@pytest.mark.parametrize(
    ("name", "prefix"), [("resnet18", ""), ("resnet34", "model."), ("test_vit", "teacher.backbone.")]
)
def test_weights_of_another_network_are_refused_with_the_network_that_they_look_like(name, prefix):
    with torch.device("meta"):
        state = {
            prefix + n: torch.empty(t.shape, device="meta")
            for n, t in timm.create_model(name).state_dict().items()
        }
    assert likely_architecture(state) == name
    with pytest.raises(InputError, match=f"they look like those of '{name}'"):
        loaded(state)


def test_a_file_in_which_nothing_matches_is_refused_with_what_is_in_it():
    tensors = {"decoder.weight": torch.ones(2), "mapping.bias": torch.ones(1)}
    with pytest.raises(
        InputError, match=r"of its \d+ tensors are missing.*the file has 2 tensors: 'decoder.weight'"
    ):
        loaded(tensors)


@pytest.mark.parametrize("prefix", ["", "my_own."])
def test_weights_without_counters_of_batches_are_whole(weights, prefix):
    """TensorFlow's, and those of PyTorch before 0.4.1, lack ``num_batches_tracked``, which takes no part in answers."""
    plain = {name: t for name, t in weights.items() if not name.endswith("num_batches_tracked")}
    assert len(plain) < len(weights)
    found = loaded(under(prefix, plain))
    assert equal({name: t for name, t in found.items() if name in plain}, weights)
    assert all(int(t) == 0 for name, t in found.items() if name not in plain)
    with pytest.raises(InputError, match=r"1 of its .* tensors are missing"):
        loaded({name: t for name, t in plain.items() if name != "bn1.running_mean"})


def test_a_part_of_a_network_is_refused_under_a_prefix_too(weights):
    few = dict(list(under("model.", weights).items())[:40])
    with pytest.raises(InputError, match="tensors are missing"):
        loaded(few)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_numbers_are_said_to_be_that(weights, value):
    broken = {name: t.clone() for name, t in weights.items()}
    name = next(n for n, t in broken.items() if t.ndim == 4)
    broken[name].view(-1)[7] = value
    with pytest.raises(
        InputError, match=rf"not numbers \(NaN or infinite\) in 1 of their tensors \(for instance '{name}'"
    ):
        loaded(broken)


def test_a_broken_classifier_that_is_not_used_does_not_matter(weights):
    head = {n: torch.full_like(t, float("nan")) for n, t in weights.items() if n.startswith(("fc.", "head."))}
    assert head
    assert equal(loaded({**weights, **head}), weights)
