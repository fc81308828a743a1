"""Training-free scores of any architectures of a space::

    naswot = measure(NASBench201(), images, "naswot", seed=0)
    values = naswot(indices)          # (n, 1) float64, one column for each of naswot.columns
    naswot.seconds, naswot.networks   # what that took

A value is a function of the space, the images, the objective, the score's settings, the seed and the architecture: not of
which others are scored, in what order, or in how many calls. All networks of a seed draw their initial weights from the
same stream, as if each were built after ``torch.manual_seed``, and see the same images.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.objectives import Objective, RandomLabels, fitted
from nni_plugins.evaluators.randomness import torch_fork
from nni_plugins.evaluators.settings import Settings
from nni_plugins.evaluators.training.base import fabric_on
from nni_plugins.evaluators.training.layout import laid_out, lay_out, layout_on
from nni_plugins.spaces.base import Indices, SearchSpace

from .batches import inputs
from .names import COSTS, network_score, score_settings
from .networks import Inputs, NetworkScore, Undrawn, for_scoring

Values = npt.NDArray[np.float64]
"""(n, k), larger is better; -inf where a score is undefined for an architecture's network."""
Known = Callable[[int], None]
"""Called after every N architectures with how many of a call are scored."""


class Measure(ABC):
    """Scores of any architectures of :attr:`space` by the score :attr:`name`.

    ``seconds``: of all calls so far; ``networks``: how many were built for them.
    """

    columns: tuple[str, ...]

    def __init__(self, space: SearchSpace, name: str) -> None:
        self.space, self.name = space, name
        self.seconds, self.networks = 0.0, 0

    def __call__(self, indices: Indices) -> Values:
        """Of ``indices: (n, D)``: (n, k)."""
        started = time.perf_counter()
        try:
            return self._values(indices)
        finally:
            self.seconds += time.perf_counter() - started

    @abstractmethod
    def _values(self, indices: Indices) -> Values: ...

    def require(self, row: npt.NDArray[np.int8]) -> None:
        """Refuse, by the network of ``row: (D,)``, a space that the score cannot judge.

        Raises:
            ConfigError: what its networks lack.
        """

    def remember(self, known: Mapping[str, list[float]]) -> None:
        """Values that were computed before, by :func:`key`; by default there is nothing worth remembering."""

    @property
    def remembered(self) -> dict[str, list[float]]:
        """All that was computed, by :func:`key`."""
        return {}


class CostMeasure(Measure):
    """``parameters`` or ``macs``, of a network with the objective's head, for one image of the images' size."""

    def __init__(self, space: SearchSpace, images: ImageSet, objective: Objective, name: str) -> None:
        super().__init__(fitted(space, objective, images), name)
        self.columns = (name,)
        self._table = self.space.cost_table(images.input_size)

    def _values(self, indices: Indices) -> Values:
        costs = self._table(indices)
        values: Values = getattr(costs, self.columns[0])[:, None].astype(np.float64)
        return values


class NetworkMeasure(Measure):
    """A :class:`NetworkScore` of every architecture's own network; of rows that are the same network once it is
    simplified (:meth:`nni_plugins.spaces.SearchSpace.simplified`) one is built.
    """

    def __init__(
        self, space: SearchSpace, images: ImageSet, objective: Objective, score: NetworkScore, name: str, seed: int
    ) -> None:
        super().__init__(fitted(space, objective, images), name)
        self.score, self.columns, self.seed = score, score.columns, seed
        self._device = fabric_on(score.settings.accelerator).device
        count = score.batches if score.images else 1
        given = inputs(images, objective, score.images or 1, count, seed, self._device, f"{name}, batch_size")
        self._layout = layout_on("auto", self._device, "32-true")
        self._inputs = Inputs(tuple((laid_out(x, self._layout), y) for x, y in given.batches), objective)
        self._known: dict[bytes, tuple[float, ...]] = {}
        self._judged = False

    def require(self, row: npt.NDArray[np.int8]) -> None:
        if not self._judged:
            with torch_fork(self.seed, "training-free", 0):
                self.score.require(self._network(self.space.simplified(row[None])[0]), self._inputs)
            self._judged = True

    def _values(self, indices: Indices) -> Values:
        if len(indices):
            self.require(indices[0])
        values = np.empty((len(indices), len(self.score.columns)))
        for place, row in enumerate(self.space.simplified(indices)):
            form = row.tobytes()
            if form not in self._known:
                self._known[form] = self._scored(row)
            values[place] = self._known[form]
        return np.where(np.isnan(values), -np.inf, values)

    def _scored(self, row: npt.NDArray[np.int8]) -> tuple[float, ...]:
        repeats = []
        for repeat in range(self.score.settings.repeats):
            with torch_fork(self.seed, "training-free", repeat):
                repeats.append(self.score(self._network(row), self._inputs))
        self.networks += len(repeats)
        return tuple(np.mean(np.array(repeats, dtype=np.float64), axis=0).tolist())

    def _network(self, row: npt.NDArray[np.int8]) -> torch.nn.Module:
        (architecture,) = self.space.decode(row[None])
        with Undrawn() if self.score.draws_weights else nullcontext():
            network = for_scoring(self.space.network(architecture)).to(self._device)
        lay_out(network, self._layout)
        return network

    def remember(self, known: Mapping[str, list[float]]) -> None:
        self._known |= {bytes.fromhex(form): tuple(values) for form, values in known.items()}

    @property
    def remembered(self) -> dict[str, list[float]]:
        return {form.hex(): list(values) for form, values in self._known.items()}


class AZMeasure(NetworkMeasure):
    """AZ-NAS' columns, with ``complexity``, the multiply-adds."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        space, images, objective = given[:3]
        self._macs = CostMeasure(space, images, objective, "macs")
        self.columns = (*self.columns, "complexity")

    def _values(self, indices: Indices) -> Values:
        return np.concatenate([super()._values(indices), self._macs(indices)], axis=1)


class StrategyMeasure(Measure):
    """What the search of a strategy left to score others with; ``scores``: (n, D) -> n numbers, None where there is
    none.
    """

    def __init__(self, space: SearchSpace, name: str, scores: Callable[[Indices], Any]) -> None:
        super().__init__(space, name)
        self.columns, self._scores = (name,), scores

    def _values(self, indices: Indices) -> Values:
        given = [-np.inf if score is None or np.isnan(score) else float(score) for score in self._scores(indices)]
        return np.array(given, dtype=np.float64).reshape(-1, 1)


def measure(
    space: SearchSpace,
    images: ImageSet,
    name: str,
    *,
    objective: Objective | None = None,
    settings: Settings | Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Measure:
    """The training-free score ``name`` of any architectures of ``space``.

    Args:
        images: a seeded draw of them is what networks are scored on; labels are read only if the objective asks.
        objective: what the networks end in, and the loss of scores that have one; default: random labels of 10 classes.
        settings: the score's own, where they are not the defaults.
        seed: of images, initial weights and whatever else the score draws.

    Raises:
        ConfigError: no such score or settings, too few different images, a space whose networks take none.
        DataError, LabelError: as :func:`nni_plugins.evaluators.objectives.fitted`.
    """
    objective = objective or RandomLabels(10)
    chosen = score_settings(name, settings)
    if name in COSTS:
        return CostMeasure(space, images, objective, name)
    kind = AZMeasure if name == "az" else NetworkMeasure
    return kind(space, images, objective, network_score(name, chosen), name, seed)
