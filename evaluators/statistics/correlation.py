"""Rank agreement of two lists, each measure with its bootstrap interval over architectures. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError
from .bootstrap import interval, resampled
from .ranking import Floats, Values, two_lists

LEAST = 3
"""Architectures that a correlation needs: two always lie on a line."""


@dataclass(frozen=True)
class Estimate:
    """A statistic and its 95 % bootstrap interval; NaN where it is undefined: all numbers of a list are equal."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Correlation:
    """``spearman``: rho; ``kendall``: tau-b, both in [-1, 1]; ``pairwise``: share in [0, 1] of the pairs with different
    truths that the scores order alike, where equal scores count half."""

    spearman: Estimate
    kendall: Estimate
    pairwise: Estimate
    architectures: int
    resamples: int


def correlation(scores: Values, truth: Values, resamples: int = 1000, seed: int = 0) -> Correlation:
    """Rank agreement of two lists, with percentile intervals of a bootstrap over architectures.

    Raises:
        ConfigError: different lengths, fewer than three architectures, values that are not finite, or fewer than two
            resamples.
    """
    x, y = two_lists(scores, truth, LEAST)
    if resamples < 2:
        raise ConfigError(f"resamples >= 2 must hold, but got {resamples}.")
    count = len(x)
    index = np.concatenate([np.arange(count)[None], resampled(count, resamples, seed, "sample study bootstrap")])
    kendall, pairwise = _of_pairs(x, y, index)
    rho = spearman_rows(x[index], y[index])
    return Correlation(_estimate(rho), _estimate(kendall), _estimate(pairwise), count, resamples)


def _estimate(statistics: Floats) -> Estimate:
    """``statistics[0]``: of the data itself; the others of its resamples."""
    return Estimate(float(statistics[0]), *interval(statistics[1:]))


def spearman_rows(x: Floats, y: Floats) -> Floats:
    """Spearman's rho of each row of ``x, y: (R, n)``: Pearson's correlation of the ranks, where equal values share
    their mean rank; NaN where all values of a row are equal.
    """
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
