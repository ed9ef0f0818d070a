"""DR grading against the figures of its publication's code, and the defects of that code."""

import copy

import numpy as np
import pytest
import timm
import torch
from torch import nn

from modicum.engine.inference.attribution import attribution_map
from modicum.errors import InputError
from modicum.methods.base import Context
from modicum.methods.decision import Rows
from modicum.methods.dr_grading import DrGrading, DrGradingConfig
from modicum.nn import Backbone
from modicum.nn.maxout import PairwiseMax, fusion_head
from modicum.tasks import Classification

GRADES = ("0", "1", "2", "3", "4")


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def method(name: str = "test_resnet", output: str = "score", **config) -> DrGrading:
    torch.manual_seed(0)
    task = Classification("multi-class", GRADES, ordered=True, output=output)
    loss = "mse" if output == "score" else "cross_entropy"
    context = Context(
        task,
        lambda: Backbone(name, (32, 32)),
        {"label": np.arange(5)},
        {"loss": loss},
        image_size=(32, 32),
    )
    return DrGrading(DrGradingConfig(**config), context)


@pytest.fixture(scope="module")
def resnet50() -> DrGrading:
    return method("resnet50")


def test_resnet50_and_its_fusion_head_have_the_published_counts(resnet50):
    one, both = resnet50.stages()
    assert count(one.network) == 23_510_081
    assert count(both.head) == 8_915_712 == 8_390_656 + 524_800 + 256
    whole = count(resnet50.encoder) + count(both.head)
    assert whole == 32_423_744
    assert count(both.head) / whole == pytest.approx(0.275, abs=5e-4)
    assert count(method("resnet50", output="logits", fusion=False).predictor()) == 23_518_277


@pytest.mark.parametrize(("side", "billions"), [(128, 1.335), (512, 21.353), (1024, 85.413)])
def test_an_eye_costs_the_published_multiplications(side, billions):
    with torch.device("meta"):
        network = timm.create_model("resnet50", num_classes=1)
    found = []

    def count_of(module, given, answer):
        size = answer[0, 0].numel() if isinstance(module, nn.Conv2d) else 1
        found.append(module.weight.numel() * size)

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count_of)
    network(torch.empty(1, 3, side, side, device="meta"))
    assert sum(found) / 1e9 == pytest.approx(billions, abs=6e-4)


def test_the_head_halves_as_published():
    shapes = []
    signal = torch.randn(2, 4096)
    for layer in fusion_head(2048):
        signal = layer(signal)
        if not isinstance(layer, nn.ReLU):
            shapes.append(signal.shape[1])
    assert shapes == [2048, 1024, 512, 256, 1]
    assert fusion_head(2048)[-1].bias is None


def test_pairwise_maximum_is_of_neighbours_not_of_halves():
    features = torch.randn(3, 10)
    expected = torch.stack([features[:, 2 * k : 2 * k + 2].amax(1) for k in range(5)], 1)
    assert torch.equal(PairwiseMax()(features), expected)


def test_a_width_that_cannot_be_halved_is_refused():
    with pytest.raises(InputError, match="12 features"):
        fusion_head(12)


def pair_batch(size: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "image": torch.rand(size, 3, 32, 32, generator=generator),
        "fellow_image": torch.rand(size, 3, 32, 32, generator=generator),
        "label": torch.arange(size) % 5,
    }


@pytest.mark.parametrize("size", [1, 4])
def test_only_the_head_learns_and_batch_statistics_stay(size):
    """The release trained the frozen encoder's batch statistics along, and squeezed a batch of one to a scalar."""
    both = method().stages()[1]
    before = copy.deepcopy(both.state_dict())
    for module in both.modules():
        module.train()  # as a trainer would, module by module, without asking the stage
    both.train()
    (update,) = both.updates()
    optimizer = torch.optim.SGD(update.parameters, lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        sum(update.losses(pair_batch(size)).values()).backward()
        optimizer.step()
    changed = {name for name, value in both.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("head.") for name in changed)
    if size > 1:  # one image can leave a unit of the maxout without a gradient
        assert changed == {name for name in before if name.startswith("head.")}
    assert all(p.grad is None for name, p in both.named_parameters() if not name.startswith("head."))


EYES = Rows(
    ["a_L", "a_R", "b_L", "c_?", "a_L2"],
    ["a", "a", "b", "c", "a"],
    ["L", "R", "L", None, "L"],
    [None] * 5,
)


def test_an_eye_is_graded_with_its_fellow_in_its_own_place_first():
    made = method()
    one, both = made.stages()
    for stage in (one, both):
        stage.eval()
    images = torch.rand(5, 3, 32, 32)
    with torch.no_grad():
        outputs = made.predictor()(images)
        decision = made.decide(outputs, EYES)
        features = made.encoder(images)
        first = both.head(torch.cat([features[[0]], features[[1]]], 1))
        second = both.head(torch.cat([features[[1]], features[[0]]], 1))
        third = both.head(torch.cat([features[[4]], features[[1]]], 1))
        alone = one.network(images)
    assert torch.allclose(decision.outputs[[0]], first, atol=1e-6)
    assert torch.allclose(decision.outputs[[1]], second, atol=1e-6)
    assert torch.allclose(decision.outputs[[4]], third, atol=1e-6), (
        "the fellow of a second photograph of an eye"
    )
    assert not torch.allclose(first, second), "the order of the eyes matters"
    assert torch.allclose(decision.outputs[2:4], alone[2:4], atol=1e-6), "without a fellow: the eye alone"
    assert decision.columns["fellow_missing"].tolist() == [False, False, True, True, False]


def test_a_pair_costs_two_passes_of_the_encoder():
    made = method()
    made.stages()[1].eval()
    seen = []
    made.encoder.register_forward_hook(lambda module, given, found: seen.append(len(given[0])))
    with torch.no_grad():
        outputs = made.predictor()(torch.rand(2, 3, 32, 32))
        made.decide(outputs, EYES.take(np.array([0, 1])))
    assert sum(seen) == 2


def test_classes_instead_of_a_score_get_a_head_of_as_many_outputs():
    """The release offers five-way cross-entropy for both eyes, with a head of one output."""
    made = method(output="logits")
    for stage in made.stages():
        stage.eval()
    with torch.no_grad():
        decision = made.decide(made.predictor()(torch.rand(5, 3, 32, 32)), EYES)
    assert decision.outputs.shape == (5, 5)


def test_one_eye_alone_is_decided_image_by_image_so_that_examples_get_a_map():
    assert (method().decides_over, method(fusion=False).decides_over) == ("set", "image")
    predictor = method(fusion=False).predictor().eval()
    found = attribution_map(predictor, torch.rand(1, 3, 96, 96), 0)
    assert found is not None
    assert found[1] == "Grad-CAM"


def test_one_eye_alone_is_a_plain_network():
    made = method(fusion=False)
    assert [stage.name for stage in made.stages()] == ["one_eye"]
    images = torch.rand(5, 3, 32, 32)
    made.stages()[0].eval()
    with torch.no_grad():
        outputs = made.predictor()(images)
        assert torch.equal(made.decide(outputs, EYES).outputs, outputs)
        assert torch.allclose(made.merge()(images), outputs)


def test_a_vision_transformer_takes_the_place_of_resnet():
    made = method("test_vit")
    with torch.no_grad():
        outputs = made.predictor()(torch.rand(2, 3, 32, 32))
    assert outputs.shape == (2, made.encoder.num_features + 1)


def test_examples_show_where_the_grade_of_the_eye_comes_from():
    made = method("resnet18")
    made.stages()[1].eval()
    image = torch.rand(1, 3, 96, 96)
    found, name = made.predictor().explain(image, 0)
    assert found.shape == (1, 1, 3, 3)
    assert "alone" in name
    assert torch.isfinite(found).all()
