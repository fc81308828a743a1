"""How well accuracies on one task rank architectures by another: UnNAS' sample-based experiments (Liu et al., ECCV
2020, section 4.2).

Arrays are (n,), one number an architecture, larger is better. Free of torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from nni_plugins.spaces.errors import closest

from ...errors import ConfigError
from ...randomness import generator
from ...statistics.correlation import LEAST
from ...statistics.ranking import Floats, Values, two_lists


@dataclass(frozen=True)
class Measurements:
    """``architectures``: n names; ``values``: what -> (n,), in percent, NaN where an architecture has none."""

    architectures: tuple[str, ...]
    values: Mapping[str, Floats]

    def __post_init__(self) -> None:
        wrong = [name for name, column in self.values.items() if column.shape != (len(self.architectures),)]
        if wrong:
            raise ConfigError(
                f"{wrong[0]}: {len(self.architectures)} architectures need as many values, but got "
                f"{self.values[wrong[0]].shape}."
            )

    def complete(self, names: Iterable[str] | None = None) -> Measurements:
        """Only the architectures that have all of ``names`` (all there are by default), and only those values."""
        chosen = {name: self.column(name) for name in (self.values if names is None else names)}
        kept = (
            np.all([np.isfinite(column) for column in chosen.values()], axis=0)
            if chosen
            else np.zeros(len(self.architectures), dtype=bool)
        )
        architectures = tuple(name for name, keep in zip(self.architectures, kept, strict=True) if keep)
        return Measurements(architectures, {name: column[kept] for name, column in chosen.items()})

    def column(self, name: str) -> Floats:
        """(n,) float64.

        Raises:
            ConfigError: no such values.
        """
        if name not in self.values:
            raise ConfigError(f"nothing was measured under the name {name!r}; {closest(name, self.values)}")
        return np.asarray(self.values[name], dtype=np.float64)


@dataclass(frozen=True)
class Experiments:
    """Random experiments with ``budget`` architectures each: ``mean`` and ``std`` (population) of the truths of their
    winners.
    """

    budget: int
    experiments: int
    mean: float
    std: float

    @property
    def low(self) -> float:
        """Two deviations below the mean."""
        return self.mean - 2 * self.std

    @property
    def high(self) -> float:
        """Two deviations above the mean."""
        return self.mean + 2 * self.std


def efficiency(scores: Values, truth: Values, seed: int = 0) -> list[Experiments]:
    """Random-experiment efficiency curve (Radosavovic et al., ICCV 2019, section 4; UnNAS, figure 5 and official
    ``fig5.py``).

    For m = 1, 2, 4, ... below n, ``ceil(n / m)`` times: draw m architectures without replacement, each time anew from
    all n; take the one with the largest score; note its truth. The same draws serve every list of scores. Of equal
    scores the one that was drawn first wins.

    Raises:
        ConfigError: as :func:`nni_plugins.evaluators.statistics.correlation.correlation`.
    """
    x, y = two_lists(scores, truth, LEAST)
    curve, budget, count = [], 1, len(x)
    while budget < count:
        rng = generator(seed, "random experiments", budget)
        draws = [rng.permutation(count)[:budget] for _ in range(-(-count // budget))]
        won = np.array([y[drawn[np.argmax(x[drawn])]] for drawn in draws])
        curve.append(Experiments(budget, len(draws), float(won.mean()), float(won.std())))
        budget *= 2
    return curve


def robust_line(x: Values, y: Values) -> tuple[float, float]:
    """(slope, intercept) of Theil and Sen: the median slope of all pairs, and the median of what it leaves (SciPy's
    ``theilslopes``).

    Without a slope where all ``x`` are equal: (NaN, NaN).
    """
    from scipy.stats import theilslopes

    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(np.unique(a)) < 2:
        return float("nan"), float("nan")
    fitted = theilslopes(b, a, method="joint")
    return float(fitted.slope), float(fitted.intercept)
