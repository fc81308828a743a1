"""What a strategy may ask of a supernet, and the description of its weights that the angle needs. Free of torch at
import time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

    from .base import SearchSpace

Role = Literal["conv", "bn", "last_bn", "fixed_bn", "skip", "classifier_weight", "classifier_bias", "pool", "identity"]
"""What a weight belongs to. ``conv`` and ``bn``: convolutions, and the batch norms of searched operations; ``last_bn``:
the batch norm after the projection of an inverted residual block; ``fixed_bn``: batch norms outside searched operations;
``skip``: the convolutions of a skip connection of stride 2; ``pool`` and ``identity``: constants that stand for an
operation.
"""


@dataclass(frozen=True)
class WeightBlock:
    """Weights that enter or leave an architecture together.

    ``parameters``: (name in the state dictionary, role). ``constants``: (role, squared norm) of vectors that stand for
    an operation without weights and are the same before and after training (RLNAS' pooling kernel of 1/k^2 and identity
    matrix). ``regions``: (name, role, (start, stop) in each dimension) of weights that several values share, each of
    which takes a slice.
    """

    parameters: tuple[tuple[str, Role], ...] = ()
    constants: tuple[tuple[Role, float], ...] = ()
    regions: tuple[tuple[str, Role, tuple[tuple[int, int], ...]], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of all parameters, whole or in part."""
        return (*(name for name, _ in self.parameters), *(name for name, _, _ in self.regions))


@dataclass(frozen=True)
class WeightBlocks:
    """``fixed`` is part of every architecture; ``choices[s][v]`` belongs to value ``v`` of part ``s``."""

    fixed: WeightBlock
    choices: tuple[tuple[WeightBlock, ...], ...]


class Supernet(Protocol):
    """The module protocol of a single-path supernet."""

    search_space: SearchSpace

    def forward_path(self, x: torch.Tensor, path: npt.NDArray[np.int8]) -> torch.Tensor:
        """Run ``x: (B, 3, H, W)`` through ``path: (repeats, D)``; returns what ``network()`` returns."""
        ...

    def fresh(self) -> Supernet:
        """Another supernet of the same kind, with newly drawn initial weights."""
        ...

    def weight_blocks(self) -> WeightBlocks:
        """Which parameters belong to which choice."""
        ...

    def state_dict(self) -> dict[str, torch.Tensor]:
        """As in ``torch.nn.Module``."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, Any]]:
        """As in ``torch.nn.Module``."""
        ...
