"""PRIOR's stages: which networks learn when, what padding and order change, and that it learns to find pairs."""

import pytest
import torch
from image_text_pairs import SIDE, pairs, vocabulary
from torch import nn

from modicum.errors import InputError
from modicum.methods.base import Context
from modicum.methods.convirt import ConVIRT, ConVIRTConfig, one_sentence_of
from modicum.methods.gloria import GLoRIA, GLoRIAConfig
from modicum.methods.image_text import same_reports, shuffled_sentences
from modicum.methods.prior import Prior, PriorConfig
from modicum.nn import Backbone
from modicum.tasks.image_text.retrieval_scores import RetrievalScores
from modicum.tasks.image_text.task import ImageText, ImageTextOptions

TEXT = {"text_width": 16, "text_depth": 1, "text_heads": 2, "text_hidden": 32, "text_dropout": 0.0, "report_length": 25,
        "max_sentences": 8, "width": 16}  # fmt: skip
PRIOR = {**TEXT, "heads": 2, "prototypes": 12, "queries": 6, "decoder_depth": 1, "decoder_heads": 2}


class SmallCNN(Backbone):
    """Three convolutions with batch norm to a 7 x 7 map, in place of a timm network."""

    def __init__(self, width=24):
        nn.Module.__init__(self)
        self.name, self.image_size, self.num_features, self.random = "small", (SIDE, SIDE), width, True
        layers = []
        for before, after in ((3, 12), (12, 24), (24, width)):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.5), persistent=False)
        self.register_buffer("std", torch.full((1, 3, 1, 1), 0.25), persistent=False)

    def feature_map(self, images):
        return self.body(self.normalise(images))

    def pool(self, features):
        return features.mean((2, 3))

    def forward(self, images):
        return self.pool(self.feature_map(images))

    def spatial(self, features):
        return features


def made(kind=Prior, config=None, seed=0, **settings):
    torch.manual_seed(seed)
    options = ImageTextOptions(report_length=25, sentences=8, scores="retrieval")
    task = ImageText(options, vocabulary=vocabulary())
    config = (config or PriorConfig)(**{**(PRIOR if kind is Prior else TEXT), **settings})
    return kind(config, Context(task, SmallCNN, {}, {}, image_size=(SIDE, SIDE)))


def total(losses):
    return sum(losses.values())


# --- what learns when -------------------------------------------------------------------------------------------------


def test_prototypes_learn_from_the_second_stage_on_and_decoders_in_the_third():
    method, batch = made(), pairs(4, 0)
    align, prototype, reconstruct = method.stages()
    names = [align.losses(batch).keys(), prototype.losses(batch).keys(), reconstruct.losses(batch).keys()]
    assert list(names[0]) == ["global", "local_image", "local_text"]
    assert list(names[1]) == [*names[0], "prototype"]
    assert list(names[2]) == [*names[1], "image", "sentences", "divergence", "report"]
    for stage, bank, decoders in ((align, False, False), (prototype, True, False), (reconstruct, True, True)):
        reconstruct.zero_grad()
        total(stage.losses(batch)).backward()
        assert (reconstruct.bank.prototypes.grad is not None) == bank
        assert all((p.grad is not None) == decoders for p in reconstruct.decoders.parameters())
        lacking = [n for n, p in stage.named_parameters() if p.grad is None and "segment" not in n]
        assert lacking == []  # nothing is carried that never learns
        assert {id(p) for p in stage.parameters()} >= {id(p) for p in align.parameters()}


def test_an_ablation_is_a_weight_of_nothing_or_a_stage_that_is_left_out():
    only = made(last_stage="align", local_image_weight=0, local_text_weight=0)
    (align,) = only.stages()
    assert list(align.losses(pairs(4, 0))) == ["global"]
    none = made(sentence_weight=0, divergence_weight=0, report_weight=0, image_weight=0).stages()[2]
    assert list(none.losses(pairs(4, 0))) == ["global", "local_image", "local_text", "prototype"]


def test_weights_of_nothing_leave_no_parameter_without_a_gradient_in_data_parallel_training(monkeypatch):
    monkeypatch.setattr("modicum.methods.image_text.pairs.processes", lambda: 2)
    off = dict.fromkeys(("local_image_weight", "local_text_weight", "image_weight", "sentence_weight"), 0)
    for stage in made(**off, divergence_weight=0, report_weight=0).stages():
        total(stage.losses(pairs(4, 0))).backward()
        assert all(parameter.grad is not None for parameter in stage.parameters())


def test_settings_that_leave_nothing_to_learn_are_refused():
    with pytest.raises(InputError, match="the first stage would learn nothing"):
        PriorConfig(global_weight=0, local_image_weight=0, local_text_weight=0)
    with pytest.raises(InputError, match="queries is 16, and reports have 8 sentences at most"):
        PriorConfig(max_sentences=8)


# --- what changes nothing ---------------------------------------------------------------------------------------------


def eval_losses(stage, batch):
    return {name: loss.item() for name, loss in stage.eval().losses(batch).items()}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_padding_and_the_order_of_pairs_change_nothing(number):
    stage, batch = made(max_sentences=8).stages()[number], pairs(4, 1, sentences=4)
    before = eval_losses(stage, batch)
    order = torch.tensor([2, 0, 3, 1])
    turned = eval_losses(stage, {name: values[order] for name, values in batch.items()})
    assert turned == pytest.approx(before, abs=1e-4)
    longer = {**batch}
    for name, value in (("tokens", 0), ("tokens_mask", False), ("sentence_index", -1)):
        longer[name] = nn.functional.pad(batch[name], (0, 9), value=value)
    assert eval_losses(stage, longer) == pytest.approx(before, abs=1e-4)
    unmasked = {**longer, "tokens_mask": torch.ones_like(longer["tokens_mask"])}  # the control
    assert eval_losses(stage, unmasked)["global"] != pytest.approx(before["global"], abs=1e-5)


def test_rows_without_a_report_change_no_loss_of_reports():
    stage, batch = made().stages()[1], pairs(5, 2)
    silent = {**batch, "sentence_index": batch["sentence_index"].clone()}
    silent["sentence_index"][4] = -1
    alone = eval_losses(stage, {name: values[:4] for name, values in batch.items()})
    assert eval_losses(stage, silent) == pytest.approx(alone, abs=1e-4)


def test_sentences_move_whole_and_the_first_token_and_padding_stay():
    batch = pairs(3, 0, sentences=4)
    noise = torch.tensor([[0.9, 0.1, 0.5, 0.3, 0, 0, 0, 0]]).expand(3, -1)
    tokens, index = shuffled_sentences(batch["tokens"], batch["tokens_mask"], batch["sentence_index"], noise)
    assert index[0, :17].tolist() == [-1, *[2] * 4, *[4] * 4, *[3] * 4, *[1] * 4]
    assert (tokens[:, 17:] == 0).all()
    for number in range(1, 5):
        old, new = batch["tokens"][0][batch["sentence_index"][0] == number], tokens[0][index[0] == number]
        assert old.tolist() == new.tolist()
    still = shuffled_sentences(
        batch["tokens"], batch["tokens_mask"], batch["sentence_index"], torch.zeros(3, 8)
    )
    assert (still[0] == batch["tokens"]).all()


def test_same_reports_are_known_and_others_are_apart():
    tokens = pairs(6, 0)["tokens"].clone()
    tokens[3] = tokens[1]
    same = same_reports(tokens)
    assert same[1, 3]
    assert int(same.sum()) == 8
    assert not same_reports(torch.tensor([[5, 7], [7, 5]]))[0, 1]  # the order of words counts


def test_convirt_can_share_prototypes_as_mgca_does():
    (stage,) = made(ConVIRT, ConVIRTConfig, clusters=5).stages()
    losses = stage.losses(pairs(4, 0))
    assert list(losses) == ["contrast", "clusters"]
    losses["clusters"].backward()
    assert stage.clusters.grad.abs().max() > 0


def test_convirt_reads_one_sentence():
    batch = pairs(2, 0)
    shown = one_sentence_of(batch["tokens_mask"], batch["sentence_index"], torch.tensor([0.0, 0.999]))
    assert batch["sentence_index"][0][shown[0]].tolist() == [-1, 1, 1, 1, 1]
    assert batch["sentence_index"][1][shown[1]].tolist() == [-1, 6, 6, 6, 6]


# --- evaluation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "config"), [(Prior, PriorConfig), (ConVIRT, ConVIRTConfig), (GLoRIA, GLoRIAConfig)]
)
def test_answers_are_the_same_twice_and_in_any_batch(kind, config):
    method, batch = made(kind, config), pairs(5, 3)
    stage = method.stages()[-1].eval()
    with torch.no_grad():
        first, again = stage(batch), stage(batch)
        alone = torch.cat([stage({n: v[i : i + 1] for n, v in batch.items()}) for i in range(5)])
        assert torch.equal(first, again)
        torch.testing.assert_close(alone, first, atol=1e-5, rtol=1e-5)
        model = method.image_text().eval()
        images, texts = model.images(batch["image"]), model.texts(*(batch[n] for n in NAMES))
        reading = model.reading(images, texts)
        local = model.local_similarity(images, texts)
    assert model.similarity(images, texts).shape == (5, 5)
    if kind is ConVIRT:
        assert reading is None
        assert local is None
        return
    assert local.shape == (5, 5)
    assert reading.shape[:2] == (5, 5)
    assert reading.shape[3] == 49 == model.grid[0] * model.grid[1]
    assert 0 <= reading.min() <= reading.max() <= 1


NAMES = ("tokens", "tokens_mask", "sentence_index")


def test_similarity_uses_the_scale_and_not_its_logarithm():
    method, batch = made(temperature=0.05), pairs(3, 3)
    model = method.image_text().eval()
    with torch.no_grad():
        images, texts = model.images(batch["image"]), model.texts(*(batch[n] for n in NAMES))
        cosine = nn.functional.cosine_similarity(images.whole[:, None], texts.whole[None], dim=2)
        torch.testing.assert_close(model.similarity(images, texts), 20 * cosine, atol=1e-3, rtol=1e-4)


def test_scrambled_regions_are_an_option_without_maps():
    method, batch = made(regions="scrambled"), pairs(3, 3)
    assert all(loss.isfinite() for loss in method.stages()[2].losses(batch).values())
    model = method.image_text().eval()
    with torch.no_grad():
        images, texts = model.images(batch["image"]), model.texts(*(batch[n] for n in NAMES))
        assert model.reading(images, texts) is None


def test_learned_scales_stay_below_their_bound():
    (align, *_), batch = made().stages(), pairs(3, 3)
    with torch.no_grad():
        align.network.log_global_scale.fill_(9.0)
    losses = align.losses(batch)
    assert align.network.log_global_scale.exp().item() == pytest.approx(100)
    total(losses).backward()
    assert align.network.log_global_scale.grad != 0


# --- learning ---------------------------------------------------------------------------------------------------------


def trained(kind, config, steps, *, stages=1, shuffled=False, **settings):
    """A method after so many steps of each stage, and the prototype loss at the start and end of the second."""
    method = made(kind, config, temperature=0.07, **settings)
    batch, distances = pairs(800, 0), []
    if shuffled:
        order = torch.randperm(800, generator=torch.Generator().manual_seed(5))
        batch["image"] = batch["image"][order]
    for stage in list(method.stages())[:stages]:
        optimizer = torch.optim.AdamW(stage.parameters(), lr=1e-3)
        generator = torch.Generator().manual_seed(1)
        stage.train()
        for step in range(steps):
            torch.manual_seed(step)
            rows = torch.randint(800, (32,), generator=generator)
            losses = stage.losses({name: values[rows] for name, values in batch.items()})
            optimizer.zero_grad()
            total(losses).backward()
            optimizer.step()
            if "prototype" in losses:
                distances.append(losses["prototype"].item())
    return method, distances


@torch.no_grad()
def recall(stage, count=200):
    batch, scores = pairs(count, 99), RetrievalScores()
    scores.update(stage.eval()(batch), batch)
    return scores.metrics()["image_to_text_recall_at_5"]


LEARN = {"width": 64, "text_width": 64, "text_depth": 2, "text_hidden": 128, "prototypes": 64}


def test_a_few_steps_lower_the_loss_of_wholes():
    method = made(temperature=0.07, last_stage="align", **LEARN)
    (stage,), batch = method.stages(), pairs(16, 0)
    optimizer, values = torch.optim.AdamW(stage.parameters(), lr=1e-3), []
    for step in range(25):
        torch.manual_seed(step)
        losses = stage.losses(batch)
        optimizer.zero_grad()
        total(losses).backward()
        optimizer.step()
        values.append(losses["global"].item())
    assert values[0] > 2.5  # ln 16 is 2.77
    assert values[-1] < 1.5


@pytest.fixture(scope="module")
def learned():
    return trained(Prior, PriorConfig, 150, stages=2, last_stage="prototype", **LEARN)


def test_pairs_find_each_other_far_above_chance(learned):
    assert recall(learned[0].stages()[0]) >= 0.15  # chance: 0.025


def test_sentences_come_near_their_prototypes(learned):
    distances = learned[1]
    assert sum(distances[-10:]) < 2 / 3 * sum(distances[:10])
    assert learned[0].stages()[1].findings()["prototype_perplexity"] > 2


def test_shuffled_pairs_find_nothing():
    method, _ = trained(Prior, PriorConfig, 60, shuffled=True, last_stage="align", **LEARN)
    assert recall(method.stages()[0]) < 0.08


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_three_hundred_steps_reach_what_the_release_does(seed):
    """Recall at 5 of the official losses: 0.515, 0.480 and 0.465; 0.30 is asked for."""
    method, _ = trained(Prior, PriorConfig, 300, seed=seed, last_stage="align", **LEARN)
    assert recall(method.stages()[0]) >= 0.30
