"""The learning steps of MRM and MAE: published values at the start, targets that lie where they should, masks."""

import copy
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from made_records import LENGTH, records, vocabulary
from torch.nn import functional as F

from modicum.data.reports import masked_words
from modicum.errors import InputError
from modicum.methods import Context
from modicum.methods.mrm import TRAINING, Mae, MaeConfig, MaeStage, Mrm, MrmConfig, MrmStage
from modicum.nn import Backbone, load_backbone_weights, mask_patches, patchify, vision_transformer
from warm_process import start

TINY = {
    "decoder_width": 16,
    "decoder_depth": 1,
    "decoder_heads": 2,
    "report_width": 16,
    "report_depth": 1,
    "report_heads": 2,
    "report_length": LENGTH,
}
MAE_TINY = {name: value for name, value in TINY.items() if name.startswith("decoder")}


def body(side: int = 32, patch: int = 8, seed: int = 0):
    torch.manual_seed(seed)
    return vision_transformer(side, patch, width=16, depth=1, heads=2)


def mrm(**config) -> MrmStage:
    return MrmStage(MrmConfig(**(TINY | config)), body(), vocabulary())


def mae(**config) -> MaeStage:
    return MaeStage(MaeConfig(**(MAE_TINY | config)), body())


def batch_of(count: int = 3, seed: int = 0) -> dict[str, torch.Tensor]:
    return records(count, seed)[0]


# --- the paper ------------------------------------------------------------------------------------------------------


def test_defaults_are_the_publications():
    config = MrmConfig()
    assert (config.image_mask_ratio, config.report_mask_ratio, config.target_scale) == (0.75, 0.5, 2)
    assert (config.decoder_width, config.decoder_depth, config.decoder_heads) == (768, 4, 6)
    assert (config.report_width, config.report_depth, config.report_heads) == (384, 6, 6)
    assert (config.report_length, config.report_dropout) == (100, 0.1)
    assert (config.image_weight, config.report_weight, config.normalise_target) == (1, 1, True)
    assert (config.mean, config.std) == ((0.4978,), (0.2449,))
    mae_config = MaeConfig()
    assert (mae_config.decoder_width, mae_config.decoder_depth, mae_config.decoder_heads) == (512, 8, 16)
    assert mae_config.target_scale == 1
    assert (TRAINING["lr"], TRAINING["betas"], TRAINING["weight_decay"]) == (1.5e-4, (0.9, 0.95), 0.05)
    assert (TRAINING["epochs"], TRAINING["warmup_epochs"], TRAINING["batch_size"]) == (200, 40, 256)


def test_only_matrices_and_embeddings_decay():
    (update,) = mrm().updates()
    decaying, free = update.parameters
    assert "weight_decay" not in decaying
    assert free["weight_decay"] == 0
    assert {parameter.ndim for parameter in free["params"]} == {1}
    assert min(parameter.ndim for parameter in decaying["params"]) == 2


def test_every_learnable_parameter_is_in_the_update_once_and_position_tables_in_none():
    stage = mrm()
    (update,) = stage.updates()
    owned = [id(parameter) for group in update.parameters for parameter in group["params"]]
    assert sorted(owned) == sorted(id(p) for p in stage.parameters() if p.requires_grad)
    assert id(stage.encoder.body.pos_embed) not in owned
    assert id(stage.network.decoder.pos_embed) not in owned


def test_losses_of_fresh_full_size_networks_are_near_their_closed_forms():
    torch.manual_seed(1)
    words = 30_000
    stage = MrmStage(MrmConfig(), vision_transformer(), vocabulary(words))
    tokens = torch.randint(4, words, (2, 100))
    tokens[:, 0], tokens[1, 41:] = 2, 0
    noise = 0.4978 + 0.2449 * torch.randn(2, 1, 448, 448)
    for training in (True, False):
        with torch.no_grad():
            losses = stage.train(training).losses(
                {"image": noise, "tokens": tokens, "tokens_mask": tokens != 0}
            )
        # A normalised target has 3071/3072; the prediction of Xavier weights 768 * 2 / (768 + 3072) on top.
        assert losses["image"].item() == pytest.approx(3071 / 3072 + 0.4, abs=0.03)
        assert losses["report"].item() == pytest.approx(math.log(words), abs=0.05)


# --- targets ----------------------------------------------------------------------------------------------------------


def test_the_input_is_the_half_of_the_target_image_by_smoothed_cubic_interpolation():
    stage, images = mrm(), torch.rand(2, 1, 64, 64)
    small, _ = stage.views({"image": images})
    large = ((images - 0.4978) / 0.2449).expand(-1, 3, -1, -1)
    expected = F.interpolate(large, scale_factor=0.5, mode="bicubic", antialias=True)
    torch.testing.assert_close(small, expected)
    sharp, _ = mrm(antialias=False).views({"image": images})
    assert not torch.allclose(sharp, small, atol=1e-3)


@pytest.mark.parametrize("normalised", [True, False])
def test_a_painted_square_changes_its_own_target_and_its_own_input_patch(normalised):
    stage = mrm(normalise_target=normalised)
    before = torch.full((1, 1, 64, 64), 0.5)
    after = before.clone()
    row, column = 2, 1
    # Inside of its patch by two pixels, as far as the interpolation reaches.
    after[:, :, 16 * row + 4 : 16 * row + 12, 16 * column + 4 : 16 * column + 12] = torch.rand(8, 8)
    (old_input, old_target), (new_input, new_target) = (stage.views({"image": im}) for im in (before, after))
    changed = (new_target != old_target).any(2)[0].nonzero().flatten().tolist()
    assert changed == [4 * row + column]
    fields = (patchify(new_input, 8) - patchify(old_input, 8)).abs().amax(2)[0]
    assert (fields > 1e-5).nonzero().flatten().tolist() == [4 * row + column]


def test_targets_that_are_not_normalised_are_the_images_own_patches():
    stage, images = mrm(normalise_target=False), torch.rand(1, 1, 64, 64)
    large = ((images - 0.4978) / 0.2449).expand(-1, 3, -1, -1)
    torch.testing.assert_close(stage.views({"image": images})[1], patchify(large, 16))


def test_mae_predicts_its_input_at_its_own_size_and_optionally_at_the_double():
    stage, images = mae(normalise_target=False), torch.rand(1, 3, 32, 32)
    small, target = stage.views({"image": images})
    torch.testing.assert_close(patchify(small, 8), target)
    assert stage.image_size == (32, 32)
    double = mae(target_scale=2)
    assert double.image_size == (64, 64)
    small, target = double.views({"image": torch.rand(1, 3, 64, 64)})
    assert (small.shape, target.shape) == ((1, 3, 32, 32), (1, 16, 768))


def test_images_of_another_size_are_refused_with_both_sizes():
    with pytest.raises(InputError, match="images of 32x32 pixels, but the network predicts 64x64"):
        mrm().losses({**batch_of(), "image": torch.rand(3, 1, 32, 32)})


# --- losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positions", ["masked", "all"])
def test_the_reports_loss_is_the_mean_over_the_positions_that_count(positions):
    stage, batch = mrm(report_positions=positions, report_dropout=0.0), batch_of()
    noise = torch.rand(3, stage.noise_width)
    found = stage.losses_at(batch, noise)["report"]
    mask = mask_patches(noise[:, :16], 0.75)
    hidden = masked_words(batch["tokens"], stage.continuation, noise[:, 16:])
    tokens = stage.encoder(stage.views(batch)[0], mask.kept)
    shown = torch.where(hidden, 3, batch["tokens"])
    scores = stage.network.report.logits(stage.network.report_features(tokens, shown, batch["tokens_mask"]))
    costs = [
        -scores[row, place].log_softmax(0)[batch["tokens"][row, place]].item()
        for row in range(3)
        for place in range(LENGTH)
        if positions == "all" or hidden[row, place]
    ]
    assert found.item() == pytest.approx(sum(costs) / len(costs), abs=1e-5)


def test_weights_multiply_losses():
    batch, losses = batch_of(), []
    for weights in ({}, {"image_weight": 3.0, "report_weight": 0.5}):
        stage = mrm(**weights).eval()
        noise = torch.rand(3, stage.noise_width, generator=torch.Generator().manual_seed(0))
        losses.append({name: value.item() for name, value in stage.losses_at(batch, noise).items()})
    assert losses[1]["image"] == pytest.approx(3 * losses[0]["image"])
    assert losses[1]["report"] == pytest.approx(0.5 * losses[0]["report"])


def test_mae_has_the_image_loss_of_mrm_with_the_same_network():
    batch, noise = batch_of(), torch.rand(3, 16 + LENGTH)
    both, alone = mrm(), mae(target_scale=2)
    alone.network.decoder.load_state_dict(both.network.decoder.state_dict())
    found = alone.losses_at(batch, noise[:, :16])
    assert found.keys() == {"image"}
    torch.testing.assert_close(found["image"], both.losses_at(batch, noise)["image"])


def test_rows_without_a_report_learn_from_their_image():
    stage, batch = mrm(), batch_of()
    batch["tokens"][1:, 1:] = 0
    batch["tokens_mask"] = batch["tokens"] != 0
    alone = {name: values[:1] for name, values in batch.items()}
    noise = torch.rand(3, stage.noise_width)
    stage.eval()
    torch.testing.assert_close(
        stage.losses_at(batch, noise)["report"], stage.losses_at(alone, noise[:1])["report"]
    )


@pytest.mark.parametrize("marked", [True, False])
def test_a_batch_without_any_report_has_finite_gradients_for_all(marked):
    stage, batch = mrm(), batch_of()
    batch["tokens"][:, 1:] = 0
    batch["tokens_mask"] = (batch["tokens"] != 0) & marked
    losses = stage.losses(batch)
    assert losses["report"].item() == 0
    sum(losses.values()).backward()
    # Zeros, not None: processes that share a batch wait for each other's gradients.
    assert all(p.grad is not None and p.grad.isfinite().all() for p in stage.parameters() if p.requires_grad)


def test_batches_without_tokens_or_with_longer_ones_are_errors():
    stage, batch = mrm(), batch_of()
    with pytest.raises(InputError, match=r"no 'tokens' of reports; .*method mae"):
        stage.losses({"image": batch["image"]})
    longer = {
        **batch,
        "tokens": F.pad(batch["tokens"], (0, 1)),
        "tokens_mask": F.pad(batch["tokens_mask"], (0, 1)),
    }
    with pytest.raises(InputError, match="reports of 15 tokens, but the network takes at most 14"):
        stage.losses(longer)


def test_a_batch_of_one_works():
    stage, batch = mrm(), batch_of(1)
    assert all(loss.isfinite() for loss in stage.losses(batch).values())
    assert stage(batch).shape == (1, 3)


def test_bfloat16_losses_are_near_single_precision():
    stage, batch = mrm().eval(), batch_of()
    noise = torch.rand(3, stage.noise_width)
    exact = stage.losses_at(batch, noise)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = stage.losses_at(batch, noise)
    for name, value in exact.items():
        assert rounded[name].dtype == torch.float32
        torch.testing.assert_close(rounded[name], value, rtol=0.02, atol=0)


# --- masks and their randomness ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [mrm, mae])
def test_a_step_is_repeated_by_its_seed(make):
    stage = make(target_scale=2).eval()
    batch = batch_of()
    losses = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        losses.append({name: value.item() for name, value in stage.losses(batch).items()})
    assert losses[0] == losses[1] != losses[2]


def test_validation_masks_depend_on_the_row_alone():
    stage, batch = mrm().eval(), batch_of(4)
    whole = stage(batch)
    part = stage({name: values[[2, 1]] for name, values in batch.items()})
    torch.testing.assert_close(part, whole[[2, 1]], atol=1e-5, rtol=1e-5)
    moved = stage({**batch, "row": batch["row"] + 1})
    assert not torch.allclose(moved, whole, atol=1e-3)


def test_validation_takes_no_random_numbers():
    stage, batch = mrm().eval(), batch_of()
    state = torch.get_rng_state()
    stage.validate(batch)
    assert torch.equal(torch.get_rng_state(), state)


def test_rows_near_each_other_have_unrelated_masks():
    noise = mrm().noise_at(torch.arange(2_000))
    assert abs((noise[1:] * noise[:-1]).mean().item() - 0.25) < 0.005
    assert (noise.mean(0) - 0.5).abs().max() < 4 * (1 / 12 / 2_000) ** 0.5


def test_validation_gives_each_rows_errors_and_their_means():
    stage, batch = mrm(image_weight=2.0).eval(), batch_of(4)
    batch["tokens"][3, 1:] = 0
    batch["tokens_mask"] = batch["tokens"] != 0
    outputs, losses = stage.validate(batch)
    assert stage.outputs == ("image", "report", "report_accuracy")
    assert outputs.shape == (4, 3)
    assert outputs[3, 1:].isnan().all()
    assert outputs[:3].isfinite().all()
    assert losses["image"].item() == pytest.approx(2 * outputs[:, 0].mean().item())
    assert losses["report"].item() == pytest.approx(outputs[:3, 1].mean().item())
    for row in range(3):  # each row as if it were a batch
        alone = {name: values[row : row + 1] for name, values in batch.items()}
        single = stage.losses_at(alone, stage.noise_at(alone["row"]))
        assert single["image"].item() == pytest.approx(2 * outputs[row, 0].item(), abs=1e-5)
        assert single["report"].item() == pytest.approx(outputs[row, 1].item(), abs=1e-5)


def test_words_are_guessed_right_by_a_network_that_always_says_them():
    stage, batch = mrm().eval(), batch_of()
    batch["tokens"][:, 1:-1] = 9
    with torch.no_grad():
        stage.network.report.output.weight.zero_()
        stage.network.report.output.bias[9] = 50
    outputs = stage(batch)
    assert outputs[:, 2].tolist() == [1, 1, 1]
    assert outputs[:, 1].max() < 1e-6


# --- the methods ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "config"), [(Mae, MaeConfig(**MAE_TINY)), (Mrm, MrmConfig(**TINY))])
def test_what_is_learned_is_a_backbone_of_the_runs_kind(method, config):
    def backbone() -> Backbone:
        torch.manual_seed(5)
        return Backbone("vit_tiny_patch16_224", (32, 32))

    context = Context(cast(Any, SimpleNamespace(vocabulary=vocabulary())), backbone, {}, {})
    made = method(config, context)
    (stage,) = made.stages()
    assert stage.image_size == ((32, 32) if method is Mae else (64, 64))
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        features = made.predictor().eval()(images)
        again = backbone()
        load_backbone_weights(again, stage.encoder.body.state_dict(), "run")
        again.mean.fill_(0.4978)
        again.std.fill_(0.2449)
        tokens = again.eval().feature_map(images)
    torch.testing.assert_close(features, tokens[:, 1:].mean(1), atol=1e-5, rtol=1e-5)


# --- several processes ------------------------------------------------------------------------------------------------

SCRIPT = """
import os
import sys
import modicum, torch
from torch import distributed
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_mrm_stages import gradients, mrm, batch_of
rank, folder = int(sys.argv[2]), sys.argv[3]
distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
stage, batch, noise = torch.load(f"{folder}/joint.pt", weights_only=False)
part = slice(2 * rank, 2 * rank + 2)
found = gradients(stage, {name: values[part] for name, values in batch.items()}, noise[part])
distributed.all_reduce(found)
if rank == 0:
    torch.save(found / 2, f"{folder}/shared.pt")
distributed.barrier()
distributed.destroy_process_group()
sys.stdout.flush()
os._exit(0)  # gloo's threads may still be ending, and the interpreter's own way out does not wait for them
"""


def gradients(stage: MrmStage, batch: dict[str, torch.Tensor], noise: torch.Tensor) -> torch.Tensor:
    stage.zero_grad()
    sum(stage.losses_at(batch, noise).values()).backward()
    return torch.cat([p.grad.flatten() for p in stage.parameters() if p.requires_grad])


@pytest.mark.parametrize("positions", ["masked", "all"])
def test_two_processes_have_the_mean_gradient_of_the_joint_batch(tmp_path, positions):
    stage, batch = mrm(report_dropout=0.0, report_positions=positions), batch_of(4)
    batch["tokens"][2:, 4:] = 0  # so that the processes mask different numbers of words
    batch["tokens_mask"] = batch["tokens"] != 0
    noise = torch.rand(4, stage.noise_width)
    joint = gradients(copy.deepcopy(stage), batch, noise)
    torch.save((stage, batch, noise), tmp_path / "joint.pt")
    processes = [start("-c", SCRIPT, Path(__file__).parent, rank, tmp_path) for rank in range(2)]
    assert [process.wait(timeout=120).returncode for process in processes] == [0, 0]
    shared = torch.load(tmp_path / "shared.pt")
    torch.testing.assert_close(shared, joint, atol=1e-5, rtol=1e-4)
