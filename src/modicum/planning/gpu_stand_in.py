"""What a GPU would compute with, followed on a CPU's fake tensors, so that no GPU nor CUDA build is needed to count.

PyTorch aborts where a fake CUDA tensor meets autograd in a build without CUDA. The two devices differ in three
things that memory depends on; inside :func:`gpu_kernels` the CPU does as a GPU does:

* autocast: a GPU computes norms, softmax, sums and powers in float32, a CPU in what it is given;
* attention: a GPU has fused kernels for dropout, for masks that learn, and for bfloat16, where the CPU's falls back
  on the whole attention matrix;
* dropout: a GPU keeps a mask of bytes, a CPU one of the activations' type.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

aten = torch.ops.aten

# Operations that autocast runs in float32 on a GPU and leaves alone on a CPU.
_IN_FLOAT32 = (
    *("layer_norm", "native_layer_norm", "group_norm", "rms_norm", "cosine_similarity", "logsumexp", "dist"),
    *("exp", "expm1", "log", "log10", "log1p", "log2", "reciprocal", "rsqrt", "softplus", "erfinv", "renorm"),
    *("acos", "asin", "cosh", "sinh", "tan", "pow.Scalar", "pow.Tensor_Scalar", "pow.Tensor_Tensor"),
    *("norm.Scalar", "norm.ScalarOpt_dim", "frobenius_norm.dim", "upsample_nearest2d", "upsample_bilinear2d"),
    *("upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "_upsample_nearest_exact2d"),
)
# Operations that autocast asks for a result in float32 on a GPU.
_TO_FLOAT32 = ("softmax.int", "log_softmax.int", "sum", "sum.dim_IntList", "cumsum", "cumprod")

_LARGEST_FLASH_HEAD = 256  # dimensions of one head
_ALIGNMENT = 16  # bytes to which rows of queries, keys and values must be aligned


@contextmanager
def gpu_kernels() -> Iterator[None]:
    """Inside the block, this process' CPU operations choose types and kernels like a GPU with bfloat16 does.

    For counting on fake tensors only: some of these kernels have no code for a CPU's real tensors.
    """
    library = torch.library.Library("aten", "IMPL")
    try:
        for name in _IN_FLOAT32:
            library.impl(name, _in_float32(_operation(name)), "AutocastCPU")
        for name in _TO_FLOAT32:
            library.impl(name, _to_float32(_operation(name)), "AutocastCPU")
        library.impl("scaled_dot_product_attention", _attention, "AutogradCPU")
        library.impl("dropout", _dropout, "AutogradCPU")
        yield
    finally:
        library._destroy()


def _operation(name: str) -> Callable[..., Any]:
    packet, _, overload = name.partition(".")
    found: Callable[..., Any] = getattr(getattr(aten, packet), overload or "default")
    return found


def _below_autocast() -> Any:
    return torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU))


def _in_float32(operation: Callable[..., Any]) -> Callable[..., Any]:
    def cast(value: Any) -> Any:
        half = isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
        return value.float() if half else value

    def kernel(*args: Any, **kwargs: Any) -> Any:
        with _below_autocast():
            return operation(*map(cast, args), **{name: cast(value) for name, value in kwargs.items()})

    return kernel


def _to_float32(operation: Callable[..., Any]) -> Callable[..., Any]:
    def kernel(*args: Any, **kwargs: Any) -> Any:
        half = args[0].dtype in (torch.bfloat16, torch.float16)
        if half and kwargs.get("dtype") is None and not any(isinstance(a, torch.dtype) for a in args):
            kwargs["dtype"] = torch.float32
        with _below_autocast():
            return operation(*args, **kwargs)

    return kernel


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The kernel that CUDA's choice falls on: flash, memory-efficient, or the one that keeps the whole matrix."""
    dims = query.shape[-1], value.shape[-1]
    aligned = all(dim * query.element_size() % _ALIGNMENT == 0 for dim in dims)
    half = query.dtype in (torch.bfloat16, torch.float16)
    plain = not enable_gqa and query.ndim == key.ndim == value.ndim == 4
    if plain and half and attn_mask is None and dims[0] == dims[1] <= _LARGEST_FLASH_HEAD:
        pad = -dims[0] % 8
        query, key, value = (F.pad(part, (0, pad)) if pad else part for part in (query, key, value))
        scale = dims[0] ** -0.5 if scale is None else scale
        out = aten._scaled_dot_product_flash_attention(query, key, value, dropout_p, is_causal, scale=scale)
        return out[0][..., : dims[0]] if pad else out[0]
    if plain and aligned:
        bias = _bias(attn_mask, query, key)
        keep = any(part.requires_grad for part in (query, key, value))
        out = aten._scaled_dot_product_efficient_attention(
            query, key, value, bias, keep, dropout_p, is_causal, scale=scale
        )
        return out[0]
    return aten._scaled_dot_product_attention_math(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
    )[0]


def _bias(mask: Tensor | None, query: Tensor, key: Tensor) -> Tensor | None:
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, float("-inf"))
    return mask.expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])


def _dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """With a mask of bytes."""
    return aten.native_dropout(input, p, train)[0] if train and p else input
