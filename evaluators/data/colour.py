"""Random changes of colour in batches: brightness, contrast, saturation and hue as torchvision defines them, and
lighting.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ..devices import constant
from ..randomness import generator

GREY = (0.2989, 0.587, 0.114)
"""Luma of R, G, B, with torchvision's digits (ITU-R BT.601)."""
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
"""Of the covariance of ImageNet's pixels in [0, 1] (Krizhevsky et al., NIPS 2012, section 4.1; the digits are those
that pycls and others use). Rows are R, G, B, columns belong to the eigenvalues."""
ORDERS = tuple(itertools.permutations(range(4)))
Change = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Colour:
    """First ``brightness``, ``contrast``, ``saturation`` and ``hue`` in a random order, then lighting.

    The first three scale by a factor from U(max(0, 1 - v), 1 + v), hue turns by U(-v, v) of a full circle, as
    torchvision's ``ColorJitter`` does for each image. Lighting adds ``EIGENVECTORS @ (a * EIGENVALUES)`` with a ~ N(0,
    ``lighting``) to every pixel.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    lighting: float = 0.0

    @property
    def jitters(self) -> bool:
        return max(self.brightness, self.contrast, self.saturation, self.hue) > 0

    @property
    def columns(self) -> int:
        """k of :meth:`draw`."""
        return 5 * self.jitters + 3 * (self.lighting > 0)

    def draw(self, seed: int, epoch: int, uses: int) -> npt.NDArray[np.float32]:
        """(uses, k) of order, the four factors in the order of the arguments, and the three a; what is switched off has
        no columns.
        """
        parts = [np.empty((uses, 0), dtype=np.float32)]
        if self.jitters:
            rng = generator(seed, "augmentation jitter", epoch)
            unit = rng.random((uses, 5), dtype=np.float32)
            strengths = (self.brightness, self.contrast, self.saturation)
            low, high = (
                np.array([max(0.0, 1 - v) for v in strengths] + [-self.hue]),
                np.array([1 + v for v in strengths] + [self.hue]),
            )
            factors = (low + (high - low) * unit[:, 1:]).astype(np.float32)
            parts += [np.minimum(np.floor(unit[:, :1] * len(ORDERS)), len(ORDERS) - 1), factors]
        if self.lighting > 0:
            rng = generator(seed, "augmentation lighting", epoch)
            parts.append(self.lighting * rng.standard_normal((uses, 3), dtype=np.float32))
        drawn: npt.NDArray[np.float32] = np.concatenate(parts, axis=1, dtype=np.float32)
        return drawn

    def apply(self, x: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """``x: (B, 3, h, w)`` float in [0, 1], ``drawn: (B, k)`` from :meth:`draw`. Lighting may leave [0, 1]."""
        drawn = drawn.to(x.dtype)
        if self.jitters:
            x = self._jitter(x, drawn)
        if self.lighting > 0:
            values, vectors = constant(EIGENVALUES, x), constant(EIGENVECTORS, x)
            x = x + ((drawn[:, -3:] * values) @ vectors.T)[:, :, None, None]
        return x

    def _jitter(self, x: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        changes: list[Change] = [brightness, contrast, saturation, hue]
        used = [strength > 0 for strength in (self.brightness, self.contrast, self.saturation, self.hue)]
        if x.device.type != "cpu":
            return self._jitter_all(x, drawn, changes, used)
        orders = [ORDERS[int(order)] for order in drawn[:, 0].tolist()]
        x = x.clone()
        for turn in range(4):
            for change in range(4):
                chosen = [i for i, order in enumerate(orders) if order[turn] == change] if used[change] else []
                if chosen:
                    index = torch.tensor(chosen, device=x.device)
                    x[index] = changes[change](x[index], drawn[index, 1 + change][:, None, None, None])
        return x

    def _jitter_all(
        self, x: torch.Tensor, drawn: torch.Tensor, changes: Sequence[Change], used: Sequence[bool]
    ) -> torch.Tensor:
        """The same without asking a device which images have their turn: every change is made to all of them, and kept
        for some.
        """
        orders = constant(ORDERS, drawn)[drawn[:, 0].long()]
        for turn in range(4):
            before = x
            for change in (change for change in range(4) if used[change]):
                changed = changes[change](before, drawn[:, 1 + change, None, None, None])
                x = torch.where((orders[:, turn] == change)[:, None, None, None], changed, x)
        return x


def grey(x: torch.Tensor) -> torch.Tensor:
    """Luma of ``x: (B, 3, h, w)``: (B, 1, h, w)."""
    red, green, blue = x.unbind(1)
    return (GREY[0] * red + GREY[1] * green + GREY[2] * blue)[:, None]


def brightness(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """``x: (B, 3, h, w)`` in [0, 1] times ``factor: (B, 1, 1, 1)``, clamped to [0, 1]."""
    return (x * factor).clamp(0, 1)


def contrast(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Blend with the image's mean luma."""
    mean = grey(x).mean((1, 2, 3), keepdim=True)
    return (factor * x + (1 - factor) * mean).clamp(0, 1)


def saturation(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Blend with each pixel's luma."""
    return (factor * x + (1 - factor) * grey(x)).clamp(0, 1)


def hue(x: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Turn the hue of HSV by ``turn: (B, 1, 1, 1)`` of a full circle."""
    red, green, blue = x.unbind(1)
    value, low = x.amax(1), x.amin(1)
    chroma = value - low
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))  # a grey pixel has no hue; any will do
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    angle = 6 * turn[:, 0] + sixth
    # Channel n of HSV's inverse is value - chroma * clamp(min(k, 4 - k), 0, 1) with k = (n + angle) mod 6 for n = 5
    # (R), 3 (G), 1 (B).
    k = torch.remainder(angle[:, None] + constant((5, 3, 1), x)[:, None, None], 6)
    return (value[:, None] - chroma[:, None] * torch.minimum(k, 4 - k).clamp(0, 1)).clamp(0, 1)
