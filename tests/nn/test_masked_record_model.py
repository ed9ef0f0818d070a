"""The network of MRM: published counts, BERT's answer on the same weights, and where gradients go."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from modicum.errors import InputError
from modicum.nn import (
    MaskedEncoder,
    MaskedRecordModel,
    ReportEncoder,
    count_parameters,
    mask_patches,
    vision_transformer,
)

WORDS = 60


def size(module: nn.Module) -> int:
    return count_parameters(module)[0]


def small_report(seed: int = 0, **changes) -> ReportEncoder:
    torch.manual_seed(seed)
    return ReportEncoder(
        **({"vocab_size": WORDS, "width": 16, "depth": 2, "heads": 2, "length": 12} | changes)
    )


def small_model(seed: int = 0, **report) -> MaskedRecordModel:
    torch.manual_seed(seed)
    body = vision_transformer(image_size=16, patch_size=4, width=32, depth=2, heads=4)
    return MaskedRecordModel(MaskedEncoder(body), small_report(**report), width=24, depth=1, heads=2)


def reports(
    batch: int = 2, length: int = 12, real: int = 8, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.randint(4, WORDS, (batch, length), generator=torch.Generator().manual_seed(seed))
    tokens[:, 0] = 2
    tokens[:, real:] = 0
    return tokens, tokens != 0


def completed(model: MaskedRecordModel, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Predicted patches and word scores of a made batch."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(2, 3, 16, 16, generator=generator)
    predicted, tokens = model(images, mask_patches(torch.rand(2, 16, generator=generator), 0.75))
    return predicted, model.report.logits(model.report_features(tokens, *reports(seed=seed)))


# --- counts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "total"),
    [
        ({"pooler": True}, 151_605_168),
        ({}, 151_457_328),
        ({"tied": True}, 151_457_328 - 11_520_000),
        ({"tied": True, "pooler": True}, 151_605_168 - 11_520_000),
    ],
)
def test_parameter_counts_are_the_published_ones(options, total):
    with torch.device("meta"):
        model = MaskedRecordModel(MaskedEncoder(vision_transformer()), ReportEncoder(**options))
    assert size(model) == total
    tables = 2 * 151_296
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == total - tables


def test_the_parts_of_the_report_branch_have_the_published_counts():
    with torch.device("meta"):
        model = MaskedRecordModel(MaskedEncoder(vision_transformer()), ReportEncoder(pooler=True))
    report = model.report
    assert size(model.projection) == 295_296
    assert (
        sum(size(part) for part in (report.word, report.position, report.segment, report.norm)) == 11_559_936
    )
    assert size(report.layers) == 10_646_784
    assert size(report.pooler) == 147_840
    assert size(report.head) + size(report.output) == 11_698_608
    assert size(report) == 34_053_168


# --- the report's encoder ---------------------------------------------------------------------------------------


def bert_like(report: ReportEncoder) -> nn.Module:
    """A BERT of the transformers library with the same weights."""
    transformers = pytest.importorskip(
        "transformers", reason="needs transformers, another implementation to compare with"
    )
    settings = transformers.BertConfig(
        vocab_size=report.word.num_embeddings,
        hidden_size=report.width,
        num_hidden_layers=len(report.layers),
        num_attention_heads=2,
        intermediate_size=4 * report.width,
        max_position_embeddings=report.length,
        tie_word_embeddings=False,
    )
    bert = transformers.BertForMaskedLM(settings).eval()
    embeddings = bert.bert.embeddings
    pairs = {
        embeddings.word_embeddings: report.word,
        embeddings.position_embeddings: report.position,
        embeddings.token_type_embeddings: report.segment,
        embeddings.LayerNorm: report.norm,
        bert.cls.predictions.transform.dense: report.head[0],
        bert.cls.predictions.transform.LayerNorm: report.head[2],
    }
    for theirs, ours in zip(bert.bert.encoder.layer, report.layers, strict=True):
        pairs |= {
            theirs.attention.output.dense: ours.self_attn.out_proj,
            theirs.attention.output.LayerNorm: ours.norm1,
            theirs.intermediate.dense: ours.linear1,
            theirs.output.dense: ours.linear2,
            theirs.output.LayerNorm: ours.norm2,
        }
        own = theirs.attention.self
        for part, weight, bias in zip(
            (own.query, own.key, own.value),
            ours.self_attn.in_proj_weight.chunk(3),
            ours.self_attn.in_proj_bias.chunk(3),
            strict=True,
        ):
            part.weight.data.copy_(weight)
            part.bias.data.copy_(bias)
    for theirs, ours in pairs.items():
        theirs.load_state_dict(ours.state_dict())
    bert.cls.predictions.decoder.weight.data.copy_(report.output.weight)
    bert.cls.predictions.decoder.bias.data.copy_(report.output.bias)
    bert.cls.predictions.bias = bert.cls.predictions.decoder.bias
    return bert


@pytest.mark.parametrize("gradients", [True, False])
def test_without_an_image_it_is_bert(gradients):
    report = small_report().eval()
    for parameter in report.parameters():
        nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        report.word.weight[0] = 0
    bert, (tokens, mask) = bert_like(report), reports()
    with torch.set_grad_enabled(gradients):
        found = report.logits(report(tokens, mask, torch.zeros(2, 16)))
        expected = bert(input_ids=tokens, attention_mask=mask.long()).logits
    torch.testing.assert_close(found[mask], expected[mask], atol=1e-4, rtol=1e-4)


def test_in_training_dropout_has_berts_places():
    transformers = pytest.importorskip(
        "transformers", reason="needs transformers, another implementation to compare with"
    )
    layer = transformers.models.bert.modeling_bert.BertLayer(
        transformers.BertConfig(num_attention_heads=2, hidden_size=16)
    )
    theirs = sum(isinstance(part, nn.Dropout) for part in layer.modules())  # weights, attention, MLP
    ours = small_report().layers[0]
    modules = sum(isinstance(part, nn.Dropout) for part in ours.modules())
    assert modules + (ours.self_attn.dropout > 0) == theirs == 3


def test_the_image_is_added_to_every_token_behind_the_norm_of_the_embeddings():
    report, (tokens, mask) = small_report(depth=0).eval(), reports()
    image = torch.randn(2, 16)
    difference = report(tokens, mask, image) - report(tokens, mask, torch.zeros(2, 16))
    torch.testing.assert_close(difference, image.unsqueeze(1).expand(-1, 12, -1), atol=1e-5, rtol=1e-5)


def test_what_stands_in_padding_does_not_change_real_tokens():
    report, (tokens, mask) = small_report().eval(), reports()
    other = torch.where(mask, tokens, 17)
    image = torch.randn(2, 16)
    first, second = (report.logits(report(words, mask, image)) for words in (tokens, other))
    torch.testing.assert_close(first[mask], second[mask], atol=1e-5, rtol=0)
    assert not torch.allclose(first[~mask], second[~mask])


def test_a_report_that_is_all_padding_gives_finite_features():
    report = small_report()
    tokens = torch.zeros(1, 12, dtype=torch.int64)
    assert report(tokens, tokens != 0, torch.randn(1, 16)).isfinite().all()


def test_paddings_embedding_is_zero_and_words_have_the_published_spread():
    for tied in (False, True):
        report = ReportEncoder(vocab_size=2_000, width=64, depth=1, heads=2, tied=tied)
        assert not report.word.weight[0].any()
        assert report.word.weight[1:].std().item() == pytest.approx(0.02, rel=0.02)
        assert (report.output.weight is report.word.weight) == tied


def test_the_published_output_layer_is_xavier_initialised():
    assert pytest.approx(0.0081, abs=5e-5) == (2 / (384 + 30_000)) ** 0.5
    report = ReportEncoder(vocab_size=3_000, depth=0)
    assert report.output.weight.std().item() == pytest.approx((2 / 3_384) ** 0.5, rel=0.01)


def test_reports_that_are_too_long_and_widths_that_do_not_divide_are_errors():
    tokens, mask = reports(length=13)
    with pytest.raises(InputError, match="reports of 13 tokens, and the network was made for at most 12"):
        small_report()(tokens, mask, torch.zeros(2, 16))
    with pytest.raises(InputError, match="3 heads do not divide a report width of 16"):
        small_report(heads=3)


# --- image and report together ----------------------------------------------------------------------------------


def test_reports_are_told_the_mean_of_the_projected_patches_and_not_the_class_token():
    model, tokens = small_model(), torch.randn(2, 5, 32)
    expected = torch.stack([model.projection(image[1:]).mean(0) for image in tokens])
    torch.testing.assert_close(model.image_features(tokens), expected, atol=1e-5, rtol=1e-5)
    changed = tokens.clone()
    changed[:, 0] += 1
    assert torch.equal(model.image_features(changed), model.image_features(tokens))


def gradients_of(model: nn.Module, loss: torch.Tensor) -> set[str]:
    """Names of parameters that the loss moves."""
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


def learnable(model: nn.Module, *beginnings: str) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad and name.startswith(beginnings)}


def test_the_images_loss_moves_encoder_and_decoder_and_nothing_else():
    model = small_model(pooler=True)
    moved = gradients_of(model, completed(model)[0].square().mean())
    assert moved == learnable(model, "encoder.", "decoder.")


def test_the_reports_loss_moves_the_encoder_through_the_image_and_not_the_decoder():
    model = small_model(pooler=True)
    words, _ = reports()
    moved = gradients_of(model, F.cross_entropy(completed(model)[1].flatten(0, 1), words.flatten()))
    pooler = learnable(model, "report.pooler")
    assert moved == learnable(model, "encoder.", "report.", "projection.") - pooler
    assert {"encoder.body.cls_token", "encoder.body.patch_embed.proj.weight"} <= moved


def test_the_unused_pooler_is_all_that_no_loss_moves():
    model = small_model(pooler=True)
    predicted, logits = completed(model)
    moved = gradients_of(model, predicted.square().mean() + logits.square().mean())
    assert learnable(model, "") - moved == {"report.pooler.weight", "report.pooler.bias"}
