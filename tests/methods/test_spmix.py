"""SPMix: whose label a mixture has, what it costs, what is left of it in use, and what input it refuses."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from modicum.data.sampling import label_shares
from modicum.errors import InputError
from modicum.methods.base import Context
from modicum.methods.spmix import GPaCo, GPaCoConfig, SPMix, SPMixConfig
from modicum.methods.spmix.stage import projection_heads
from modicum.nn import Backbone
from modicum.tasks import task_from_dict

SMALL = {
    "queue": 8, "projection": 8, "projection_width": 16,
    "query_augment": "none", "key_augment": "none",
}  # fmt: skip


def made(
    backbone="test_vit", kind=SPMix, labels=(0, 0, 0, 0, 0, 0, 1, 1, 2), classes=3, training=None, **settings
):
    torch.manual_seed(0)
    names = [f"c{number}" for number in range(classes)]
    task = task_from_dict(
        {"name": "classification", "kind": "multi-class" if classes > 2 else "binary", "classes": names,
         "ordered": False, "specificity": 0.95}
    )  # fmt: skip
    context = Context(
        task, lambda: Backbone(backbone, (32, 32)), {"label": np.array(labels)}, {}, image_size=(32, 32),
        training=training or {}, stage_training={"tune": training or {}},
    )  # fmt: skip
    config = kind.Config(**{**SMALL, **settings})
    return kind(config, context)


def batch(rows=4):
    torch.manual_seed(1)
    own = {"image": torch.rand(rows, 3, 32, 32), "saliency": torch.rand(rows, 1, 32, 32)}
    partner = {f"partner_{name}": torch.rand_like(value) for name, value in own.items()}
    return {**own, **partner, "label": torch.zeros(rows, dtype=torch.long),
            "partner_label": torch.tensor([0, 1, 2, 2])[:rows]}  # fmt: skip


def stage_of(method):
    return method.stages()[-1]


class Seen(nn.Module):
    """Stands in for the loss and keeps what it is given."""

    def forward(self, query, key, labels, query_logits, key_logits):
        self.labels, self.logits = labels, (query_logits, key_logits)
        self.vectors = query, key
        return query.sum() + key.sum()


@pytest.mark.parametrize(("foreground", "label"), [("balanced", "partner_label"), ("natural", "label")])
def test_the_label_is_the_foregrounds_and_so_is_the_prior(foreground, label):
    """Defect 1 of the release: it keeps the labels of images as they come, and the rare ones are background."""
    method = made(foreground=foreground)
    stage = stage_of(method)
    prior = stage.contrast.prior
    expected = [1 / 3] * 3 if foreground == "balanced" else [6 / 9, 2 / 9, 1 / 9]
    assert prior.tolist() == pytest.approx(expected)
    stage.contrast = Seen()
    given = batch()
    stage.losses(given)
    assert torch.equal(stage.contrast.labels, given[label])


def test_a_mixture_is_mostly_the_image_whose_label_it_has():
    """With a share of 1, what a step computes is the foreground's answer; nothing else of the batch counts."""
    stage = stage_of(made(guide="constant", alpha=1.0)).eval()
    stage.contrast = Seen()
    given = batch()
    stage._ratio = lambda views, unmixed, order, grid: torch.ones(8, grid[0] * grid[1])
    stage.losses(given)
    with torch.no_grad():
        alone = stage.network(given["partner_image"])
    assert torch.allclose(stage.contrast.logits[0], alone, atol=1e-5)
    assert torch.allclose(stage.contrast.logits[1], alone, atol=1e-5)


def test_the_classifier_sees_both_views():
    """Defect 2 of the release: its key logits are those of the query."""
    stage = stage_of(made(key_augment=[{"name": "horizontal_flip", "p": 1.0}]))
    stage.contrast = Seen()
    stage.losses(batch())
    query, key = stage.contrast.logits
    assert not torch.allclose(query, key)
    for vectors in stage.contrast.vectors:
        assert torch.allclose(vectors.norm(dim=1), torch.ones(4), atol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "mix"), [("test_vit", "auto"), ("test_resnet", "features"), ("test_resnet", "auto")]
)
def test_a_step_calls_the_first_layers_once_and_the_rest_on_mixtures_alone(backbone, mix):
    stage = stage_of(made(backbone, mix=mix))
    body = stage.network.backbone.body
    first = body.patch_embed if backbone == "test_vit" else body.conv1
    last = body.blocks[-1] if backbone == "test_vit" else body.layer4
    sizes = {"first": [], "last": []}
    first.register_forward_pre_hook(lambda module, args: sizes["first"].append(len(args[0])))
    last.register_forward_pre_hook(lambda module, args: sizes["last"].append(len(args[0])))
    stage.losses(batch())["contrast"].backward()
    assert sizes["last"] == [8]  # two views of four mixtures
    assert sizes["first"] == [8 if backbone == "test_resnet" and mix == "auto" else 16]
    assert all(parameter.grad is not None for parameter in stage.network.parameters())


def test_under_strict_only_rarer_classes_are_mixed():
    """Defect 8 of the release: images are mixed with their own class, and with themselves."""
    stage = stage_of(made(strict=True))
    given = (
        batch()
    )  # backgrounds of the largest class; foregrounds of the largest, the middle and the smallest
    shares = {}
    views = stage._views(given)
    shares = stage._ratio(views, stage._unmixed(given, 2), None, (2, 2))
    assert (shares[[0, 4]] == 1).all()
    assert (shares[[1, 2, 3, 5, 6, 7]] <= 0.8).all()


def test_controls_are_a_constant_and_saliency_of_other_images():
    given = batch()
    constant = stage_of(made(guide="constant"))
    assert constant.reads == ("image", "partner_image")
    assert (constant._ratio(constant._views(given), None, None, (2, 2)) == 0.5).all()
    stage = stage_of(made())
    own = stage._ratio(stage._views(given), None, None, (2, 2))
    order = torch.tensor([1, 2, 3, 0])
    shuffled = stage._ratio(stage._views(given), None, order, (2, 2))
    assert torch.equal(shuffled.view(2, 4, -1), own.view(2, 4, -1)[:, order])


def test_without_contrast_the_tasks_loss_sees_the_foregrounds_label():
    stage = stage_of(made(contrast=False, training={"loss": "auto"}))
    seen = {}

    class Loss(nn.Module):
        def forward(self, outputs, part):
            seen.update(part, rows=len(outputs))
            return outputs.sum()

    stage.loss = Loss()
    given = batch()
    stage.losses(given)
    assert torch.equal(seen["label"], given["partner_label"])
    assert seen["rows"] == 4


def test_heads_to_the_unit_and_what_inference_keeps():
    projector, predictor = projection_heads(768)
    counts = [sum(p.numel() for p in part.parameters()) for part in (projector, predictor)]
    assert counts == [20_987_904, 2_105_344]
    total = 56_762_976 + sum(counts) + 768 * 7 + 7
    assert total == 79_861_607
    inference = 56_762_976 + 768 * 7 + 7
    assert inference == 56_768_359
    assert inference / total <= 0.72


def test_what_predicts_has_no_saliency_projector_or_queue():
    method = made()
    names = {name for name, _ in method.predictor().named_modules()}
    assert not any(word in name for name in names for word in ("projector", "queue", "predictor"))
    assert stage_of(method).persistent_modules() == ("network",)
    assert method.predictor()(torch.rand(1, 3, 32, 32)).shape == (1, 3)


def test_gpaco_is_the_same_without_partners():
    method = made(kind=GPaCo)
    stage = stage_of(method)
    assert method.stages() == [stage]
    assert stage.reads == ("image",)
    assert stage.contrast.prior.tolist() == pytest.approx([6 / 9, 2 / 9, 1 / 9])
    stage.losses({"image": torch.rand(2, 3, 32, 32), "label": torch.tensor([0, 2])})["contrast"].backward()
    assert stage.contrast.queue.labels[:2].tolist() == [0, 2]


def test_saliency_is_computed_once_or_read_from_a_column():
    computed = made().stages()[0]
    record = computed({"image": torch.rand(2, 3, 32, 32)})
    assert record.dtype == torch.uint8
    assert record.shape == (2, 32, 32, 1)
    assert made(saliency_by="spectral_residual").stages()[0].settings() != computed.settings()
    for saliency in ("column", "mask"):
        config = SPMixConfig(saliency_by=saliency)
        (column,) = SPMix.auxiliary_images(config)
        assert (column.column, column.kind) == ("mask" if saliency == "mask" else "saliency", "saliency")
        assert len(made(saliency_by=saliency).stages()) == 1
    assert SPMix.auxiliary_images(SPMixConfig(saliency_by="mask", guide="constant")) == ()


def test_labels_fed_decide_the_prior():
    counts = np.array([90, 9, 1, 0])
    assert label_shares(counts, "natural").tolist() == pytest.approx([0.9, 0.09, 0.01, 0])
    assert label_shares(counts, "balanced").tolist() == pytest.approx([1 / 3] * 3 + [0])
    roots = np.sqrt([90, 9, 1, 0])
    assert label_shares(counts, "square_root").tolist() == pytest.approx((roots / roots.sum()).tolist())
    with pytest.raises(InputError, match="feeds other shares of the classes in every epoch"):
        label_shares(counts, "progressive")
    prior = stage_of(made(kind=GPaCo, training={"sampling": "balanced"})).contrast.prior
    assert prior.tolist() == pytest.approx([1 / 3] * 3)


# --- bad input --------------------------------------------------------------------------------------------------------


def test_one_image_of_a_class_no_image_of_a_class_and_two_classes():
    absent = stage_of(made(labels=(0, 0, 0, 1)))  # none of c2, one of c1
    assert absent.losses(batch(2))["contrast"].isfinite()
    two = made(labels=(0, 0, 0, 1), classes=2)
    given = {**batch(2), "label": torch.tensor([0, 0]), "partner_label": torch.tensor([0, 1])}
    assert stage_of(two).losses(given)["contrast"].isfinite()


def test_a_queue_longer_than_the_data_is_said(capsys):
    made(queue=100)
    out, err = capsys.readouterr()
    assert "the queue of 100 vectors is longer than the 9 training images" in " ".join((out + err).split())


def test_losses_without_effect_findings_and_missing_layers_are_refused():
    with pytest.raises(InputError, match="loss='focal' has no effect: spmix learns by GPaCo's loss"):
        made(training={"loss": "focal"})
    with pytest.raises(InputError, match="'test_resnet' has no patch tokens"):
        made("test_resnet", mix="tokens")
    findings = task_from_dict(
        {
            "name": "classification",
            "kind": "multi-label",
            "classes": ["a", "b"],
            "ordered": False,
            "specificity": 0.9,
        }
    )
    with pytest.raises(InputError, match="learns one class an image, and these are findings"):
        GPaCo(GPaCoConfig(), SimpleNamespace(task=findings, training={}, stage_training={}))
