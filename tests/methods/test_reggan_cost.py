"""What a step of RegGAN costs: passes, operations and stored activations; memory layout and mixed precision."""

import pytest
import torch
from reggan_loop import BASES, MODES, optimizers_of, pairs, scaled, stage_of, step, update_of
from torch.utils.flop_counter import FlopCounterMode

from modicum.engine.training.meters import saved_tensors
from modicum.methods.reggan import RegGanConfig, RegGanStage
from modicum.methods.reggan import stages as reggan_stages
from modicum.nn import warp


def passes(stage: RegGanStage, action) -> dict[str, int]:
    """How often each network is run in an action, by name; generators also by whether gradients are kept."""
    counts: dict[str, int] = {}
    handles = []
    networks = [*stage.base.named_children(), *stage.named_children()]
    for name, network in (pair for pair in networks if pair[0] not in ("base", "fakes", "back_fakes")):

        def count(module, inputs, output, name=name):
            key = name if output.requires_grad else f"{name} without gradients"
            counts[key] = counts.get(key, 0) + 1

        handles.append(network.register_forward_hook(count))
    action()
    for handle in handles:
        handle.remove()
    return counts


def test_a_step_runs_each_network_no_more_than_the_method_needs():
    expected = {
        "nc+r": {"generator": 1, "generator without gradients": 1, "registration": 1, "discriminator": 2},
        "c": {"generator": 2, "back_generator": 2, "discriminator": 2, "back_discriminator": 2},
    }
    for mode, networks in expected.items():
        stage = stage_of(mode)
        assert passes(stage, lambda stage=stage: step(stage, pairs(), optimizers_of(stage))) == networks
    stage = stage_of(fakes="same")
    found = passes(stage, lambda: step(stage, pairs(), optimizers_of(stage)))
    assert found == {"generator": 1, "registration": 1, "discriminator": 2}


def test_translating_runs_the_generator_alone():
    stage = stage_of().eval()
    with torch.no_grad():
        assert passes(stage, lambda: stage(pairs())) == {"generator without gradients": 1}
        assert torch.equal(stage(pairs()), (stage.base.generator(scaled(pairs())[0]) + 1) / 2)


def test_a_step_of_reggan_needs_fewer_operations_than_one_of_cyclegan():
    # The published proportions at a quarter of the widths.
    config = {"width": 16, "discriminator_width": 16, "registration_width": 8}
    operations = {}
    for mode in ("nc+r", "c"):
        stage = RegGanStage(RegGanConfig(mode=mode, **config), (64, 64))
        batch = pairs(1, side=64)
        with FlopCounterMode(display=False) as counter:
            step(stage, batch, optimizers_of(stage))
        operations[mode] = counter.get_total_flops()
    assert operations["nc+r"] < 0.6 * operations["c"]


def saved_bytes(stage: RegGanStage, make_losses) -> int:
    """Bytes of the activations that losses keep for their backward pass."""
    with saved_tensors([*stage.parameters(), *stage.buffers()]) as account:
        losses = make_losses()
    assert all(loss.requires_grad for loss in losses.values())
    return account.bytes


@pytest.mark.parametrize("base", BASES)
def test_the_discriminators_step_needs_less_memory_than_the_generators(base):
    stage, batch = stage_of(base=base), pairs()
    needed = {
        update.name: saved_bytes(stage, lambda update=update: update.losses(batch))
        for update in stage.updates()
    }
    assert needed["discriminator"] < 0.6 * needed["generators"]


def test_a_discriminators_step_keeps_its_own_activations_and_none_of_the_generators():
    """As many bytes as the discriminator alone keeps for the images, real and made."""
    stage, batch = stage_of("nc+r"), pairs()
    x, y = scaled(batch)
    alone = saved_bytes(
        stage, lambda: {"scores": stage.base.discriminator(torch.cat([y, x])).square().mean()}
    )
    assert saved_bytes(stage, lambda: update_of(stage, "discriminator").losses(batch)) <= 1.02 * alone


@pytest.mark.parametrize("base", BASES)
def test_translating_costs_what_the_kept_networks_cost_and_no_more(base):
    for mode in ("nc+r", "c+r"):
        stage, images = stage_of(mode, base=base).eval(), pairs()["image"]
        operations = []
        for translate in (
            lambda: stage({"image": images}),  # noqa: B023
            lambda: stage.base.translator()(images),  # noqa: B023
        ):
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                translate()
            operations.append(counter.get_total_flops())
        assert operations[0] == operations[1] > 0


# --- memory layout and precision ----------------------------------------------------------------------------------


def in_channels_last(tensor: torch.Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


@pytest.mark.parametrize("base", BASES)
def test_channels_last_survives_the_networks_and_changes_no_result(base):
    stage = stage_of("c+r", channels=3, base=base).eval()
    batch = pairs(channels=3)
    laid = {name: images.contiguous(memory_format=torch.channels_last) for name, images in batch.items()}
    seen = []
    for module in stage.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_pre_hook(lambda module, inputs: seen.append(in_channels_last(inputs[0])))
    with torch.no_grad():
        made = stage(laid)
        assert in_channels_last(made)
        assert all(seen)
        torch.testing.assert_close(made, stage(batch), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(stage.displacement(laid), stage.displacement(batch), atol=1e-5, rtol=1e-3)


def test_in_bfloat16_on_a_cpu_the_features_of_grey_images_lie_in_channels_last():
    stage, seen = stage_of("nc+r"), {}
    for name, module in stage.named_modules():
        if isinstance(module, torch.nn.InstanceNorm2d):

            def look(module, inputs, name=name):
                seen[name] = in_channels_last(inputs[0])

            module.register_forward_pre_hook(look)
    for update in stage.updates():
        with torch.autocast("cpu", torch.bfloat16):
            update.losses(pairs(1))
    assert len(seen) > 20
    assert [name for name, found in seen.items() if not found] == []


@pytest.mark.parametrize(
    ("base", "mode"), [(base, mode) for base in BASES for mode in MODES if base == "resnet" or mode != "p"]
)
def test_losses_under_autocast_are_single_precision_and_near(base, mode):
    stage, batch = stage_of(mode, base=base).eval(), pairs()  # spectral norms rest
    for update in stage.updates():
        torch.manual_seed(0)
        exact = update.losses(batch)
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = update.losses(batch)
        for name, value in exact.items():
            assert rounded[name].dtype == torch.float32
            torch.testing.assert_close(rounded[name], value, rtol=0.05, atol=1e-3)


@pytest.mark.parametrize("field", ["displacement", "velocity"])
def test_fields_warp_and_smoothness_are_single_precision_under_autocast(field, monkeypatch):
    stage = stage_of(field=field)
    with torch.no_grad():
        stage.registration.displacement.bias.copy_(torch.tensor([5.0078125, -3.0009765625]))
    seen = []

    def smoothness(found):
        seen.append(found)
        return reggan_stages_smoothness(found)

    def moved(image, found):
        made = warp(image, found)
        seen.append(made)
        return made

    reggan_stages_smoothness = reggan_stages.smoothness_loss
    monkeypatch.setattr(reggan_stages, "smoothness_loss", smoothness)
    monkeypatch.setattr(reggan_stages, "warp", moved)
    with torch.autocast("cpu", torch.bfloat16):
        stage.generator_losses(pairs())
    assert [tensor.dtype for tensor in seen] == [torch.float32] * 2
    # bfloat16 knows 5 and 5.03125, and nothing between.
    assert (seen[1][:, 0] - 5.0078125).abs().max() < 1e-3
    assert (seen[1][:, 1] + 3.0009765625).abs().max() < 1e-3
