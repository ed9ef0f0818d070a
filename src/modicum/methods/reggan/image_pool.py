"""The pool of earlier translations (Shrivastava et al., CVPR 2017, arXiv 1612.07828; CycleGAN)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Returns generated images, half of them from earlier steps, so that a discriminator does not forget.

    While the pool fills, every image is kept and returned. Then each is, with probability one half, swapped for a
    random one of the pool. Draws come from PyTorch's global generator on the CPU. The images are buffers: they follow
    the module to its device and are in its state, so that a resumed training continues exactly.

    Args:
        capacity: number of images in the pool.
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
        """Stores some of the images and returns as many, detached."""
        images = images.detach().to(self.images.dtype)
        returned = []
        filled = int(self.filled)
        for image in images:
            if filled < len(self.images):
                self.images[filled] = image
                filled += 1
                returned.append(image)
            elif torch.rand(()) > 0.5:
                index = int(torch.randint(len(self.images), ()))
                returned.append(self.images[index].clone())
                self.images[index] = image
            else:
                returned.append(image)
        self.filled.fill_(filled)
        return torch.stack(returned)
