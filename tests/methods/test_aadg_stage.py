"""AADG's learning step: which image gets which policy, what learns from what, and going on after a kill."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from modicum.errors import InputError
from modicum.methods.aadg import AadgConfig, AadgStage
from modicum.nn.segmentation import SegmentationNetwork
from modicum.transforms import POLICY_OPERATIONS, Augmentation

SIDE = 16
WARM_UP, SEARCH = 0, 2


class TinyNetwork(nn.Module):
    """A stand-in: two convolutions to features of half the size, and logits at full size."""

    def __init__(self, channels: int = 8, classes: int = 1, norm: type[nn.Module] | None = None) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            nn.Conv2d(3, channels, 3, 2, 1), norm(channels) if norm else nn.Identity(), nn.ReLU()
        )
        self.decode = nn.Conv2d(channels, classes, 1)

    def features_and_logits(self, images):
        features = self.encode(images)
        return features, functional.interpolate(self.decode(features), images.shape[2:])


class BinaryCrossEntropy(nn.Module):
    def forward(self, outputs, batch):
        return functional.binary_cross_entropy_with_logits(outputs, batch["mask"])


def small(**settings) -> AadgConfig:
    return AadgConfig(**{"search_after": SEARCH, "policies": 4, **settings})


def stage_of(config: AadgConfig | None = None, **given) -> AadgStage:
    torch.manual_seed(0)
    network = given.pop("network", None) or TinyNetwork()
    return AadgStage(config or small(), network, BinaryCrossEntropy(), 3, channels=8, **given)


def batch_of(per_domain: int = 2, seed: int = 1, domain: list[int] | None = None) -> dict:
    generator = torch.Generator().manual_seed(seed)
    order = torch.tensor(domain) if domain else torch.arange(3).repeat(per_domain)
    image = torch.randint(256, (len(order), 3, SIDE, SIDE), generator=generator).float() / 255
    return {
        "image": image,
        "mask": (image[:, :1] > 0.5).float(),
        "domain": order,
        "row": torch.arange(len(order)),
    }


def began(stage: AadgStage, epoch: int) -> AadgStage:
    torch.manual_seed(1000 + epoch)
    stage.on_epoch_start(epoch)
    return stage


def train(stage: AadgStage, epochs: range, steps: int = 2) -> AadgStage:
    optimizers = [torch.optim.SGD(update.parameters, lr=0.05) for update in stage.updates()]
    for epoch in epochs:
        began(stage, epoch)
        for number in range(steps):
            torch.manual_seed(10 * epoch + number)
            step(stage, batch_of(seed=number), optimizers)
        torch.manual_seed(2000 + epoch)
        stage.on_epoch_end(epoch)
    return stage


def step(stage: AadgStage, batch: dict, optimizers: list) -> dict[str, float]:
    shown = {}
    for update, optimizer in zip(stage.updates(), optimizers, strict=True):
        losses = update.losses(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        shown |= {name: value.item() for name, value in losses.items()}
    return shown


# Copies and policies


def test_a_warm_up_step_sees_the_images_as_they_are():
    stage, batch = began(stage_of(), WARM_UP), batch_of()
    assert torch.equal(stage._copies(batch)["image"], batch["image"])


def test_every_copy_of_the_search_stands_where_the_paper_puts_it():
    # Policy j is one chain that multiplies by a factor of its own, image (b, d) has a level of its own.
    stage = began(stage_of(small(sub_policies=1, length=1)), SEARCH)
    brightness = POLICY_OPERATIONS.index("brightness")
    stage.search.policies.copy_(torch.tensor([[brightness, j] for j in range(4)]))
    level = torch.arange(6) * 10 + 20
    image = (level / 255).view(6, 1, 1, 1).expand(6, 3, SIDE, SIDE).contiguous()
    batch = {**batch_of(), "image": image, "mask": image[:, :1]}
    copies = stage._copies(batch)
    assert len(copies["image"]) == 6 * 4
    for number in range(24):
        row, j = divmod(number, 4)
        expected = int(level[row] * (0.1 + 0.2 * j) + 1e-4)
        assert (copies["image"][number] * 255).round().unique().tolist() == [expected]
        assert copies["domain"][number] == batch["domain"][row]
        assert copies["row"][number] == row
        assert torch.equal(copies["mask"][number], batch["mask"][row])


def test_every_image_of_a_slice_has_a_chain_of_its_policy_and_all_chains_come_up():
    stage = began(stage_of(small(length=1)), SEARCH)
    levels = [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9], [2, 3, 4, 5, 6], [0, 1, 8, 9, 5]]
    brightness = POLICY_OPERATIONS.index("brightness")
    stage.search.policies.copy_(
        torch.tensor([[value for bin_ in row for value in (brightness, bin_)] for row in levels])
    )
    batch = batch_of(per_domain=40)
    batch["image"] = torch.full_like(batch["image"], 100 / 255)
    made = (stage._copies(batch)["image"][:, 0, 0, 0] * 255).round().int()
    for j, row in enumerate(levels):
        assert made[j::4].unique().tolist() == sorted(int(100 * (0.1 + 0.2 * bin_) + 1e-4) for bin_ in row)


def test_what_moves_the_copies_comes_after_their_policies_and_takes_the_masks_along():
    crop = Augmentation([{"name": "random_resized_crop", "area": [0.3, 0.6]}], size=8)
    stage = began(stage_of(small(sub_policies=1, length=1), move=crop), SEARCH)
    stage.search.policies.copy_(torch.tensor([[POLICY_OPERATIONS.index("invert"), 0]] * 4))
    ramp = torch.arange(SIDE * SIDE).float().view(1, 1, SIDE, SIDE) / SIDE**2
    image = (ramp.expand(6, 3, SIDE, SIDE) > 0.5).float()
    copies = stage._copies({**batch_of(), "image": image, "mask": image[:, :1]})
    assert copies["image"].shape == (24, 3, 8, 8)
    assert ((1 - copies["image"][:, :1] > 0.5) == (copies["mask"] > 0.5)).float().mean() > 0.98
    assert len(copies["mask"].flatten(1).sum(1).unique()) > 3  # each copy has a crop of its own
    assert stage._copies(batch_of())["image"].shape == (24, 3, 8, 8)


@pytest.mark.parametrize("labels", ["keep", "erase"])
def test_the_truth_under_a_cutout_stays_or_goes_as_set(labels):
    stage = began(stage_of(small(sub_policies=1, length=1, cutout_labels=labels)), SEARCH)
    stage.search.policies.copy_(torch.tensor([[POLICY_OPERATIONS.index("cutout"), 9]] * 4))
    batch = batch_of()
    batch["image"], batch["mask"] = torch.zeros_like(batch["image"]), torch.ones_like(batch["mask"])
    copies = stage._copies(batch)
    cut = copies["image"][:, :1] > 0
    assert cut.any((1, 2, 3)).all()
    assert torch.equal(copies["mask"] == 0, cut if labels == "erase" else torch.zeros_like(cut))


def test_before_an_epoch_is_announced_a_step_is_as_large_as_in_the_search():
    stage, batch = stage_of(), batch_of()
    copies = stage._copies(batch)
    assert torch.equal(copies["image"], batch["image"].repeat_interleave(4, 0))
    losses = stage.segmentation_losses(batch) | stage.discriminator_losses(batch)
    assert all(loss.isfinite() for loss in losses.values())
    assert not stage.search.rewards.any()


# The losses, and which gradients flow


def test_the_loss_of_a_search_step_is_the_mean_of_the_policies_losses():
    stage = began(stage_of(), SEARCH)
    torch.manual_seed(3)
    loss = stage.segmentation_losses(batch_of())["segmentation"]
    torch.manual_seed(3)
    copies = stage._copies(batch_of())
    logits = stage.network.features_and_logits(copies["image"])[1]
    each = [functional.binary_cross_entropy_with_logits(logits[j::4], copies["mask"][j::4]) for j in range(4)]
    torch.testing.assert_close(loss, torch.stack(each).mean())


def test_gradients_stay_with_the_part_whose_loss_it_is():
    stage, batch = began(stage_of(), SEARCH), batch_of()
    stage.segmentation_losses(batch)["segmentation"].backward()
    assert all(p.grad is not None for p in stage.network.parameters())
    others = [*stage.discriminator.parameters(), *stage.search.parameters()]
    assert all(p.grad is None for p in others)
    stage.zero_grad(set_to_none=True)
    stage.discriminator_losses(batch)["discriminator"].backward()
    assert all(p.grad is not None for p in stage.discriminator.parameters())
    assert all(p.grad is None for p in [*stage.network.parameters(), *stage.search.parameters()])


def test_each_update_learns_its_own_parameters_and_none_the_controllers():
    stage = stage_of()
    segmentation, discriminator = (
        {id(parameter) for parameter in update.parameters} for update in stage.updates()
    )
    assert segmentation == {id(parameter) for parameter in stage.network.parameters()}
    assert discriminator == {id(parameter) for parameter in stage.discriminator.parameters()}


def test_rewards_carry_no_graph_and_add_up_over_the_steps_of_an_epoch():
    stage = began(stage_of(), SEARCH)
    torch.manual_seed(3)
    stage.segmentation_losses(batch_of())
    first = stage.search.rewards.clone()
    torch.manual_seed(3)
    stage.segmentation_losses(batch_of())
    assert not first.requires_grad
    assert (first > 0).all()
    torch.testing.assert_close(stage.search.rewards, 2 * first)


def test_a_reward_is_the_sum_of_the_divergences_of_all_pairs_of_domains():
    from modicum.losses import sinkhorn_divergence

    stage = began(stage_of(), SEARCH)
    domain = [2, 0, 1, 1, 0, 2]  # in any order, as long as there are as many of each
    torch.manual_seed(3)
    stage.segmentation_losses(batch_of(domain=domain))
    torch.manual_seed(3)
    copies = stage._copies(batch_of(domain=domain))
    pooled = stage.network.features_and_logits(copies["image"])[0].mean((2, 3))
    features = stage.slow.features(pooled)
    for j in range(4):
        of_policy = [features[j::4][copies["domain"][j::4] == d] for d in range(3)]
        expected = sum(sinkhorn_divergence(of_policy[a], of_policy[b]) for a, b in [(0, 1), (1, 2), (0, 2)])
        torch.testing.assert_close(stage.search.rewards[j], expected, atol=1e-5, rtol=1e-4)


def test_domains_that_look_alike_earn_nothing():
    stage = began(stage_of(), SEARCH)
    same = torch.randn(3, 4, 2, 8).expand(3, 4, 2, 8)[0].unsqueeze(1).expand(4, 3, 2, 8)
    stage.search.reward(same)
    assert stage.search.rewards.abs().max() < 1e-5


# Epochs


def test_the_slow_copy_moves_at_the_end_of_an_epoch_and_only_there():
    stage = train(stage_of(), range(SEARCH))
    began(stage, SEARCH)
    start = stage.slow.embed_weight.clone()
    assert torch.equal(start, stage.discriminator.embed.weight)
    optimizers = [torch.optim.SGD(update.parameters, lr=0.5) for update in stage.updates()]
    step(stage, batch_of(), optimizers)
    assert torch.equal(stage.slow.embed_weight, start)
    stage.on_epoch_end(SEARCH)
    online = stage.discriminator.embed.weight.detach()
    assert not torch.equal(online, start)
    torch.testing.assert_close(stage.slow.embed_weight, 0.999 * start + 0.001 * online)


def test_the_releases_copy_is_the_discriminator_itself_in_the_first_epoch_of_the_search():
    stage = train(stage_of(small(first_copy="shared")), range(SEARCH + 1))
    assert torch.equal(stage.slow.embed_weight, stage.discriminator.embed.weight)
    train(stage, range(SEARCH + 1, SEARCH + 2))
    assert not torch.equal(stage.slow.embed_weight, stage.discriminator.embed.weight)


def test_the_controller_rests_in_warm_up_and_learns_in_the_search():
    stage = stage_of()
    before = copy.deepcopy(stage.search.controller.state_dict())
    train(stage, range(SEARCH))
    assert all(torch.equal(before[k], v) for k, v in stage.search.controller.state_dict().items())
    assert stage.findings() == {"policy": None, "history": []}
    train(stage, range(SEARCH, SEARCH + 2))
    assert not torch.equal(
        before["operation_head.weight"], stage.search.controller.operation_head.weight.detach()
    )
    assert [row["epoch"] for row in stage.findings()["history"]] == [SEARCH, SEARCH + 1]


@pytest.mark.parametrize("between", [False, True])
def test_a_stage_that_goes_on_from_its_state_ends_where_the_uninterrupted_one_does(between):
    whole = train(stage_of(), range(SEARCH + 3))
    broken = train(stage_of(), range(SEARCH + 1))
    optimizers = [torch.optim.SGD(update.parameters, lr=0.05) for update in broken.updates()]
    if between:  # killed after the first of the epoch's two steps, which is not announced again
        began(broken, SEARCH + 1)
        torch.manual_seed(10 * (SEARCH + 1))
        step(broken, batch_of(seed=0), optimizers)
    resumed = stage_of()
    resumed.load_state_dict(copy.deepcopy(broken.state_dict()))
    optimizers = [torch.optim.SGD(update.parameters, lr=0.05) for update in resumed.updates()]
    if between:
        torch.manual_seed(10 * (SEARCH + 1) + 1)
        step(resumed, batch_of(seed=1), optimizers)
        torch.manual_seed(2000 + SEARCH + 1)
        resumed.on_epoch_end(SEARCH + 1)
        train(resumed, range(SEARCH + 2, SEARCH + 3))
    else:
        train(resumed, range(SEARCH + 1, SEARCH + 3))
    expected = whole.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.state_dict().items())
    assert resumed.findings() == whole.findings()


# Networks


def test_the_papers_network_learns_in_a_step_of_the_search():
    network = SegmentationNetwork("deeplabv3plus", "mobilenetv2_100", 1)
    stage = AadgStage(small(), network, BinaryCrossEntropy(), 3, channels=network.num_features)
    assert network.num_features == 1280
    began(stage, SEARCH)
    optimizers = [torch.optim.SGD(update.parameters, lr=0.01) for update in stage.updates()]
    losses = step(stage, batch_of(), optimizers)
    assert losses.keys() == {"segmentation", "discriminator"}
    assert (stage.search.rewards > 0).all()
    assert stage(batch_of()).shape == (6, 1, SIDE, SIDE)


# Memory


def test_a_search_step_in_chunks_has_the_same_loss_and_gradients():
    losses, gradients = [], []
    for chunk in (0, 5):
        stage = began(stage_of(small(chunk=chunk)), SEARCH)
        torch.manual_seed(3)
        loss = stage.segmentation_losses(batch_of())["segmentation"]
        loss.backward()
        losses.append(loss.detach())
        gradients.append([parameter.grad for parameter in stage.network.parameters()])
    torch.testing.assert_close(*losses)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_chunks_are_refused_where_batch_normalisation_would_see_them():
    with pytest.raises(InputError, match="chunk 5 would change the network"):
        stage_of(small(chunk=5), network=TinyNetwork(norm=nn.BatchNorm2d))


# Input


def test_a_batch_without_domains_is_refused():
    batch = batch_of()
    del batch["domain"]
    with pytest.raises(InputError, match="no 'domain'; give the table a column"):
        began(stage_of(), WARM_UP).segmentation_losses(batch)


@pytest.mark.parametrize("domain", [[0, 0, 1, 1, 2, 1], [0, 1, 2, 3], [0, 0, 1, 1]])
def test_unbalanced_batches_are_refused_in_the_search(domain):
    with pytest.raises(InputError, match="sample as many images of each of the 3 domains"):
        began(stage_of(), SEARCH).segmentation_losses(batch_of(domain=domain))
