"""How well scores rank architectures: Kendall's tau-b, with an interval, and true ranks. Statistics are SciPy's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError
from .bootstrap import interval, resampled

Floats = npt.NDArray[np.float64]
Values = Sequence[float] | npt.NDArray[np.floating]


@dataclass(frozen=True)
class Agreement:
    """Kendall tau-b in [-1, 1] (NaN where all scores or all truths are equal), its 95 % bootstrap interval, and how
    many it compares.
    """

    tau: float
    low: float
    high: float
    architectures: int


def two_lists(scores: Values, truth: Values, least: int = 2) -> tuple[Floats, Floats]:
    """Both as (n,) float64.

    Raises:
        ConfigError: different lengths, fewer than ``least`` architectures, or values that are not finite.
    """
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(x) < least:
        raise ConfigError(
            f"two equally long lists of at least {least} numbers are needed, but got shapes {x.shape} and {y.shape}."
        )
    broken = int((~np.isfinite(x)).sum() + (~np.isfinite(y)).sum())
    if broken:
        raise ConfigError(f"scores and truths must be finite, but {broken} are not.")
    return x, y


def kendall_tau(scores: Values, truth: Values) -> float:
    """Tau-b: concordant minus discordant pairs, corrected for ties in either list (SciPy's ``kendalltau``). On scores,
    never on rank lists.

    Raises:
        ConfigError: see :func:`two_lists`.
    """
    from scipy.stats import kendalltau

    return float(kendalltau(*two_lists(scores, truth)).statistic)


def agreement(scores: Values, truth: Values, resamples: int = 1000, seed: int = 0) -> Agreement:
    """Tau-b with a bootstrap over architectures."""
    tau, (x, y) = kendall_tau(scores, truth), two_lists(scores, truth)
    draws = [kendall_tau(x[rows], y[rows]) for rows in resampled(len(x), resamples, seed, "bootstrap")]
    return Agreement(tau, *interval(np.array(draws)), len(x))


def true_ranks(truth: Values) -> Floats:
    """Rank of each architecture by its true metric, 1 for the largest; equal ones share the mean of their ranks."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-np.asarray(truth, dtype=np.float64), method="average"))
