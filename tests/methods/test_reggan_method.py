"""RegGAN as a method: images in [0, 1] in and out, and what is found of where pictures lie."""

from types import SimpleNamespace

import pytest
import torch
from reggan_loop import BASES, SIDE, TINY, noise, optimizers_of, pairs, scaled, stage_of, step

from modicum.errors import InputError
from modicum.methods.base import Context
from modicum.methods.reggan import TRAINING, RegGan, RegGanConfig
from modicum.nn import count_parameters, folded_share, warp
from modicum.nn.spatial_transformer import integrate


def method_of(channels=(1, 1), image_size=(SIDE, SIDE), **config) -> RegGan:
    torch.manual_seed(0)
    task = SimpleNamespace(name="image-to-image", channels=channels[0], num_outputs=channels[1])
    context = Context(task, lambda: None, {}, {}, image_size=image_size)
    return RegGan(RegGanConfig(**config), context)


def test_it_says_what_it_is():
    assert (RegGan.name, RegGan.tasks, RegGan.Config) == ("reggan", ("image-to-image",), RegGanConfig)
    assert RegGan.training is TRAINING
    assert RegGan.image == {"size": (256, 256)}


def test_the_published_predictor_is_the_generator_alone():
    with torch.device("meta"):
        method = method_of(image_size=(256, 256))
        assert count_parameters(method.predictor())[0] == 11_365_633
        assert method.predictor()(torch.empty(2, 1, 256, 256)).shape == (2, 1, 256, 256)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("mode", ["nc+r", "c"])
def test_the_predictor_shares_the_stages_networks_and_gives_its_translations(base, mode):
    method = method_of(channels=(3, 2), base=base, mode=mode, **TINY)
    (stage,) = method.stages()
    assert stage is method.stages()[0]
    batch = {"image": noise(2, 3, SIDE, SIDE), "target": noise(2, 2, SIDE, SIDE, seed=1)}
    step(stage, batch, optimizers_of(stage))
    method.predictor().eval(), stage.eval()
    made = method.predictor()(batch["image"])
    assert torch.equal(made, stage(batch))
    assert made.shape == (2, 2, SIDE, SIDE)
    learned = {id(parameter) for parameter in stage.parameters()}
    assert {id(parameter) for parameter in method.predictor().parameters()} < learned


def test_networks_see_0_as_minus_1_and_1_as_1():
    stage, seen = stage_of(), []
    stage.base.generator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    image = torch.zeros(1, 1, SIDE, SIDE)
    image[..., 5] = 1
    made = stage({"image": image})
    assert seen[0].unique().tolist() == [-1.0, 1.0]
    assert (seen[0] == 1).nonzero()[:, 3].unique().tolist() == [5]
    torch.testing.assert_close(made, (stage.base.generator(2 * image - 1) + 1) / 2)


def test_registration_compares_translation_and_target_on_one_scale():
    stage, batch, seen = stage_of(), pairs(), []
    stage.registration.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    stage.displacement(batch)
    moving, fixed = seen[0]
    x, y = scaled(batch)
    assert torch.equal(fixed, y)
    torch.testing.assert_close(moving, stage.base.generator(x))


def test_displacement_is_without_gradients_and_of_modes_with_registration():
    method, batch = method_of(**TINY), pairs()
    field = method.displacement(batch["image"], batch["target"])
    assert field.shape == (2, 2, SIDE, SIDE)
    assert not field.requires_grad
    assert torch.equal(field, method.stages()[0].displacement(batch))
    with pytest.raises(InputError, match="mode 'nc' learns no registration; train with mode nc\\+r or c\\+r"):
        method_of(mode="nc", **TINY).displacement(batch["image"], batch["target"])


def test_velocities_are_followed_to_displacements_that_do_not_fold():
    plain, followed, batch = stage_of(), stage_of(field="velocity"), pairs()
    for stage in (plain, followed):
        torch.manual_seed(1)
        torch.nn.init.normal_(stage.registration.displacement.weight, std=0.3)
    velocity, field = plain.displacement(batch), followed.displacement(batch)
    torch.testing.assert_close(field, integrate(velocity))
    assert folded_share(velocity).min() > 0.05
    assert folded_share(field).max() < folded_share(velocity).min() / 5
    losses = followed.generator_losses(batch)
    smoothness = field.diff(dim=2).square().mean() + field.diff(dim=3).square().mean()
    torch.testing.assert_close(losses["smoothness"], 10 * smoothness, rtol=1e-3, atol=1e-6)


def test_correction_can_look_at_the_foreground():
    batch = pairs()
    batch["target"] = torch.where(noise(2, 1, SIDE, SIDE, seed=9) < 0.5, 0.0, batch["target"])
    stage = stage_of(correction="foreground", background_weight=0.2)
    x, y = scaled(batch)
    fake = stage.base.generator(x)
    difference = (warp(fake, stage.registration(fake, y)) - y).abs()
    inside = batch["target"] > 0
    expected = difference[inside].sum() + 0.2 * difference[~inside].sum()
    expected = 20 * expected / (inside.sum() + 0.2 * (~inside).sum())
    torch.testing.assert_close(stage.generator_losses(batch)["correction"], expected)
    batch["target"] = torch.zeros_like(batch["target"])
    assert stage.generator_losses(batch)["correction"].isfinite()


def test_images_beyond_bases_are_told():
    with pytest.raises(InputError, match=r"30x64 pixels .* multiples of 4 from 24 on"):
        method_of(image_size=(30, 64), **TINY)


@pytest.mark.parametrize("base", BASES)
def test_the_predictor_can_be_exported_for_any_number_of_images(base):
    predictor = method_of(base=base, mode="c", **TINY).predictor().eval()
    several = torch.export.Dim("several", min=1, max=64)
    exported = torch.export.export(
        predictor, (noise(2, 1, SIDE, SIDE),), dynamic_shapes=({0: several},)
    ).module()
    images = noise(5, 1, SIDE, SIDE, seed=3)
    torch.testing.assert_close(exported(images), predictor(images))
