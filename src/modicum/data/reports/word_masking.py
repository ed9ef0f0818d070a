"""Whole words of reports, hidden at random (MRM, Zhou et al., ICLR 2023, arXiv 2301.13155)."""

from jaxtyping import Bool, Float, Int64
from torch import Tensor


def masked_words(
    tokens: Int64[Tensor, "reports length"],
    continuation: Bool[Tensor, "vocabulary"],
    noise: Float[Tensor, "reports length"],
    ratio: float = 0.5,
    pad: int = 0,
) -> Bool[Tensor, "reports length"]:
    """Which positions are masked: each word with probability ``ratio``, with all of its pieces.

    The first position (``[CLS]``) and the last are never masked, nor is anything from the first padding on. All masked
    positions are to be replaced by ``[MASK]``; there are no random or kept ones.

    Args:
        tokens: ids of reports.
        continuation: for each token of the vocabulary, whether it goes on with a word.
        noise: uniform in [0, 1), one for each position; a word is masked where that of its number is below ``ratio``.
        ratio: share of the words.
        pad: id of padding.

    >>> import torch
    >>> tokens = torch.tensor([[2, 7, 8, 9, 0, 0]])  # 8 goes on with the word of 7
    >>> continuation = torch.arange(10) == 8
    >>> masked_words(tokens, continuation, torch.tensor([[0.9, 0.1, 0.9, 0.9, 0.9, 0.9]])).int().tolist()
    [[0, 1, 1, 0, 0, 0]]
    """
    inside = (tokens == pad).cumsum(1) == 0
    inside[:, 0] = False
    inside[:, -1] = False
    begins = ~continuation[tokens]
    begins[:, 1] = True  # a report cut off at its front begins with a word all the same
    begins[:, 0] = False
    word = begins.cumsum(1)
    return (noise.gather(1, word) < ratio) & inside
