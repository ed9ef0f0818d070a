"""Efficiency metrics: performance-parameter and performance-memory efficiency.

Source: "FPT+: A Parameter and Memory Efficient Transfer Learning Method for High-resolution Medical Image
Classification" (arXiv 2408.02426) and its published code: the natural exponential of a base-10 logarithm.
"""

import math


def ppe(score: float, learnable_percent: float) -> float:
    """Performance-parameter efficiency, ``score * exp(-log10(r/100 + 1))``.

    Args:
        score: in percent.
        learnable_percent: ``r``, learnable parameters in percent of all.

    Returns:
        The score if no parameter is learned, 0.74 of it if all are.
    """
    return score * math.exp(-math.log10(learnable_percent / 100 + 1))


def pme(score: float, memory: float, memory_of_full: float) -> float:
    """Performance-memory efficiency, ``score * exp(-log10(m/m_full + 1))``.

    Args:
        score: in percent.
        memory: ``m``, peak training memory, in any unit.
        memory_of_full: ``m_full``, that of full fine-tuning with the same batch, in the same unit.

    Raises:
        ValueError: ``memory_of_full`` is not positive.
    """
    if memory_of_full <= 0:
        raise ValueError(f"memory of full fine-tuning is {memory_of_full}, not positive")
    return ppe(score, 100 * memory / memory_of_full)
