"""Means and tests of two groups of numbers, one number a seed. Differences are x - y throughout; arrays are (n,) and
(m,).

Where a statistic is undefined, because nothing varies, it is NaN.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError
from ..randomness import generator
from .ranking import Values

Floats = npt.NDArray[np.float64]
LEVEL = 0.95
"""Coverage of all intervals; 1 - LEVEL is the level of all tests."""
POWER = 0.8
EXACT = 200_000
"""Up to so many permutations all are looked at: 10 against 10 seeds have 184,756."""
RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """Of one policy's values: ``std`` divides by n - 1 (sample), ``population_std`` by n, which some papers print;
    ``t_interval`` of the mean assumes normal values, ``bootstrap_interval`` (percentiles) does not, but is too narrow
    for few seeds."""

    n: int
    mean: float
    std: float
    population_std: float
    median: float
    best: float
    worst: float
    t_interval: Interval
    bootstrap_interval: Interval


@dataclass(frozen=True)
class TTest:
    """Of a mean difference; ``detectable``: the true difference that this test finds with power 0.8 if the deviations
    are as observed.
    """

    difference: float
    interval: Interval
    t: float
    degrees: float
    p: float
    detectable: float


@dataclass(frozen=True)
class Permutation:
    """Two-sided, of the absolute mean difference; ``smallest``: the smallest p that this many seeds can give."""

    p: float
    permutations: int
    exact: bool
    smallest: float


@dataclass(frozen=True)
class Effect:
    """``g``: Hedges' g, the difference in units of the deviation; ``cliffs_delta``: P(x > y) - P(x < y);
    ``superiority``: P(x > y) + P(x = y) / 2.
    """

    g: float
    g_interval: Interval
    cliffs_delta: float
    superiority: float


def numbers(values: Values, least: int = 2) -> Floats:
    """(n,) float64.

    Raises:
        ConfigError: fewer than ``least``, not one-dimensional, or not finite.
    """
    x: Floats = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or len(x) < least or not np.isfinite(x).all():
        raise ConfigError(
            f"at least {least} finite numbers, one a seed, are needed, but got {x.tolist()} of shape {x.shape}."
        )
    return x


def summary(
    values: Values,
    larger_is_better: bool = True,
    seed: int = 0,
    resamples: int = RESAMPLES,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Summary:
    """Mean, deviations and intervals of the values of one policy; no interval leaves ``bounds``, between which a mean must
    lie.
    """
    from scipy.stats import t

    x = numbers(values)
    n, mean, std = len(x), float(x.mean()), deviation(x)
    half = float(t.ppf((1 + LEVEL) / 2, n - 1)) * std / math.sqrt(n)
    means = x[generator(seed, "comparison bootstrap").integers(0, n, size=(resamples, n))].mean(axis=1)
    low, high = np.percentile(means, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    ends = (float(x.max()), float(x.min())) if larger_is_better else (float(x.min()), float(x.max()))
    return Summary(
        n,
        mean,
        std,
        std * math.sqrt((n - 1) / n),
        float(np.median(x)),
        *ends,
        Interval(max(mean - half, bounds[0]), min(mean + half, bounds[1])),
        Interval(float(low), float(high)),
    )


def deviation(x: Floats) -> float:
    """The sample deviation, exactly 0 where all values are equal: a mean of equal numbers may be off in its last digit."""
    return float(x.std(ddof=1)) if np.ptp(x) > 0 else 0.0


def welch(x: Values, y: Values) -> TTest:
    """Welch's t test of two independent groups of seeds, whose deviations may differ."""
    from scipy.stats import ttest_ind

    a, b = numbers(x), numbers(y)
    difference = float(a.mean() - b.mean())
    if deviation(a) == deviation(b) == 0:
        return _undefined(difference)
    with warnings.catch_warnings():  # SciPy doubts a group whose values are all equal
        warnings.simplefilter("ignore", RuntimeWarning)
        return _t_test(difference, ttest_ind(a, b, equal_var=False))


def pooled_t(x: Values, y: Values) -> TTest:
    """Student's t test of two independent groups with one deviation, at most one of which may be a single number."""
    from scipy.stats import ttest_ind

    a, b = numbers(x, 1), numbers(y, 1)
    if len(a) + len(b) < 3:
        raise ConfigError(f"at least 3 numbers in both groups are needed, but got {len(a)} and {len(b)}.")
    if all(np.ptp(one) == 0 for one in (a, b)):
        return _undefined(float(a.mean() - b.mean()))
    with warnings.catch_warnings():  # SciPy doubts a group whose values are all equal
        warnings.simplefilter("ignore", RuntimeWarning)
        return _t_test(float(a.mean() - b.mean()), ttest_ind(a, b, equal_var=True))


def welch_of(mean_x: float, std_x: float, n_x: int, mean_y: float, std_y: float, n_y: int) -> TTest:
    """Welch's t test of published numbers; the deviations are sample deviations."""
    if min(n_x, n_y) < 2 or min(std_x, std_y) < 0:
        raise ConfigError(
            f"two groups of at least 2 with deviations >= 0 are needed, but got n = {n_x}, {n_y} and {std_x}, {std_y}."
        )
    return welch(_numbers_with(mean_x - mean_y, std_x, n_x), _numbers_with(0.0, std_y, n_y))


def _numbers_with(mean: float, std: float, n: int) -> Floats:
    """(n,) with this mean and sample deviation, which are all that a t test sees."""
    steps = np.arange(n) - (n - 1) / 2
    return np.asarray(mean + std * steps / steps.std(ddof=1))


def paired_t(x: Values, y: Values) -> TTest:
    """Student's t test of the differences between values of the same seeds, in the same order."""
    from scipy.stats import ttest_1samp

    d = _pairs(x, y)
    difference = float(d.mean())
    return _t_test(difference, ttest_1samp(d, 0.0)) if np.ptp(d) > 0 else _undefined(difference)


def _pairs(x: Values, y: Values) -> Floats:
    a, b = numbers(x), numbers(y)
    if len(a) != len(b):
        raise ConfigError(f"pairs need as many values on both sides, but got {len(a)} and {len(b)}.")
    d: Floats = a - b
    scale = float(max(np.abs(a).max(), np.abs(b).max()))
    # Equal differences of unequal numbers differ in their last digits, which would be a deviation of 1e-14 and a p of
    # 0.
    return np.full_like(d, d[0]) if np.ptp(d) <= 1e-12 * scale else d


def _t_test(difference: float, result: Any) -> TTest:
    """From SciPy's result, whose interval is the difference plus and minus so many standard errors."""
    from scipy.stats import t

    interval, degrees = result.confidence_interval(LEVEL), float(result.df)
    error = (interval.high - interval.low) / 2 / float(t.ppf((1 + LEVEL) / 2, degrees))
    ends = Interval(float(interval.low), float(interval.high))
    detectable = float(error * detectable_ratio(degrees))
    return TTest(difference, ends, float(result.statistic), degrees, float(result.pvalue), detectable)


def _undefined(difference: float) -> TTest:
    """Of groups in which nothing varies."""
    return TTest(difference, Interval(math.nan, math.nan), math.nan, math.nan, math.nan, math.nan)


def detectable_ratio(degrees: float) -> float:
    """True difference over its standard error that a two-sided t test at level 0.05 finds with power 0.8.

    The power is that of the noncentral t distribution, as a mean over 4,000 quantiles of the observed deviation:
    SciPy's ``nct`` has no value in the far tails of one degree of freedom.
    """
    from scipy.optimize import brentq
    from scipy.stats import chi2, norm, t

    quantiles = (np.arange(4000) + 0.5) / 4000
    critical = float(t.ppf((1 + LEVEL) / 2, degrees)) * np.sqrt(chi2.ppf(quantiles, degrees) / degrees)

    def missing(ratio: float) -> float:
        return float((norm.sf(critical - ratio) + norm.cdf(-critical - ratio)).mean()) - POWER

    return float(brentq(missing, 0.1, 100.0))


def permutation_test(
    x: Values, y: Values, seed: int = 0, exact: int = EXACT, resamples: int = RESAMPLES
) -> Permutation:
    """Which share of all ways to deal the n + m values to the two groups has a mean difference at least as large as the
    observed one.

    Exact when there are at most ``exact`` ways; else of ``resamples`` seeded draws, (hits + 1) / (draws + 1) (Phipson &
    Smyth, 2010).
    """
    a, b = numbers(x), numbers(y)
    both, n, ways = np.concatenate([a, b]), len(a), math.comb(len(a) + len(b), len(a))
    smallest = (2 if len(a) == len(b) else 1) / ways
    if ways <= exact:
        chosen = np.fromiter(
            chain.from_iterable(combinations(range(len(both)), n)), dtype=np.int64, count=ways * n
        ).reshape(ways, n)
    else:
        rng = generator(seed, "comparison permutations")
        chosen = rng.permuted(np.broadcast_to(np.arange(len(both)), (resamples, len(both))), axis=1)[:, :n]
    # The mean difference is a rising linear function of the sum of the first group.
    centred = both - both.mean()
    return _permutation(
        np.abs(centred[chosen].sum(axis=1)),
        abs(float(centred[:n].sum())),
        float(np.abs(centred).sum()),
        ways <= exact,
        smallest,
    )


def paired_permutation_test(
    x: Values, y: Values, seed: int = 0, exact: int = EXACT, resamples: int = RESAMPLES
) -> Permutation:
    """The same with pairs: each may be turned round, 2^n ways."""
    d = _pairs(x, y)
    ways = 2 ** len(d)
    if ways <= exact:
        signs = 1 - 2 * ((np.arange(ways)[:, None] >> np.arange(len(d))) & 1)
    else:
        signs = 1 - 2 * generator(seed, "comparison permutations").integers(0, 2, size=(resamples, len(d)))
    return _permutation(np.abs(signs @ d), abs(float(d.sum())), float(np.abs(d).sum()), ways <= exact, 2 / ways)


def _permutation(statistics: Floats, observed: float, scale: float, exact: bool, smallest: float) -> Permutation:
    """Sums of the same numbers in another order differ in their last digits, which must not make a tie a miss."""
    hits, count = int((statistics >= observed - 1e-12 * scale).sum()), len(statistics)
    p = hits / count if exact else (hits + 1) / (count + 1)
    return Permutation(p, count, exact, smallest if exact else max(smallest, 1 / (count + 1)))


def effect(x: Values, y: Values) -> Effect:
    """Effect sizes of independent groups. g's interval is the large-sample one (Hedges & Olkin, 1985, chapter 5):
    g +- 1.96 sqrt((n + m) / (n m) + g^2 / (2 (n + m)))."""
    a, b = numbers(x), numbers(y)
    n, m = len(a), len(b)
    pooled = math.sqrt(((n - 1) * deviation(a) ** 2 + (m - 1) * deviation(b) ** 2) / (n + m - 2))
    return _effect(float(a.mean() - b.mean()), pooled, n + m - 2, (n + m) / (n * m), n + m, np.sign(a[:, None] - b))


def paired_effect(x: Values, y: Values) -> Effect:
    """Effect sizes of pairs: g in units of the deviation of the differences, the shares over pairs."""
    d = _pairs(x, y)
    return _effect(float(d.mean()), deviation(d), len(d) - 1, 1 / len(d), len(d), np.sign(d))


def _effect(difference: float, std: float, degrees: int, inverse: float, total: int, signs: Floats) -> Effect:
    from scipy.stats import norm

    delta = float(signs.mean())
    if std == 0 or degrees < 2:
        return Effect(math.nan, Interval(math.nan, math.nan), delta, (1 + delta) / 2)
    g = difference / std * small_sample_factor(degrees)
    half = float(norm.ppf((1 + LEVEL) / 2)) * math.sqrt(inverse + g * g / (2 * total))
    return Effect(g, Interval(g - half, g + half), delta, (1 + delta) / 2)


def small_sample_factor(degrees: int) -> float:
    """J(v) = Gamma(v / 2) / (sqrt(v / 2) Gamma((v - 1) / 2)), which makes g unbiased (Hedges, 1981); about 1 - 3 / (4 v
    - 1).

    ``degrees`` > 1: with one the difference over the deviation has no mean.
    """
    return math.exp(math.lgamma(degrees / 2) - math.lgamma((degrees - 1) / 2)) / math.sqrt(degrees / 2)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for how many tests were made (Holm, 1979), in the given order: the k-th smallest of K times K
    - k + 1, never falling.
    """
    order, corrected, least = sorted(range(len(p_values)), key=lambda i: p_values[i]), [0.0] * len(p_values), 0.0
    for k, i in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - k) * p_values[i]))
        corrected[i] = least
    return corrected
