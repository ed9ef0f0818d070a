"""A dry run that cannot be done says in one line which stage, which operation, and what to do instead."""

from dataclasses import replace

import pytest
import torch
from task_data import recipe_of
from torch import nn
from torch.distributions import Beta

from modicum.errors import InputError
from modicum.methods import FitStage, Method, TrainStage, Update
from modicum.nn import Backbone, Classifier, count_parameters, linear_head
from modicum.planning.data_facts import assumed_facts
from modicum.planning.memory import predicted


class Stage(TrainStage):
    name = "tune"

    def __init__(self, network, loss, code):
        super().__init__()
        self.network, self.loss, self.code = network, loss, code

    def updates(self):
        return [Update("network", list(self.network.parameters()), self.losses)]

    def forward(self, batch):
        return self.network(batch["image"])

    def losses(self, batch):
        return {"loss": self.loss(self.code(self(batch), batch), batch)}


class Pretext(Stage):
    name, scored = "pretext", False

    def forward(self, batch):
        raise AssertionError("nobody scores a pretext")

    def losses(self, batch):
        return {"size": self.network(batch["image"]).square().mean()}


class Counting(FitStage):
    name = "counting"

    def see(self, batch):
        raise AssertionError("nothing is fitted in a dry run")

    def finish(self):
        return None


def method(*codes, kinds=(Stage,), before=()):
    class Made(Method):
        name, summary, tasks = "made", "", ("classification",)
        stage_training = {"pretext": {"epochs": 3}, "tune": {}}  # noqa: RUF012

        def __init__(self, config, context):
            super().__init__(config, context)
            backbone = context.backbone()
            network = Classifier(backbone, linear_head(backbone.num_features, context.task.num_outputs))
            made = [
                kind(network, context.loss(), code)
                for kind, code in zip(kinds, codes or [same] * len(kinds), strict=True)
            ]
            self._stages = [*(kind() for kind in before), *made]

        def stages(self):
            return self._stages

        def predictor(self):
            return nn.Identity()

    return Made


def same(outputs, batch):
    return outputs


@pytest.fixture
def predict_of(monkeypatch):
    def predict(made, device="cpu", rows=None, **settings):
        for place in ("modicum.engine.recipe.new_recipe", "modicum.engine.model"):
            monkeypatch.setattr(f"{place}.method_class", lambda name: made)
        given = {"backbone": "test_resnet", "image_size": 32, "batch_size": 4, **settings}
        recipe = recipe_of("data", "full", given)
        facts = assumed_facts(recipe)
        return predicted(recipe, facts if rows is None else replace(facts, rows=rows), device)

    return predict


def mixed(outputs, batch):
    share = Beta(0.3, 0.3).sample((len(outputs), 1)).to(outputs.device)
    return share * outputs + (1 - share) * outputs.flip(0)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_stage_that_draws_from_a_distribution_takes_what_it_takes_without(device, predict_of):
    plain, drawn = predict_of(method(same), device), predict_of(method(mixed), device)
    # 4 rows of 2 outputs: those mixed and those flipped, the share, what is left of it, and the products' other sides.
    assert 0 < drawn.saved_bytes - plain.saved_bytes <= 256


def chosen(outputs, batch):
    """As many rows as their values say: all of them."""
    return outputs + 0 * outputs[outputs.square().sum(1) >= 0].sum()


def kept(outputs, batch):
    return outputs[outputs.argmax(1) == batch["label"]]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("batch", [1, 4, 16])
def test_where_sizes_depend_on_values_small_batches_are_learned_from_in_earnest(batch, device, predict_of):
    settings = {
        "batch_size": batch,
        "image_size": 64,
    }  # of 32 pixels one image has nothing to be normalised by
    plain, found = (
        predict_of(method(same), device, **settings),
        predict_of(method(chosen), device, **settings),
    )
    assert found.batch == batch
    assert found.weights_bytes == pytest.approx(
        plain.weights_bytes, rel=0.01
    )  # one more number in the account's parts
    # 8 outputs are kept at most, their masks and rows; what the dry run does not see is a CPU's small change.
    assert found.saved_bytes == pytest.approx(plain.saved_bytes, rel=0.02, abs=64 * batch)
    assert found.accounted_bytes == pytest.approx(plain.accounted_bytes, rel=0.02)


def broken(outputs, batch):
    raise KeyError("heatmap")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    ("code", "operation", "reason"),
    [
        # In earnest it fails too: what is kept does not fit the labels.
        (kept, r"operation aten\.(index|nonzero)", "depends on the values of images or weights|"),
        (broken, "KeyError", "heatmap"),
    ],
)
def test_whatever_fails_is_one_line_with_stage_operation_and_remedy(
    code, operation, reason, device, predict_of
):
    with pytest.raises(InputError, match=f"stage 'tune', {operation} .*{reason}") as caught:
        predict_of(method(code), device)
    assert "method 'full' with backbone 'test_resnet'" in caught.value.problem
    assert "test_dry_run_failures.py line" in caught.value.problem
    assert "\n" not in str(caught.value)
    assert "FakeTensor" not in str(caught.value)
    assert caught.value.remedy == "give --batch-size a number and leave --memory out"


def test_what_a_stage_says_itself_is_said_as_it_is(predict_of):
    def refused(outputs, batch):
        raise InputError("a batch has no 'boxes'", "name their column")

    with pytest.raises(InputError, match="a batch has no 'boxes'; name their column"):
        predict_of(method(refused))


def test_an_input_of_unknown_shape_is_named(predict_of):
    class Reads(Stage):
        reads = ("image", "fellow_depth")

    with pytest.raises(InputError, match="stage 'tune' reads 'fellow_depth', whose shape is not known"):
        predict_of(method(kinds=(Reads,)))


# --- stages of other kinds ------------------------------------------------------------------------------------


def test_a_stage_that_is_not_scored_needs_no_outputs_and_a_fitted_one_is_left_out(predict_of):
    found = predict_of(method(kinds=(Pretext,), before=(Counting,)))
    assert found.stage == "pretext"
    with pytest.raises(
        InputError, match=r"what method 'full' takes cannot be predicted \(AssertionError on noise"
    ):
        predict_of(method(kinds=(), before=(Counting,)))


class Bank(FitStage):
    """Keeps ten numbers of each image."""

    name = "bank"

    def __init__(self):
        super().__init__()
        self.kept = []
        self.register_buffer("bank", torch.zeros(0, 10))

    def see(self, batch):
        self.kept.append(batch["image"].flatten(1)[:, :10].clone())

    def finish(self):
        self.bank = torch.cat(self.kept)


@pytest.mark.parametrize("rows", [12, 16, 1000])
def test_what_is_fitted_alone_is_carried_on_from_a_few_images(predict_of, rows):
    found = predict_of(method(kinds=(), before=(Bank,)), rows=rows)
    assert (found.stage, found.accounted_bytes) == ("bank", rows * 10 * 4)
    assert found.peak_bytes >= 2 * found.accounted_bytes  # the pieces, and all of them together


def test_each_stage_has_its_own_batch_precision_and_optimiser(predict_of):
    both = method(kinds=(Pretext, Stage))
    plain = predict_of(both)
    large = predict_of(both, **{"pretext.batch_size": 12})
    alone = predict_of(method(kinds=(Pretext,)), batch_size=12)
    assert (large.stage, plain.batch) == ("pretext", 4)
    assert large.saved_bytes == alone.saved_bytes > 2 * plain.saved_bytes
    sgd = predict_of(both, **{"pretext.optimizer": "sgd", "tune.optimizer": "sgd"})
    parameters = sgd.accounted_bytes - sgd.saved_bytes
    assert parameters < plain.accounted_bytes - plain.saved_bytes


def test_what_another_stage_learns_has_no_gradients(predict_of):
    class Head(Stage):
        name = "tune"

        def updates(self):
            return [Update("head", list(self.network.head.parameters()), self.losses)]

    found = predict_of(method(kinds=(Head,)))
    held = predict_of(method(kinds=(Pretext, Head)))
    assert held.stage == "pretext"
    assert held.accounted_bytes >= found.accounted_bytes


def test_an_update_with_an_option_takes_the_state_that_it_needs(predict_of):
    class Amsgrad(Stage):
        def updates(self):
            return [Update("network", list(self.network.parameters()), self.losses, {"amsgrad": True})]

    plain, more = predict_of(method()), predict_of(method(kinds=(Amsgrad,)))
    backbone = Backbone("test_resnet", (32, 32))
    network = Classifier(backbone, linear_head(backbone.num_features, 2))
    assert more.accounted_bytes - plain.accounted_bytes == 4 * count_parameters(network)[0]
