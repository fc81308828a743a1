"""``torch.autocast`` on the simulated accelerator, with CUDA's lists of operations (those that networks here use).

Importing this registers it for the rest of the process.
"""

from __future__ import annotations

from typing import Any

import torch

from .device import DEVICE

LOW = [
    "conv1d",
    "conv2d",
    "conv3d",
    "convolution",
    "_convolution",
    "conv_transpose2d.input",
    "prelu",
    "addmm",
    "addmv",
    "addr",
    "matmul",
    "einsum",
    "mm",
    "mv",
    "linear",
    "addbmm",
    "baddbmm",
    "bmm",
]
"""In the type that was asked for."""
FULL = [
    "exp",
    "expm1",
    "log",
    "log10",
    "log2",
    "log1p",
    "reciprocal",
    "rsqrt",
    "pow.Tensor_Scalar",
    "pow.Tensor_Tensor",
    "pow.Scalar",
    "softplus",
    "layer_norm",
    "native_layer_norm",
    "group_norm",
    "cosine_similarity",
    "nll_loss",
    "nll_loss2d",
    "kl_div",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "mse_loss",
    "binary_cross_entropy_with_logits",
    "dist",
    "cdist",
    "logsumexp",
    "upsample_nearest2d",
    "upsample_bilinear2d",
    "upsample_bicubic2d",
    "prod",
    "prod.dim_int",
    "softmax.int",
    "log_softmax.int",
    "cumprod",
    "cumsum",
    "linalg_vector_norm",
    "sum",
    "sum.dim_IntList",
]
"""In single precision."""
WIDEST = ["addcdiv", "addcmul", "atan2", "bilinear", "dot", "grid_sampler", "index_put", "scatter_add"]
"""In the widest type of the arguments."""

_KEY = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)
_ALL, _ATEN = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
_ALL.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")


def _castable(value: Any) -> bool:
    on_device = isinstance(value, torch.Tensor) and value.device.type == DEVICE.type
    return on_device and value.is_floating_point() and value.dtype != torch.float64


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if _castable(value):
        return value.to(dtype)
    return type(value)(_cast(part, dtype) for part in value) if isinstance(value, list | tuple) else value


def _register(name: str, kind: list[str]) -> None:
    packet, _, overload = name.partition(".")
    func = getattr(getattr(torch.ops.aten, packet), overload or "default")

    def kernel(*args: Any, **kwargs: Any) -> Any:
        if kind is LOW:
            dtype = torch.get_autocast_dtype(DEVICE.type)
        else:
            wide = kind is FULL or any(_castable(a) and a.dtype == torch.float32 for a in args)
            dtype = torch.float32 if wide else torch.get_autocast_dtype(DEVICE.type)
        with torch._C._ExcludeDispatchKeyGuard(_KEY):
            return func(*_cast(args, dtype), **{key: _cast(value, dtype) for key, value in kwargs.items()})

    _ATEN.impl(name, kernel, "AutocastPrivateUse1")


for _kind in (LOW, FULL, WIDEST):
    for _name in _kind:
        _register(_name, _kind)
