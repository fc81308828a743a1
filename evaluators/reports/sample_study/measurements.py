"""How well accuracies on one task rank architectures by another: UnNAS' sample-based experiments (Liu et al., ECCV
2020, section 4.2).

Arrays are (n,), one number an architecture, larger is better. Free of torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nni_plugins.spaces.errors import closest

from ...errors import ConfigError
from ...randomness import generator
from ...statistics.ranking import Values

Floats = npt.NDArray[np.float64]
LEAST = 3
"""Architectures that a correlation needs: two always lie on a line."""
COVERAGE = 95
"""Percent, of bootstrap intervals."""


@dataclass(frozen=True)
class Measurements:
    """``architectures``: n names; ``values``: what -> (n,), in percent, NaN where an architecture has none."""

    architectures: tuple[str, ...]
    values: Mapping[str, Floats]

    def __post_init__(self) -> None:
        wrong = [name for name, column in self.values.items() if column.shape != (len(self.architectures),)]
        if wrong:
            raise ConfigError(
                f"{wrong[0]}: {len(self.architectures)} architectures need as many values, but got {self.values[wrong[0]].shape}."
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
class Interval:
    """A statistic and its 95 % bootstrap interval; NaN where it is undefined, because all numbers of a list are equal."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Correlation:
    """``spearman``: rho; ``kendall``: tau-b, both in [-1, 1]; ``pairwise``: share in [0, 1] of the pairs with different
    truths that the scores order alike, where equal scores count half."""

    spearman: Interval
    kendall: Interval
    pairwise: Interval
    architectures: int
    resamples: int


def correlation(scores: Values, truth: Values, resamples: int = 1000, seed: int = 0) -> Correlation:
    """Rank agreement of two lists, with percentile intervals of a bootstrap over architectures.

    Raises:
        ConfigError: different lengths, fewer than three architectures, values that are not finite, or fewer than two
            resamples.
    """
    x, y = _checked(scores, truth)
    count = len(x)
    if resamples < 2:
        raise ConfigError(f"resamples >= 2 must hold, but got {resamples}.")
    rng = generator(seed, "sample study bootstrap")
    index = np.concatenate([np.arange(count)[None], rng.integers(0, count, size=(resamples, count))])
    spearman = _spearman(x[index], y[index])
    kendall, pairwise = _of_pairs(x, y, index)
    return Correlation(_interval(spearman), _interval(kendall), _interval(pairwise), count, resamples)


def _checked(scores: Values, truth: Values) -> tuple[Floats, Floats]:
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ConfigError(f"two equally long lists are needed, but got shapes {x.shape} and {y.shape}.")
    if len(x) < LEAST:
        raise ConfigError(
            f"a correlation needs at least {LEAST} architectures, but got {len(x)}.",
            "Train more of them, or look for failed trials.",
        )
    broken = int((~np.isfinite(x)).sum() + (~np.isfinite(y)).sum())
    if broken:
        raise ConfigError(f"accuracies must be finite, but {broken} are not.", "Use Measurements.complete().")
    return x, y


def _interval(statistics: Floats) -> Interval:
    """``statistics[0]``: of the data itself; the others of its resamples, of which undefined ones are left out."""
    finite = statistics[1:][np.isfinite(statistics[1:])]
    tail = (100 - COVERAGE) / 2
    low, high = np.percentile(finite, [tail, 100 - tail]) if len(finite) else (np.nan, np.nan)
    return Interval(float(statistics[0]), float(low), float(high))


def _spearman(x: Floats, y: Floats) -> Floats:
    """Rho of each row of ``x, y: (R, n)``: Pearson's correlation of the ranks, equal ones sharing their mean."""
    from scipy.stats import rankdata

    a, b = (rankdata(rows, axis=1) for rows in (x, y))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    scale = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    rho: Floats = np.divide((a * b).sum(axis=1), scale, out=np.full(len(x), np.nan), where=scale > 0)
    return rho


def _of_pairs(x: Floats, y: Floats, index: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Tau-b and pairwise accuracy of each row of ``index: (R, n)``.

    A resample is how often it has each architecture, w: (n,), and every sum over its pairs is w M w / 2 for a matrix M
    over the pairs of the data: an architecture beside its own copy is tied in both lists, as M's zero diagonal says.
    """
    weights = np.stack([np.bincount(row, minlength=len(x)) for row in index]).astype(np.float64)
    signs_x, signs_y = np.sign(x[:, None] - x[None]), np.sign(y[:, None] - y[None])

    def total(matrix: Floats) -> Floats:
        return np.asarray(((weights @ matrix) * weights).sum(axis=1) / 2)

    difference, differ_x, differ_y = total(signs_x * signs_y), total(np.abs(signs_x)), total(np.abs(signs_y))
    undefined = np.full(len(index), np.nan)
    scale = np.sqrt(differ_x * differ_y)
    tau: Floats = np.divide(difference, scale, out=undefined.copy(), where=scale > 0)
    # Of the pairs with different truths: concordant ones, and half of those with equal scores.
    pairwise: Floats = np.divide((difference + differ_y) / 2, differ_y, out=undefined, where=differ_y > 0)
    return tau, pairwise


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
        ConfigError: as :func:`correlation`.
    """
    x, y = _checked(scores, truth)
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
