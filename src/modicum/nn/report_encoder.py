"""The report branch of MRM: a small BERT that adds an image vector to every token."""

from typing import cast

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.nn.masked_encoder import xavier_initialise

_EPSILON = 1e-12


class ReportEncoder(nn.Module):
    """BERT-style encoder of masked reports (MRM, Zhou et al., ICLR 2023, section 3).

    Post-norm layers; the image's feature vector is added to every token after the embeddings' norm. Initialised as the
    published code does (see :func:`~modicum.nn.masked_encoder.xavier_initialise`).

    Args:
        vocab_size: tokens.
        width: features of a token.
        depth: layers.
        heads: attention heads of a layer.
        length: tokens of a report at most.
        pad: id of padding, whose embedding stays zero.
        dropout: share of features and attention weights set to zero in training.
        tied: let the output layer share the word embeddings.
        pooler: have the unused pooling layer of the published network, for parity of counts.
    """

    def __init__(
        self,
        vocab_size: int = 30_000,
        width: int = 384,
        depth: int = 6,
        heads: int = 6,
        length: int = 100,
        pad: int = 0,
        dropout: float = 0.1,
        *,
        tied: bool = False,
        pooler: bool = False,
    ) -> None:
        super().__init__()
        if width % heads:
            raise InputError(
                f"{heads} heads do not divide a report width of {width}", "use a multiple of the heads"
            )
        self.width, self.length = width, length
        self.word = nn.Embedding(vocab_size, width, padding_idx=pad)
        self.position = nn.Embedding(length, width)
        # One of two is used; the other exists for weights of the published shape.
        self.segment = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=_EPSILON)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(_layer(width, heads, dropout) for _ in range(depth))
        self.pooler = nn.Linear(width, width) if pooler else None
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width, eps=_EPSILON))
        self.output = nn.Linear(width, vocab_size)
        if tied:
            self.output.weight = self.word.weight
        xavier_initialise(self)

    def forward(
        self,
        tokens: Int64[Tensor, "batch length"],
        mask: Bool[Tensor, "batch length"],
        image: Float[Tensor, "batch width"],
    ) -> Float[Tensor, "batch length width"]:
        """Features of each token.

        Args:
            tokens: ids, with the tokens to predict already masked.
            mask: False for padding, which no token attends to. The first token is always attended to.
            image: added to every token.

        Raises:
            InputError: reports longer than the network was made for.
        """
        if tokens.shape[1] > self.length:
            raise InputError(
                f"reports of {tokens.shape[1]} tokens, and the network was made for at most {self.length}",
                f"encode reports with at most {self.length} tokens",
            )
        token_index = torch.arange(tokens.shape[1], device=tokens.device)
        summed = self.word(tokens) + self.position(token_index) + self.segment.weight[0]
        features = self.dropout(self.norm(summed)) + image.unsqueeze(1)
        padding = ~mask
        padding[:, 0] = False  # a row without any key would have no attention at all
        for layer in self.layers:
            features = layer(features, src_key_padding_mask=padding)
        return features

    def logits(self, features: Float[Tensor, "*tokens width"]) -> Float[Tensor, "*tokens vocabulary"]:
        """Scores of all words, for each token. With 30,000 words they are the largest tensor of a training step."""
        return self.output(self.head(features))


def _layer(width: int, heads: int, dropout: float) -> nn.TransformerEncoderLayer:
    layer = nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout, "gelu", layer_norm_eps=_EPSILON, batch_first=True
    )
    # BERT has no dropout inside its MLP.
    layer.dropout = cast(nn.Dropout, nn.Identity())
    return layer
