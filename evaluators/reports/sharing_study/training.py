"""One run with shared weights: every piece of text trains one of the cells, drawn uniformly, and in the end all are
ranked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nni_plugins.spaces.base import Indices

from ...randomness import generator
from ...supernets.shared_weights import Cycle
from ...text.shared import SharedText

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SharedRun:
    """``perplexities``: (A,) of the validation text in the end. ``epochs``, ``curve``: (E,), (E, A) the same after some
    epochs, the last of which is the end. ``history``: a row an epoch."""

    perplexities: Floats
    epochs: tuple[int, ...]
    curve: Floats
    history: list[dict[str, float]]


class Rankings:
    """The companion that measures all cells after every ``every`` epochs, but the last, whose weights may still become
    means.
    """

    def __init__(self, shared: SharedText, indices: Indices, every: int, epochs: int) -> None:
        self.shared, self.indices, self.every, self.epochs = shared, indices, every, epochs
        self.measured: dict[str, list[float]] = {}

    def after_epoch(self, epoch: int) -> dict[str, float]:
        """The mean and the range of the perplexities, where they are measured."""
        if (epoch + 1) % self.every or epoch + 1 == self.epochs:
            return {}
        found = self.shared.perplexities(self.indices)
        self.measured[str(epoch + 1)] = found.tolist()
        return {
            "shared_mean": float(found.mean()),
            "shared_least": float(found.min()),
            "shared_most": float(found.max()),
        }

    def state_dict(self) -> dict[str, Any]:
        """As a checkpoint holds it."""
        return {"measured": dict(self.measured)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Of :meth:`state_dict`."""
        self.measured = dict(state["measured"])


def uniform(indices: Indices, seed: int, epoch: int, steps: int) -> Indices:
    """(steps, D): independent uniform draws from the rows of ``indices``."""
    drawn: Indices = indices[generator(seed, "shared architectures", epoch).integers(len(indices), size=steps)]
    return drawn


def shared_run(shared: SharedText, indices: Indices, *, every: int | None = None) -> SharedRun:
    """Train ``shared`` for its settings' epochs on uniform draws from ``indices: (A, D)``, and measure all of them.

    Args:
        every: measure after every N epochs too; default: a tenth of them.
    """
    epochs = shared.settings.epochs
    rankings = Rankings(shared, indices, max(1, epochs // 10) if every is None else every, epochs)
    history = shared.train(
        lambda epoch, steps: uniform(indices, shared.seed, epoch, steps), Cycle(epochs=epochs), rankings
    )
    last = shared.perplexities(indices)
    marks = sorted(int(epoch) for epoch in rankings.measured)
    curve = np.array([*(rankings.measured[str(epoch)] for epoch in marks), last.tolist()], dtype=np.float64)
    return SharedRun(last, (*marks, epochs), curve, history)
