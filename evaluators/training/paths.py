"""What a step of a supernet's training runs: its single path, and which operations' results are dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
from torch import nn

from ..errors import ConfigError


class Paths(Protocol):
    """Which single path each step of an epoch trains: (steps, repeats, decisions). None of it for a stand-alone
    network.
    """

    def __call__(self, epoch: int, steps: int) -> npt.NDArray[np.int8]: ...


@dataclass(frozen=True)
class DropPath:
    """Drop-path of a single-path supernet (FractalNet; NAO-V2's code): an operation's result is zeroed for whole
    samples.

    In cell l of L and step s of S, both from 0, with probability ``probability * (l + 1) / L * (s + 1) / S``; S are the
    steps of a cycle.

    Args:
        probability: in the last cell at the last step.
        identity: skip connections are dropped, too.
    """

    probability: float
    identity: bool = True

    def check(self, model: nn.Module) -> None:
        """Raises :class:`ConfigError` if ``model`` has no drop-path."""
        if not callable(getattr(model, "set_drop_path", None)):
            raise ConfigError(
                f"{type(model).__name__} has no drop-path.",
                "Use drop_path: 0, or a space of cells such as nao or darts.",
            )

    def apply(self, model: nn.Module, share: float) -> None:
        """Set what the next step drops; ``share`` is ``(s + 1) / S``, or 0 for nothing."""
        cast(Any, model).set_drop_path(self.probability * share, self.identity)
