"""How well scores rank architectures: Kendall's tau-b, with an interval, and true ranks. Statistics are SciPy's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError
from ..randomness import generator

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


def kendall_tau(scores: Values, truth: Values) -> float:
    """Tau-b: concordant minus discordant pairs, corrected for ties in either list (SciPy's ``kendalltau``). On scores,
    never on rank lists.

    Raises:
        ConfigError: different lengths, fewer than two architectures, or values that are not finite.
    """
    from scipy.stats import kendalltau

    x, y = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2:
        raise ConfigError(
            f"two equally long lists of at least 2 numbers are needed, but got shapes {x.shape} and {y.shape}."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ConfigError(
            f"scores must be finite, but {int((~np.isfinite(x)).sum() + (~np.isfinite(y)).sum())} are not."
        )
    return float(kendalltau(x, y).statistic)


def agreement(scores: Values, truth: Values, resamples: int = 1000, seed: int = 0) -> Agreement:
    """Tau-b with a bootstrap over architectures."""
    tau = kendall_tau(scores, truth)
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    rng = generator(seed, "bootstrap")
    draws = [kendall_tau(x[i], y[i]) for i in (rng.integers(0, len(x), size=len(x)) for _ in range(resamples))]
    finite = [d for d in draws if np.isfinite(d)]
    low, high = np.percentile(finite, [2.5, 97.5]) if finite else (np.nan, np.nan)
    return Agreement(tau, float(low), float(high), len(x))


def true_ranks(truth: Values) -> npt.NDArray[np.float64]:
    """Rank of each architecture by its true metric, 1 for the largest; equal ones share the mean of their ranks."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-np.asarray(truth, dtype=np.float64), method="average"))
