"""What SPMix is compared with: decoupled classifiers, LDAM, mixup and its relatives; each against its paper."""

import numpy as np
import pytest
import torch

from modicum.data.sampling import epoch_order
from modicum.errors import InputError
from modicum.methods.base import Context
from modicum.methods.decoupled import Decoupled
from modicum.methods.ldam import Ldam
from modicum.methods.mixed import Mixed, remix_shares
from modicum.nn import Backbone
from modicum.tasks import task_from_dict
from modicum.transforms.cutmix import paste_box, random_box

TASK = {"name": "classification", "kind": "multi-class", "classes": ["a", "b", "c"], "ordered": False,
        "specificity": 0.95}  # fmt: skip
LABELS = np.array([0] * 60 + [1] * 15 + [2] * 5)


def made(kind, epochs=10, training=None, **settings):
    torch.manual_seed(0)
    task = task_from_dict(TASK)
    stage = {"epochs": epochs, **(training or {})}
    context = Context(
        task, lambda: Backbone("test_resnet", (32, 32)), {"label": LABELS}, {}, image_size=(32, 32),
        training=training or {}, stage_training={"tune": stage, "features": stage, "classifier": {}},
    )  # fmt: skip
    return kind(kind.Config(**settings), context)


def batch(rows=4):
    return {
        "image": torch.rand(rows, 3, 32, 32),
        "label": torch.tensor([0, 1, 2, 0])[:rows],
        "partner_image": torch.rand(rows, 3, 32, 32),
        "partner_label": torch.tensor([2, 2, 1, 0])[:rows],
    }


def test_square_root_sampling_draws_classes_by_their_roots():
    drawn = np.concatenate([LABELS[epoch_order(LABELS, "square_root", epoch=e)] for e in range(250)])
    shares = np.bincount(drawn) / len(drawn)
    roots = np.sqrt([60, 15, 5])
    assert np.abs(shares - roots / roots.sum()).max() < 3 * np.sqrt(0.25 / len(drawn))


def test_balanced_sampling_gives_all_classes_one_share():
    """Acceptance 8, over 20,000 draws."""
    drawn = np.concatenate([LABELS[epoch_order(LABELS, "balanced", epoch=e)] for e in range(250)])
    assert np.abs(np.bincount(drawn) / len(drawn) - 1 / 3).max() < 3 * np.sqrt(2 / 9 / len(drawn))


def test_crt_learns_a_new_classifier_and_nothing_else():
    method = made(Decoupled)
    features, classifier = method.stages()
    assert method.stage_training["classifier"]["sampling"] == "balanced"
    classifier.train()
    assert not classifier.network.backbone.training
    learned = {id(p) for update in classifier.updates() for p in update.parameters}
    assert learned == {id(p) for p in classifier.network.head.parameters()}
    assert classifier.network.backbone is features.network.backbone
    assert classifier.network.head is not features.network.head
    classifier.updates()[0].losses(batch())["classification"].backward()
    assert all(parameter.grad is None for parameter in classifier.network.backbone.parameters())


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_tau_norm_brings_class_vectors_towards_one_length(tau):
    method = made(Decoupled, classifier="tau_norm", tau=tau)
    (stage,) = method.stages()
    head = stage.network.head[-1]
    with torch.no_grad():
        head.weight.mul_(torch.tensor([[1.0], [2.0], [5.0]]))
    before = head.weight.norm(dim=1)
    assert torch.allclose(method.predictor().weight().norm(dim=1), before ** (1 - tau), atol=1e-5)
    images = torch.rand(2, 3, 32, 32)
    method.predictor().eval()
    with torch.no_grad():
        assert torch.allclose(stage.eval()({"image": images}), method.predictor()(images))
        assert torch.allclose(method.merge()(images), method.predictor()(images), atol=1e-5)


def test_ldam_weights_classes_from_four_fifths_of_the_epochs_on():
    stage = made(Ldam, epochs=10).stages()[0]
    for epoch, alike in ((0, True), (7, True), (8, False), (9, False)):
        stage.on_epoch_start(epoch)
        assert bool((stage.class_weights == 1).all()) == alike
    assert stage.class_weights[2] > stage.class_weights[1] > stage.class_weights[0]
    stage.on_epoch_resume(3)
    assert (stage.class_weights == 1).all()
    assert stage.margins.tolist() == pytest.approx([0.5 * (5 / n) ** 0.25 for n in (60, 15, 5)])
    assert stage.losses(batch())["classification"].isfinite()
    logits = stage.eval()(batch())
    assert logits.abs().max() <= 30 + 1e-4


def test_a_box_is_pasted_and_the_share_is_of_its_area():
    torch.manual_seed(0)
    for share in (0.0, 0.3, 0.9, 1.0):
        box = random_box((20, 30), share)
        mixed, left = paste_box(torch.zeros(2, 3, 20, 30), torch.ones(2, 3, 20, 30), box)
        assert left == pytest.approx(1 - mixed.mean().item())
        assert left >= share - 1e-9  # a box at the border is cut off


def test_remix_gives_the_rarer_class_the_label_where_both_differ_much():
    """Equation 5: by a factor of 3, and where the common class's image has less than a half."""
    number, other = torch.tensor([90.0, 90.0, 10.0, 10.0]), torch.tensor([10.0, 40.0, 90.0, 20.0])
    assert remix_shares(number, other, 0.4).tolist() == pytest.approx([0.0, 0.4, 0.4, 0.4])
    assert remix_shares(number, other, 0.6).tolist() == pytest.approx([0.6, 0.6, 1.0, 0.6])


@pytest.mark.parametrize("mixer", ["mixup", "cutmix", "remix", "cmo"])
def test_each_mixer_trains_and_reads_partners_only_where_it_needs_them(mixer):
    stage = made(Mixed, mixer=mixer, mix_p=1.0).stages()[0]
    assert stage.reads == (("image", "partner_image") if mixer == "cmo" else ("image",))
    torch.manual_seed(1)
    loss = stage.losses(batch())["classification"]
    loss.backward()
    assert loss.isfinite()


def test_cmo_pastes_rare_images_on_common_ones():
    stage = made(Mixed, mixer="cmo", mix_p=1.0).stages()[0]
    seen = []
    stage.network.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    given = batch()
    given["image"], given["partner_image"] = torch.zeros(4, 3, 32, 32), torch.ones(4, 3, 32, 32)
    torch.manual_seed(3)
    stage.losses(given)
    assert 0 < seen[0].mean() < 1
    assert not made(Mixed, mixer="cmo", mix_p=0.0).stages()[0].losses(given)["classification"].isnan()


def test_losses_without_effect_are_refused():
    for kind, settings in ((Ldam, {}), (Mixed, {"mixer": "remix"})):
        with pytest.raises(InputError, match="loss='focal' has no effect"):
            made(kind, training={"loss": "focal"}, **settings)
