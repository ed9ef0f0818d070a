"""How much each class counts in a loss."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from modicum.distributed import mean_over_processes
from modicum.errors import InputError


def without_images(empty: Sequence[int], names: Sequence[str] | None) -> InputError:
    """The error that classes have no images, by their names where these are known."""
    said = ", ".join(f"'{names[number]}'" if names is not None else str(number) for number in empty)
    which = f"class {said} has" if len(empty) == 1 else f"classes {said} have"
    return InputError(
        f"{which} no training images, so no weight can be given", "add images of it or leave the class out"
    )


def class_weights_from_counts(
    counts: Sequence[int] | Int[Tensor, "classes"], names: Sequence[str] | None = None
) -> Float[Tensor, "classes"]:
    """Weights that make all classes count the same in the loss: largest count / own count.

    Huang et al., "Identifying the key components in ResNet-50 for diabetic retinopathy grading" (Diagnostics
    2023, 13, 1664): the ``balance`` re-weighting, in which the largest class has weight 1.

    Raises:
        InputError: a class has no images.

    >>> class_weights_from_counts([100, 20, 40, 8, 4]).tolist()
    [1.0, 5.0, 2.5, 12.5, 25.0]
    """
    images = torch.as_tensor(counts, dtype=torch.int64, device="cpu")
    empty = torch.nonzero(images <= 0).flatten().tolist()
    if empty:
        raise without_images(empty, names)
    return (images.max() / images.double()).float()


def weighted_mean(
    losses: Float[Tensor, "batch"],
    target: Int[Tensor, "batch"],
    class_weights: Float[Tensor, "classes"] | None,
) -> Float[Tensor, ""]:
    """The mean over samples, each weighted by its class: sum(w loss) / sum(w), as PyTorch's cross-entropy has it.

    Dividing by the sum of the weights keeps them from changing the learning rate. A batch whose weights are all 0 has
    the loss 0.

    >>> weighted_mean(torch.tensor([1.0, 4.0]), torch.tensor([0, 1]), torch.tensor([1.0, 2.0])).item()
    3.0
    """
    if class_weights is None:
        return losses.mean()
    weights = class_weights.to(losses.dtype)[target.long()]
    total = mean_over_processes(weights.sum())
    return (weights * losses).sum() / total.clamp_min(torch.finfo(losses.dtype).tiny)


class ClassWeighted(nn.Module):
    """A loss with a weight a class; ``class_weights`` is a buffer and may be changed in place.

    Args:
        class_weights: one weight a class; None: all count the same.
    """

    class_weights: Tensor | None

    def __init__(self, class_weights: Float[Tensor, "classes"] | None = None) -> None:
        super().__init__()
        # Not persistent: weights belong to the recipe and the training labels, not to what was learned.
        self.register_buffer("class_weights", class_weights, persistent=False)
