"""Percentile bootstraps over architectures. Free of torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..randomness import generator

COVERAGE = 95
"""Percent, of all intervals."""


def resampled(count: int, resamples: int, seed: int, purpose: str) -> npt.NDArray[np.int64]:
    """(resamples, count): so many times ``count`` positions, drawn with replacement; a function of the arguments."""
    return generator(seed, purpose).integers(0, count, size=(resamples, count))


def interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Ends of the percentile interval of a statistic's ``values: (resamples,)``, of which undefined ones are left out;
    NaN if all are.
    """
    defined, tail = values[np.isfinite(values)], (100 - COVERAGE) / 2
    low, high = np.percentile(defined, [tail, 100 - tail]) if len(defined) else (np.nan, np.nan)
    return float(low), float(high)
