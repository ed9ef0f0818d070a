"""Random masking of whole words of reports (MRM, Zhou et al., ICLR 2023, arXiv 2301.13155)."""

from jaxtyping import Bool, Float, Int64
from torch import Tensor


def masked_words(
    tokens: Int64[Tensor, "reports length"],
    continuation: Bool[Tensor, "vocabulary"],
    noise: Float[Tensor, "reports length"],
    ratio: float = 0.5,
    pad: int = 0,
) -> Bool[Tensor, "reports length"]:
    """Selects tokens to mask: each word with probability ``ratio``, with all of its pieces.

    The first token (``[CLS]``) and the last are never masked, nor any from the first padding on. All masked tokens are
    to be replaced by ``[MASK]``; none are kept or replaced by random ones.

    Args:
        tokens: ids of reports.
        continuation: for each token of the vocabulary, whether it continues a word.
        noise: uniform in [0, 1), one per token; the i-th word is masked if the i-th number is below ``ratio``.
        ratio: share of the words to mask.
        pad: id of padding.

    >>> import torch
    >>> tokens = torch.tensor([[2, 7, 8, 9, 0, 0]])  # 8 continues the word of 7
    >>> continuation = torch.arange(10) == 8
    >>> masked_words(tokens, continuation, torch.tensor([[0.9, 0.1, 0.9, 0.9, 0.9, 0.9]])).int().tolist()
    [[0, 1, 1, 0, 0, 0]]
    """
    inside = (tokens == pad).cumsum(1) == 0
    inside[:, 0] = False
    inside[:, -1] = False
    begins = ~continuation[tokens]
    begins[:, 1] = True  # a report cut off at its start still begins with a word
    begins[:, 0] = False
    word = begins.cumsum(1)
    return (noise.gather(1, word) < ratio) & inside
