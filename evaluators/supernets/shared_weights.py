"""What a search needs of a supernet that it trains on architectures of its choice and evaluates with the shared
weights.

The searches (NAO-V2, NAO-WS, ENAS, random search) are written against :class:`SharedWeights`; ``SharedImages`` and
``SharedText`` are the two that exist. A *cycle* is one training of the supernet; searches that re-initialise between
rounds have several.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from nni_plugins.spaces.base import Indices, SearchSpace

Reset = Literal["all", "optimizer", "learning_rate", "none"]
"""What begins anew with a cycle. ``all``: weights, momentum and learning rate. ``optimizer``: momentum and learning
rate. ``learning_rate``: only that (the released NAO-V2 code). ``none``: nothing, one schedule runs through all cycles
(NAO-WS)."""

Draw = Callable[[int, int], Indices]
"""(epoch, steps) -> (steps, D): the architecture that each step of an epoch trains, the same for all cells. ``epoch``
counts from 0 through all cycles, so that no draw is repeated."""


@dataclass(frozen=True)
class Cycle:
    """Cycle ``number`` (from 0) of ``count``, of ``epochs`` epochs each.

    ``period``: epochs that half the cosine of the learning rate takes; None: the cycle's own epochs, or with
    ``reset="none"`` those of all cycles.
    """

    number: int = 0
    count: int = 1
    epochs: int = 1
    reset: Reset = "all"
    period: int | None = None

    @property
    def first_epoch(self) -> int:
        """Epochs of the cycles before this one."""
        return self.number * self.epochs

    def schedule(self, epoch: int) -> tuple[int, int]:
        """(position, period) in the learning rate's cosine of ``epoch``, counted from 0 within the cycle."""
        through = self.reset == "none"
        position = self.first_epoch + epoch if through else epoch
        return position, self.period or (self.count * self.epochs if through else self.epochs)


class Companion(Protocol):
    """What is trained beside the supernet, such as the controller of ENAS. Its state is part of the supernet's
    checkpoints, so a killed run that is resumed computes the very numbers of an undisturbed one."""

    def after_epoch(self, epoch: int) -> dict[str, float]:
        """Called at the end of every epoch (from 0, through all cycles); the numbers join the epoch's row of the curve."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers, strings, and lists and dictionaries of them."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Of :meth:`state_dict`."""
        ...


class SharedWeights(Protocol):
    """A supernet, what it is trained on, and what it is evaluated on."""

    seed: int

    @property
    def space(self) -> SearchSpace:
        """With the head that the objective needs."""
        ...

    def train(self, draw: Draw, cycle: Cycle, companion: Companion | None = None) -> list[dict[str, float]]:
        """Train through ``cycle``; returns its curve, one row an epoch. A cycle that is finished on disk is loaded
        instead.

        Raises:
            TrainingError, CheckpointError: as :class:`nni_plugins.evaluators.training.Training`.
        """
        ...

    def scores(self, indices: Indices) -> npt.NDArray[np.float64]:
        """(n,) of ``indices: (n, D)``, all on the same held-out images or text with the weights as they are; larger is
        better (percent, or minus the perplexity)."""
        ...

    def reward(self, indices: Indices, step: int) -> npt.NDArray[np.float64]:
        """(n,) like :meth:`scores`, but on one mini-batch of the held-out part, which ``step`` chooses: a cheap, noisy
        score for ENAS.
        """
        ...
