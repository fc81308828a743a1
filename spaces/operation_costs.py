"""Parameters and multiply-adds of the candidate operations, in closed form and without torch.

On c channels and p output pixels, with batch norms that learn scale and shift (2 c parameters, no multiply-adds):

=====================  ==========================  =========================
operation              parameters                  multiply-adds
=====================  ==========================  =========================
``sep_conv_kxk``       2 (k^2 c + c^2 + 2c)        2 (k^2 c + c^2) p
``dil_conv_kxk``       k^2 c + c^2 + 2c            (k^2 c + c^2) p
``conv_kxk``           k^2 c^2 + 2c                k^2 c^2 p
``conv_kx1_1xk``       2 k c^2 + 2c                k c^2 (p + pixels between)
``skip_connect``, s=2  c^2 + 2c                    c^2 p
others                 0                           0
=====================  ==========================  =========================
"""

from __future__ import annotations

import re

from .errors import SpaceError, closest, shown
from .stems import Sides, halved

FAMILIES = {
    "none": (),
    "noise": (),
    "skip_connect": (),
    "avg_pool": (3, 5),
    "max_pool": (3, 5, 7),
    "sep_conv": (3, 5, 7),
    "dil_conv": (3, 5, 7),
    "conv": (1, 3, 5),
    "nor_conv": (1, 3),
    "factorized": (3, 7),
}
"""Operations and their kernels. ``factorized`` is written ``conv_7x1_1x7``."""


def names() -> list[str]:
    """All operations that can be built."""
    listed = []
    for family, kernels in FAMILIES.items():
        listed += [f"conv_{k}x1_1x{k}" if family == "factorized" else f"{family}_{k}x{k}" for k in kernels] or [family]
    return listed


def parse(name: str) -> tuple[str, int]:
    """(family, kernel) of an operation; kernel 0 where there is none.

    Raises:
        SpaceError: no such operation.
    """
    if isinstance(name, str) and name in FAMILIES and not FAMILIES[name]:
        return name, 0
    match = (
        re.fullmatch(r"(avg_pool|max_pool|sep_conv|dil_conv|conv|nor_conv)_(\d)x\2", name)
        if isinstance(name, str)
        else None
    )
    if match and int(match[2]) in FAMILIES[match[1]]:
        return match[1], int(match[2])
    match = re.fullmatch(r"conv_(\d)x1_1x\1", name) if isinstance(name, str) else None
    if match and int(match[1]) in FAMILIES["factorized"]:
        return "factorized", int(match[1])
    raise SpaceError(f"unknown operation {shown(name)}; {closest(str(name), names())}")


def conv_bn(inputs: int, outputs: int, kernel: int = 1) -> int:
    """Parameters of a convolution without bias and an affine batch norm; also of a factorized reduction."""
    return kernel**2 * inputs * outputs + 2 * outputs


def cost(name: str, c: int, stride: int, sides: Sides) -> tuple[int, int]:
    """(parameters, multiply-adds) of operation ``name`` on ``c`` channels and an input of ``sides``."""
    family, k = parse(name)
    out = halved(sides) if stride == 2 else sides
    pixels = out[0] * out[1]
    if family == "sep_conv":
        return 2 * (k * k * c + c * c + 2 * c), 2 * (k * k * c + c * c) * pixels
    if family == "dil_conv":
        return k * k * c + c * c + 2 * c, (k * k * c + c * c) * pixels
    if family == "factorized":
        return 2 * k * c * c + 2 * c, k * c * c * (pixels + sides[0] * out[1])
    if family in ("conv", "nor_conv"):
        return conv_bn(c, c, k), k * k * c * c * pixels
    if family == "skip_connect" and stride == 2:
        return conv_bn(c, c), c * c * pixels
    return 0, 0
