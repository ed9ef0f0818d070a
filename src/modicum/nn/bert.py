"""BERT: an encoder of text whose tensors have the names of Hugging Face's ``transformers``, and a decoder of sets.

Devlin et al., NAACL 2019. Post-norm layers, learned positions, exact GELU.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.errors import InputError

_EPSILON = 1e-12


class BertSize(NamedTuple):
    """The numbers that define a BERT; the defaults are BERT-base's."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    positions: int = 512
    segments: int = 2


class _Embeddings(nn.Module):
    """Words (where there are any), positions and the segment, normalised."""

    def __init__(self, vocab_size: int | None, size: BertSize, dropout: float, pad: int) -> None:
        super().__init__()
        if vocab_size is not None:
            self.word_embeddings = nn.Embedding(vocab_size, size.width, padding_idx=pad)
        self.position_embeddings = nn.Embedding(size.positions, size.width)
        self.token_type_embeddings = nn.Embedding(size.segments, size.width)
        self.LayerNorm = nn.LayerNorm(size.width, eps=_EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, words: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        index = torch.arange(words.shape[1], device=words.device)
        summed = words + self.position_embeddings(index) + self.token_type_embeddings.weight[0]
        return self.dropout(self.LayerNorm(summed))


class _SelfAttention(nn.Module):
    def __init__(self, size: BertSize, dropout: float) -> None:
        super().__init__()
        self.heads, self.share = size.heads, dropout
        self.query, self.key, self.value = (nn.Linear(size.width, size.width) for _ in range(3))

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(queries), self.key(keys), self.value(keys))
        )
        read = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if mask is None else mask[:, None, None, :],
            dropout_p=self.share if self.training else 0.0,
        )
        return read.transpose(1, 2).flatten(2)


class _Added(nn.Module):
    """A linear layer, dropout, the residual and a norm."""

    def __init__(self, inputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, width)
        self.LayerNorm = nn.LayerNorm(width, eps=_EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(features)) + residual)


class _Attention(nn.Module):
    def __init__(self, size: BertSize, dropout: float) -> None:
        super().__init__()
        self.self = _SelfAttention(size, dropout)
        self.output = _Added(size.width, size.width, dropout)

    def forward(self, features: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
        return self.output(self.self(features, keys, mask), features)


class _Intermediate(nn.Module):
    def __init__(self, size: BertSize) -> None:
        super().__init__()
        self.dense = nn.Linear(size.width, size.hidden)


class _Layer(nn.Module):
    def __init__(self, size: BertSize, dropout: float, *, crosses: bool) -> None:
        super().__init__()
        self.attention = _Attention(size, dropout)
        self.crossattention = _Attention(size, dropout) if crosses else None
        self.intermediate = _Intermediate(size)
        self.output = _Added(size.hidden, size.width, dropout)

    def forward(self, features: Tensor, mask: Tensor | None, read: Tensor | None = None) -> Tensor:
        features = self.attention(features, features, mask)
        if self.crossattention is not None and read is not None:
            features = self.crossattention(features, read, None)
        return self.output(F.gelu(self.intermediate.dense(features)), features)


class _Layers(nn.Module):
    def __init__(self, size: BertSize, dropout: float, *, crosses: bool = False) -> None:
        super().__init__()
        self.layer = nn.ModuleList(_Layer(size, dropout, crosses=crosses) for _ in range(size.depth))


class _Pooler(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)


class Bert(nn.Module):
    """From tokens to a feature vector each.

    Args:
        vocab_size: tokens.
        size: of the network.
        dropout: share of features and attention weights set to zero in training.
        pad: id of padding.
        pooler: have BERT's pooling layer, which nothing here uses, for parity of counts.

    Raises:
        InputError: the heads do not divide the width.
    """

    def __init__(
        self,
        vocab_size: int,
        size: BertSize = BertSize(),  # noqa: B008 - a value
        dropout: float = 0.1,
        pad: int = 0,
        *,
        pooler: bool = False,
    ) -> None:
        super().__init__()
        check_heads(size.width, size.heads, "text encoder")
        self.size = size
        self.embeddings = _Embeddings(vocab_size, size, dropout, pad)
        self.encoder = _Layers(size, dropout)
        self.pooler = _Pooler(size.width) if pooler else None
        initialise_as_bert(self)

    def forward(self, tokens: Int64[Tensor, "b n"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b n width"]:
        """Features of each token.

        Args:
            tokens: ids.
            mask: False for padding, which no token attends to; the first token is always attended to.

        Raises:
            InputError: texts longer than the network has positions.
        """
        if tokens.shape[1] > self.size.positions:
            raise InputError(
                f"texts of {tokens.shape[1]} tokens, and the text encoder has {self.size.positions} positions",
                f"set report_length to {self.size.positions} or less",
            )
        first = torch.zeros_like(mask[0])
        first[0] = True
        mask = mask | first
        features = self.embeddings(self.embeddings.word_embeddings(tokens))
        for layer in self.encoder.layer:
            features = layer(features, mask)
        return features

    def load_weights(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Loads tensors under the names of ``transformers``, with or without ``bert.`` before them.

        Heads of masked words and the pooler are left out.

        Raises:
            InputError: tensors are missing or of another shape.
        """
        state = {name.removeprefix("bert."): tensor for name, tensor in weights.items()}
        # Checkpoints of before 2020 name the norms' tensors gamma and beta.
        state = {
            name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): t
            for name, t in state.items()
        }
        expected = self.state_dict()
        wrong = [name for name in expected if name not in state or state[name].shape != expected[name].shape]
        wrong = [name for name in wrong if not name.startswith("pooler.")]
        if wrong:
            raise InputError(
                f"weights '{source}' do not fit a BERT of this size: {len(wrong)} of {len(expected)} tensors are missing "
                f"or of another shape (for instance '{wrong[0]}')",
                "give a folder of a BERT with its own config.json and weights",
            )
        self.load_state_dict({**expected, **{name: state[name] for name in expected if name in state}})


class SetDecoder(nn.Module):
    """Learned queries that read an image and become a set of vectors, all at once (PRIOR, ICCV 2023).

    The queries attend to each other both ways (the release's are masked causally, against its own comment), then to the
    image, which has no order here.

    Args:
        queries: vectors of the set.
        size: of the network.
        dropout: as :class:`Bert`'s.
        dead_words: words of a table that is never used, for parity of counts with the release; 0 for none.
    """

    def __init__(self, queries: int, size: BertSize, dropout: float = 0.1, dead_words: int = 0) -> None:
        super().__init__()
        check_heads(size.width, size.heads, "decoder")
        self.queries = nn.Parameter(torch.randn(1, queries, size.width))
        self.embeddings = _Embeddings(dead_words or None, size, dropout, 0)
        self.encoder = _Layers(size, dropout, crosses=True)
        initialise_as_bert(self)

    def forward(self, regions: Float[Tensor, "b r width"]) -> Float[Tensor, "b q width"]:
        """The set that each image says."""
        features = self.embeddings(self.queries.expand(regions.shape[0], -1, -1))
        for layer in self.encoder.layer:
            features = layer(features, None, regions)
        return features


def check_heads(width: int, heads: int, part: str) -> None:
    """Raises :class:`InputError` where attention heads do not divide a width."""
    if width % heads:
        raise InputError(
            f"{heads} attention heads of the {part} do not divide its width of {width}",
            f"use a width that is a multiple of {heads}, or fewer heads",
        )


def initialise_as_bert(module: nn.Module) -> None:
    """Normal weights of deviation 0.02, biases 0, as BERT's; padding stays 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=0.02)
            if isinstance(part, nn.Linear):
                nn.init.zeros_(part.bias)
            elif part.padding_idx is not None:
                with torch.no_grad():
                    part.weight[part.padding_idx].zero_()
