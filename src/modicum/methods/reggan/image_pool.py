"""The pool of earlier translations (Shrivastava et al., CVPR 2017, arXiv 1612.07828; CycleGAN)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Hands out made images, half of them from earlier steps, so that a discriminator does not forget.

    While the pool fills, every image is kept and handed back. Then each is, with probability one half, swapped for a
    random one of the pool. Draws come from PyTorch's global generator on the CPU. The images are buffers: they follow
    the module to its device and are in its state, so that a training goes on as if it had not stopped.

    Args:
        capacity: images in the pool.
        shape: channels, height and width of an image.
    """

    def __init__(self, capacity: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(capacity, *shape))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))
        self.images: Tensor
        self.filled: Tensor

    @torch.no_grad()
    def exchange(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """As many images as are given, detached."""
        images = images.detach().to(self.images.dtype)
        handed = []
        filled = int(self.filled)
        for image in images:
            if filled < len(self.images):
                self.images[filled] = image
                filled += 1
                handed.append(image)
            elif torch.rand(()) > 0.5:
                place = int(torch.randint(len(self.images), ()))
                handed.append(self.images[place].clone())
                self.images[place] = image
            else:
                handed.append(image)
        self.filled.fill_(filled)
        return torch.stack(handed)
