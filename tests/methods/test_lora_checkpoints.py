"""From a checkpoint of masked record modelling to low-rank updates of it: what is taken, and what is refused."""

import pytest
import torch

from modicum.data.weights_file import read_weights
from modicum.engine.model import learned_of
from modicum.errors import InputError
from modicum.methods import Context, method_class
from modicum.methods.lora import LoRAConfig
from modicum.nn import Backbone, load_backbone_weights
from modicum.nn.low_rank import LowRankClassifier
from modicum.tasks import Classification


def backbone(seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    return Backbone("vit_tiny_patch16_224", (32, 32))


def published(tmp_path, leave_out: str = "-") -> dict[str, torch.Tensor]:
    """Weights as the published code of MRM saves them: the encoder under ``model``, with decoder and text branch."""
    encoder = backbone(1).body.state_dict()
    others = {
        "mask_token": torch.zeros(1, 1, 8),
        "decoder_pos_embed": torch.zeros(1, 5, 8),
        "decoder_blocks.0.norm1.weight": torch.zeros(8),
        "bert_encoder.model.bert.embeddings.word_embeddings.weight": torch.zeros(30, 8),
        "bert_mlp.weight": torch.zeros(8, 192),
        "head.weight": torch.zeros(3, 192),
    }
    state = {name: tensor for name, tensor in {**encoder, **others}.items() if not name.startswith(leave_out)}
    torch.save({"model": state, "epoch": 199}, tmp_path / "mrm.pth")
    return read_weights(tmp_path / "mrm.pth")


def test_a_checkpoint_with_a_text_branch_loads_and_low_rank_updates_start_at_its_features(tmp_path):
    loaded, expected = backbone(0), backbone(1).eval()
    load_backbone_weights(loaded, published(tmp_path), "mrm.pth")
    task = Classification("multi-label", ["a", "b", "c", "d"])
    lora = method_class("lora")(LoRAConfig(rank=4), Context(task, lambda: loaded, {}, {}))
    network = lora.predictor().eval()
    assert isinstance(network, LowRankClassifier)
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(images), network.head(expected(images)), atol=1e-5, rtol=1e-5)
    assert not [name for name in learned_of(lora) if "bert" in name or "decoder" in name]


def test_a_checkpoint_without_block_7_is_refused_with_its_name(tmp_path):
    with pytest.raises(InputError, match=r"12 of its 150 tensors are missing .*blocks\.7\."):
        load_backbone_weights(backbone(), published(tmp_path, leave_out="blocks.7."), "mrm.pth")


# --- cost, by counting: ViT-B/16 at 224 pixels with 14 findings --------------------------------------------------------


def counts(name: str, **config) -> tuple[int, int]:
    """All and learnable parameters."""
    task = Classification("multi-label", [str(number) for number in range(14)])
    found = method_class(name)
    with torch.device("meta"):
        context = Context(task, lambda: Backbone("vit_base_patch16_224", (224, 224)), {}, {})
        network = found(found.Config(pool="mean", **config), context).predictor()
    sizes = [(p.numel(), p.requires_grad) for p in network.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, learns in sizes if learns)


def test_weights_gradients_and_adams_moments_take_a_quarter_of_full_fine_tunings_memory():
    """330 of 1,309 MiB, as measured on the published code: weights once, and three times what learns."""
    lora, full = (
        (4 * total + 12 * learnable) / 2**20 for total, learnable in (counts("lora", rank=4), counts("full"))
    )
    assert full == pytest.approx(1_309.3, abs=0.1)
    assert lora == pytest.approx(329.7, abs=0.1)
    assert lora <= 0.30 * full


def test_what_is_kept_of_rank_4_is_less_than_a_hundredth_of_the_checkpoint():
    total, learnable = counts("lora", rank=4)
    assert 4 * learnable / 2**20 == pytest.approx(0.61, abs=0.005)
    assert learnable <= 0.01 * total
