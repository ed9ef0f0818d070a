"""PRIOR's networks: the published counts to the unit, regions that are places, and reading that has no order."""

import pytest
import torch
from torch import nn

from modicum.nn import (
    AttentionPool,
    Backbone,
    Bert,
    BertSize,
    CrossModalReconstruction,
    LocalAttention,
    PriorNetwork,
    RegionEncoder,
    SentenceEncoder,
    SentencePrototypes,
    SetDecoder,
    mean_by_sentence,
)
from modicum.nn.image_decoder import ImageDecoder
from modicum.nn.prior_network import padded

WORDS = 28_996
TINY = BertSize(16, 2, 2, 32, 64)


def count(*modules):
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def published():
    """ResNet-50 with a grey stem and BERT-base, as in the release, with what it never uses."""
    with torch.device("meta"):
        backbone = Backbone("resnet50", (224, 224))
        images = RegionEncoder(backbone)
        backbone.body.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        texts = SentenceEncoder(Bert(WORDS, pooler=True), dead_projection=True)
        decoders = CrossModalReconstruction(images.grid, (224, 224), dead_words=WORDS)
        return PriorNetwork(images, texts), SentencePrototypes(), decoders


def test_parameters_are_those_of_the_release():
    network, bank, decoders = published()
    assert count(network.images.backbone) == 23_501_760
    assert count(network.images.pool) == 16_887_808
    assert count(network.images.local_projection) == count(network.images.global_projection) == 1_573_632
    assert count(network.texts.bert) == 108_310_272
    assert count(network.texts.pool) == 2_362_368
    assert count(network.texts.projection) == 590_592
    assert count(network.attention) == 3_543_552
    assert count(network.predictor) == 590_976
    assert count(bank) == 393_216
    assert count(decoders.image) == 21_219_313
    assert count(decoders.sentences) - decoders.sentences.queries.numel() == 98_279_424
    assert decoders.sentences.queries.numel() == 12_288
    assert count(network, bank, decoders) == 279_429_427
    words = decoders.sentences.embeddings.word_embeddings
    never_used = count(network.texts.bert.pooler, network.texts.unused, words)
    assert never_used == 23_450_112
    assert 279_429_427 - never_used == 255_979_315


def test_what_is_never_used_is_not_there_unless_it_is_asked_for():
    with torch.device("meta"):
        texts = SentenceEncoder(Bert(30, TINY), 16, 2)
        assert texts.bert.pooler is None
        assert texts.unused is None
        assert not hasattr(SetDecoder(4, TINY).embeddings, "word_embeddings")


def test_bert_answers_as_transformers_does(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.BertModel(config).eval()
    ours = Bert(30, TINY).eval()
    ours.load_weights({f"bert.{name}": t for name, t in theirs.state_dict().items()}, "theirs")
    tokens = torch.randint(30, (3, 9))
    mask = torch.arange(9)[None] < torch.tensor([9, 4, 1])[:, None]
    with torch.no_grad():
        expected = theirs(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(ours(tokens, mask)[mask], expected[mask], rtol=1e-4, atol=1e-5)


class Cells(Backbone):
    """A "backbone" whose feature map is its image."""

    def __init__(self, channels=6, side=4):
        nn.Module.__init__(self)
        self.name, self.image_size, self.num_features = "cells", (side, side), channels
        self.first = nn.Parameter(torch.zeros(1))

    def feature_map(self, images):
        return (
            images if images.shape[1] == self.num_features else images.new_zeros(1, self.num_features, 4, 4)
        )

    def spatial(self, features):
        return features


@pytest.mark.parametrize(("regions", "changed"), [("ordered", {1}), ("scrambled", {2, 3, 4, 5, 6})])
def test_a_cell_of_the_map_is_one_region_and_is_spread_over_many_in_the_release(regions, changed):
    torch.manual_seed(0)
    encoder = RegionEncoder(Cells(), 8, 2, regions)
    image = torch.randn(1, 6, 4, 4)
    other = image.clone()
    other[:, :, 1, 2] += 1
    tokens = (encoder(other)[0] - encoder(image)[0]).abs().amax((0, 2)) > 1e-6
    assert int(tokens.sum()) in changed
    if regions == "ordered":
        assert tokens.nonzero().flatten().tolist() == [1 * 4 + 2]


def test_a_report_has_no_order_and_one_sentence_is_projected_alone():
    torch.manual_seed(0)
    pool, sentences = AttentionPool(8, 2), torch.randn(2, 5, 8)
    torch.testing.assert_close(pool(sentences), pool(sentences[:, [3, 0, 4, 1, 2]]))
    present = torch.tensor([[True] * 3 + [False] * 2, [True] + [False] * 4])
    masked = pool(sentences, present)
    torch.testing.assert_close(masked[0], pool(sentences[:1, :3])[0])
    torch.testing.assert_close(masked[1], pool.output(pool.value(sentences[1, 0])))
    nothing = pool(sentences, torch.zeros(2, 5, dtype=torch.bool))
    assert nothing.isfinite().all()


def test_a_sentence_is_the_mean_of_its_tokens():
    words = torch.arange(12.0).view(1, 6, 2)
    sentences, present = mean_by_sentence(words, torch.tensor([[-1, 1, 1, 2, 2, -1]]), 3)
    assert sentences[0].tolist() == [[3, 4], [7, 8], [0, 0]]
    assert present[0].tolist() == [True, True, False]


def test_reading_is_that_of_one_pair_at_a_time_and_regions_ignore_padding():
    torch.manual_seed(0)
    attention, regions, sentences = LocalAttention(8), torch.randn(3, 5, 8), torch.randn(3, 4, 8)
    present = torch.arange(4)[None] < torch.tensor([4, 2, 1])[:, None]
    of_sentences, of_regions = attention(regions, sentences, present)
    for row, number in enumerate((4, 2, 1)):
        a, s = regions[row], sentences[row, :number]
        image, text = attention.of_image, attention.of_text
        read = torch.sigmoid(text["query"](s) @ image["key"](a).T / 8**0.5) @ image["value"](a)
        torch.testing.assert_close(of_sentences[row, :number], read)
        read = torch.sigmoid(image["query"](a) @ text["key"](s).T / 8**0.5) @ text["value"](s)
        torch.testing.assert_close(of_regions[row], read)


def test_prototypes_are_their_own_mixture_and_gradients_reach_all_of_them():
    torch.manual_seed(0)
    bank = SentencePrototypes(64, 256).eval()
    mixed = bank(bank.prototypes.detach())
    torch.testing.assert_close(mixed, bank.prototypes, atol=1e-5, rtol=0)
    assert (bank.logits(bank.prototypes).argmax(1) == torch.arange(64)).all()
    small = SentencePrototypes(6, 4)
    sentences = torch.randn(2, 3, 4, requires_grad=True)
    small(sentences).sum().backward()
    assert (small.prototypes.grad.abs().amax(1) > 0).all()
    assert (sentences.grad.abs().amax(2) > 0).all()


def test_prototypes_draw_in_training_alone_and_count_their_use():
    torch.manual_seed(0)
    bank, sentences = SentencePrototypes(6, 4), torch.randn(2, 3, 4)
    assert not torch.equal(bank(sentences), bank(sentences))
    bank.eval()
    assert torch.equal(bank(sentences), bank(sentences))
    with torch.no_grad():
        bank.prototypes[:4] = 10 * torch.eye(4)
    bank.count_usage(torch.eye(4)[None], torch.ones(1, 4, dtype=torch.bool))
    assert bank.perplexity() == pytest.approx(4, rel=1e-3)
    bank.forget_usage()
    assert bank.usage.sum() == 0


def test_queries_hear_of_each_other_both_ways_and_regions_have_no_order():
    torch.manual_seed(0)
    decoder, regions = SetDecoder(5, TINY).eval(), torch.randn(2, 7, 16)
    with torch.no_grad():
        before = decoder(regions)
        torch.testing.assert_close(decoder(regions.flip(1)), before, atol=1e-5, rtol=1e-5)
        decoder.queries[0, 3] = torch.randn(16)
        changed = (decoder(regions) - before).abs().amax(2)
    assert (changed > 1e-6).all()  # the release's are causal: those before the fourth would stay


def test_images_come_back_at_their_size_and_a_report_is_padded():
    decoder = ImageDecoder(32, (3, 3), (20, 20)).eval()
    assert decoder(torch.randn(2, 32, 3, 3)).shape == (2, 1, 20, 20)
    present = torch.tensor([[True, True, False]])
    kept, there = padded(torch.ones(1, 3, 4), present, 5)
    assert kept.sum(2).tolist() == [[4, 4, 0, 0, 0]]
    assert there.tolist() == [[True, True, False, False, False]]
    assert padded(torch.ones(1, 3, 4), present, 1)[0].shape == (1, 1, 4)
