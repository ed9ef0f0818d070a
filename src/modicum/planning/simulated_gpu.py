"""Simulates a GPU's execution of a network on tensors without values, so that no GPU or CUDA build is needed.

PyTorch aborts where a fake CUDA tensor meets autograd in a build without CUDA. So these are meta tensors, which say
that they are on a GPU. Three things that memory depends on are then chosen as CUDA chooses them: what autocast
computes in bfloat16 and what in float32, the kernel of attention, and the mask that dropout keeps.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

aten = torch.ops.aten

# What autocast runs in the lower precision on a GPU (ATen/autocast_mode.h).
_LOWER = (
    *("_convolution", "convolution", "conv1d", "conv2d", "conv3d", "conv_tbc", "conv_transpose1d"),
    *("conv_transpose2d.input", "conv_transpose3d.input", "prelu", "linear", "matmul", "mm", "mv", "bmm"),
    *("addmm", "addmv", "addr", "addbmm", "baddbmm", "einsum", "chain_matmul", "linalg_multi_dot"),
    *("linalg_vecdot", "scaled_dot_product_attention"),
)
# What it runs in float32.
_IN_FLOAT32 = (
    *("layer_norm", "native_layer_norm", "group_norm", "rms_norm", "cosine_similarity", "logsumexp", "dist"),
    *("exp", "expm1", "log", "log10", "log1p", "log2", "reciprocal", "rsqrt", "softplus", "erfinv", "renorm"),
    *("acos", "asin", "cosh", "sinh", "tan", "pow.Scalar", "pow.Tensor_Scalar", "pow.Tensor_Tensor"),
    *("norm.Scalar", "norm.ScalarOpt_dim", "upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d"),
    *("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "_upsample_nearest_exact2d", "cdist", "nll_loss"),
    *("nll_loss2d", "l1_loss", "mse_loss", "smooth_l1_loss", "huber_loss", "kl_div", "poisson_nll_loss"),
    *(
        "binary_cross_entropy_with_logits",
        "cosine_embedding_loss",
        "hinge_embedding_loss",
        "soft_margin_loss",
    ),
    *("margin_ranking_loss", "triplet_margin_loss", "multi_margin_loss", "multilabel_margin_loss"),
)
# What it asks for a result in float32.
_TO_FLOAT32 = (
    "softmax.int",
    "log_softmax.int",
    "sum",
    "sum.dim_IntList",
    "cumsum",
    "cumprod",
    "prod",
    "prod.dim_int",
)

_HALF = (torch.bfloat16, torch.float16)
_LARGEST_FLASH_HEAD = 256  # dimensions of one head
_ALIGNMENT = 16  # bytes to which rows of queries, keys and values must be aligned

_GPU = torch.device("cuda", 0)
# What reading the attributes calls.
_DEVICE, _IS_CUDA = (vars(torch._C.TensorBase)[name].__get__ for name in ("device", "is_cuda"))


class SimulatedGPU:
    """Inside ``with``, meta tensors act as a GPU's tensors; for counting only, one at a time in a process.

    Attributes:
        place: the device to make tensors on.
        block: bytes to whose multiples PyTorch's CUDA allocator rounds sizes up.
    """

    place = "meta"
    block = 512

    def __init__(self) -> None:
        self._library: Any = None
        self._mode = _SaysGPU()
        self._checks = ExitStack()
        self._casts: dict[int, tuple[Tensor, Tensor]] = {}

    def __enter__(self) -> None:
        self._library = torch.library.Library("aten", "IMPL")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that kernels are overridden, which is the purpose
            for names, make in (
                (_LOWER, self._lower),
                (_IN_FLOAT32, self._in_float32),
                (_TO_FLOAT32, self._to_float32),
            ):
                for name in names:
                    self._library.impl(name, make(_operation(name)), "AutocastCUDA")
            self._library.impl("scaled_dot_product_attention", _attention, "AutogradMeta")
            self._library.impl("dropout", _dropout, "AutogradMeta")
        self._checks.enter_context(_autocast_available())
        self._mode.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._mode.__exit__(*error)
        self._checks.close()
        self._library._destroy()

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """``torch.autocast("cuda", torch.bfloat16)``, for these tensors too."""
        key = torch._C.DispatchKey.AutocastCUDA  # meta tensors do not carry it
        with torch.autocast("cuda", torch.bfloat16), torch._C._IncludeDispatchKeyGuard(key):
            try:
                yield
            finally:
                self._casts.clear()

    def _lower(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        return _casting(operation, self._in_bfloat16)

    def _in_float32(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        return _casting(operation, _in_float32)

    def _to_float32(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def kernel(*args: Any, **kwargs: Any) -> Any:
            given = kwargs.get("dtype") or any(isinstance(value, torch.dtype) for value in args)
            if args[0].dtype in _HALF and not given:
                kwargs["dtype"] = torch.float32
            with _below_autocast():
                return operation(*args, **kwargs)

        return kernel

    def _in_bfloat16(self, value: Any) -> Any:
        if not _is_float(value) or value.dtype == torch.bfloat16:
            return value
        if not (value.is_leaf and value.requires_grad and not value._is_view()):
            return value.to(torch.bfloat16)
        # Weights that learn are cast once in a step, and kept until its end: PyTorch's own cache does so.
        if id(value) not in self._casts:
            self._casts[id(value)] = value, value.to(torch.bfloat16)
        return self._casts[id(value)][1]


def _casting(operation: Callable[..., Any], cast: Callable[[Any], Any]) -> Callable[..., Any]:
    def each(value: Any) -> Any:
        return type(value)(map(cast, value)) if isinstance(value, list | tuple) else cast(value)

    def kernel(*args: Any, **kwargs: Any) -> Any:
        with _below_autocast():
            return operation(*map(each, args), **{name: each(value) for name, value in kwargs.items()})

    return kernel


def _in_float32(value: Any) -> Any:
    return value.float() if _is_float(value) and value.dtype in _HALF else value


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_meta and value.dtype in (torch.float32, *_HALF)


def _operation(name: str) -> Callable[..., Any]:
    packet, _, overload = name.partition(".")
    operation: Callable[..., Any] = getattr(getattr(aten, packet), overload or "default")
    return operation


def _below_autocast() -> Any:
    return torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCUDA))


@contextmanager
def _autocast_available() -> Iterator[None]:
    """Keeps PyTorch's autocast for CUDA enabled on machines without a GPU."""
    from torch.cuda.amp import common

    before = common.amp_definitely_not_available, torch.cuda.is_bf16_supported
    common.amp_definitely_not_available = lambda: False
    torch.cuda.is_bf16_supported = lambda including_emulation=True: True
    try:
        yield
    finally:
        common.amp_definitely_not_available, torch.cuda.is_bf16_supported = before


class _SaysGPU(TorchFunctionMode):
    """Makes meta tensors report a GPU as their device, and puts tensors for a GPU on the meta device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func == _DEVICE:
            device = func(*args, **kwargs)
            return _GPU if device.type == "meta" else device
        if func == _IS_CUDA:
            return bool(args[0].is_meta)
        args = tuple(map(_not_gpu, args))
        return func(*args, **{name: _not_gpu(value) for name, value in kwargs.items()})


def _not_gpu(value: Any) -> Any:
    named = isinstance(value, str) and value.split(":")[0] == "cuda"
    on_gpu = isinstance(value, torch.device) and value.type == "cuda"
    return torch.device("meta") if named or on_gpu else value


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
    """The attention kernel that CUDA chooses: flash, memory-efficient, or math, which keeps the whole matrix."""
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
