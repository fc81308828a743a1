"""How well scores rank architectures: the measures of NAO-V2 (section 3) and of "Evaluating the search phase of NAS"
(ICLR 2020), with what chance alone would give.

All of them are of scores and truths, (n,) each and larger is better, never of lists of names in order. Statistics are
SciPy's. Free of torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError
from ..randomness import generator
from .bootstrap import interval, resampled
from .correlation import correlation, spearman_rows
from .ranking import Floats, Values, kendall_tau, two_lists

Ties = Literal["half", "untied"]
"""``half``: over all pairs, where a tie in either list counts half, so that 2 PA - 1 is Kendall's tau-a. ``untied``:
over the pairs whose truths differ, where equal scores count half. Without ties both are the share of pairs in the right
order."""


def _signs(values: Floats) -> npt.NDArray[np.int8]:
    """(n, n): 1 where the row is larger than the column, -1 where it is smaller."""
    signs: npt.NDArray[np.int8] = np.sign(values[:, None] - values[None]).astype(np.int8)
    return signs


def pairwise_accuracy(scores: Values, truth: Values, ties: Ties = "half") -> float:
    """Share in [0, 1] of the pairs that the scores order as the truths do (NAO-V2, section 3, over all n (n - 1) / 2
    pairs).

    NaN where no pair counts: ``ties="untied"`` and all truths are equal. For other ``ties`` see :data:`Ties`. Without
    ties Kendall's tau is 2 PA - 1.

    Raises:
        ConfigError: different lengths, fewer than two architectures, values that are not finite, or unknown ``ties``.
    """
    if ties not in ("half", "untied"):
        raise ConfigError(f"ties: must be half or untied, but got {ties!r}.")
    x, y = two_lists(scores, truth)
    signs_x, signs_y = _signs(x), _signs(y)
    pairs = len(x) * (len(x) - 1) if ties == "half" else int(np.count_nonzero(signs_y))
    if not pairs:
        return float("nan")
    difference = int((signs_x * signs_y).sum(dtype=np.int64))  # concordant minus discordant, every pair twice
    return 0.5 + difference / (2 * pairs)


def spearman(scores: Values, truth: Values) -> float:
    """Spearman's rho: Pearson's correlation of the ranks, where equal values share their mean rank. NaN where all
    values of a list are equal.

    Raises:
        ConfigError: as :func:`pairwise_accuracy`.
    """
    x, y = two_lists(scores, truth)
    return float(spearman_rows(x[None], y[None])[0])


def sparse_tau(scores: Values, truth: Values, width: float = 0.1) -> float:
    """Kendall's tau-b with truths in bins of ``width``, so that near-ties do not count. The default is the 1e-3 of
    "Evaluating the search phase" (Yu et al., ICLR 2020) in percent.

    Raises:
        ConfigError: as :func:`pairwise_accuracy`, or ``width`` is not positive.
    """
    if not width > 0:
        raise ConfigError(f"width > 0 must hold, but got {width}.")
    x, y = two_lists(scores, truth)
    return kendall_tau(x, np.round(y / width))


def _best(values: Floats, k: int) -> npt.NDArray[np.int64]:
    """Positions of the ``k`` largest, earlier ones first where values are equal."""
    if not 1 <= k <= len(values):
        raise ConfigError(f"1 <= k <= {len(values)} architectures must hold, but got {k}.")
    best: npt.NDArray[np.int64] = np.argsort(-values, kind="stable")[:k]
    return best


def top_overlap(scores: Values, truth: Values, k: int) -> float:
    """Share in [0, 1] of the ``k`` best by score that are among the ``k`` best by truth; by chance k / n. Ties go to
    the earlier ones.

    Raises:
        ConfigError: as :func:`pairwise_accuracy`, or no such ``k``.
    """
    x, y = two_lists(scores, truth)
    return len(np.intersect1d(_best(x, k), _best(y, k))) / k


def top_percentiles(scores: Values, truth: Values, k: int) -> Floats:
    """(k,): of each of the ``k`` best by score, best first, the percentage of the other architectures that are truly
    worse (equal ones count half): 100 is the best of all, 0 the worst.

    Raises:
        ConfigError: as :func:`pairwise_accuracy`, or no such ``k``.
    """
    from scipy.stats import rankdata

    x, y = two_lists(scores, truth)
    shares: Floats = 100 * (np.asarray(rankdata(y), dtype=np.float64) - 1) / (len(y) - 1)
    return shares[_best(x, k)]


def position_changes(scores: Values, truth: Values) -> Floats:
    """(n,): position by score minus true position, 1 being the best and equal ones sharing their mean. Positive: the
    scores put the architecture so many positions too low.

    Raises:
        ConfigError: as :func:`pairwise_accuracy`.
    """
    from scipy.stats import rankdata

    x, y = (np.asarray(rankdata(-values), dtype=np.float64) for values in two_lists(scores, truth))
    changes: Floats = x - y
    return changes


def id_sequence_tau(scores: Values, truth: Values, ids: Sequence[int] | None = None) -> float:
    """NOT a rank correlation; only for comparison with published numbers. Kendall's tau between two lists of
    architecture numbers, each in its order from worst to best, as the released code of "Evaluating the search phase"
    computes it.

    It is Kendall's tau where ``ids`` rise with the truth. With other ``ids`` (the positions, by default) an exactly
    reversed ranking may be far from -1.

    Raises:
        ConfigError: as :func:`pairwise_accuracy`, or ``ids`` are not n different numbers.
    """
    x, y = two_lists(scores, truth)
    numbers = np.arange(len(x)) if ids is None else np.asarray(ids)
    if len(numbers) != len(x) or len(np.unique(numbers)) != len(x):
        raise ConfigError(
            f"ids: {len(x)} architectures need as many different numbers, but got {len(np.unique(numbers))} in {len(numbers)}."
        )
    return kendall_tau(
        numbers[np.argsort(x, kind="stable")].astype(np.float64),
        numbers[np.argsort(y, kind="stable")].astype(np.float64),
    )


@dataclass(frozen=True)
class Null:
    """Standard deviations of the measures where scores have nothing to do with truths and no two are equal; the means
    are 1/2, 0 and 0.
    """

    pairwise: float
    spearman: float
    kendall: float


def null_deviations(n: int) -> Null:
    """Closed form for ``n`` architectures: tau has variance 2 (2 n + 5) / (9 n (n - 1)), PA a quarter of it, rho 1 / (n
    - 1) (Kendall 1938).

    Raises:
        ConfigError: fewer than two.
    """
    if n < 2:
        raise ConfigError(f"at least 2 architectures are needed, but got {n}.")
    tau = math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1)))
    return Null(tau / 2, 1 / math.sqrt(n - 1), tau)


@dataclass(frozen=True)
class Measured:
    """A measure, its 95 % percentile interval of a bootstrap over architectures, and its p-value.

    ``p``: share of random assignments of the scores to the architectures (with the given one) whose measure is as far
    from that of no relation, in either direction. NaN where the measure is undefined.
    """

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class RankAgreement:
    """``pairwise``: of :func:`pairwise_accuracy` with ties ``half``; ``spearman``: rho; ``kendall``: tau-b; over
    ``architectures``.
    """

    pairwise: Measured
    spearman: Measured
    kendall: Measured
    architectures: int


def rank_agreement(scores: Values, truth: Values, resamples: int = 1000, seed: int = 0) -> RankAgreement:
    """The three measures of the papers with intervals and p-values; ``resamples`` bootstrap samples and as many
    permutations.

    Raises:
        ConfigError: as :func:`nni_plugins.evaluators.statistics.correlation.correlation`.
    """
    found = correlation(scores, truth, resamples, seed)
    x, y = two_lists(scores, truth)
    low, high = _pairwise_interval(x, y, resamples, seed)
    of_pairs, of_ranks = _p_values(x, y, resamples, seed)
    rho, tau = found.spearman, found.kendall
    return RankAgreement(
        Measured(pairwise_accuracy(x, y), low, high, of_pairs),
        Measured(rho.value, rho.low, rho.high, of_ranks),
        Measured(tau.value, tau.low, tau.high, of_pairs),
        len(x),
    )


def _pairwise_interval(x: Floats, y: Floats, resamples: int, seed: int) -> tuple[float, float]:
    """An architecture and its own copy are no pair: counted as ties they would pull every resample towards 1/2."""
    count = len(x)
    drawn = resampled(count, resamples, seed, "pairwise bootstrap")
    times = np.stack([np.bincount(row, minlength=count) for row in drawn]).astype(np.float64)
    difference = ((times @ (_signs(x) * _signs(y)).astype(np.float64)) * times).sum(axis=1)
    pairs = count**2 - (times * times).sum(axis=1)
    return interval(0.5 + difference[pairs > 0] / (2 * pairs[pairs > 0]))


def _p_values(x: Floats, y: Floats, permutations: int, seed: int) -> tuple[float, float]:
    """(of pairwise accuracy and tau, which order permutations alike; of rho)."""
    from scipy.stats import rankdata

    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan"), float("nan")
    rng, signs_x, signs_y = generator(seed, "rank permutations"), _signs(x), _signs(y)
    a, b = (np.asarray(rankdata(values), dtype=np.float64) for values in (x, y))
    b = b - b.mean()
    orders = [np.arange(len(x)), *(rng.permutation(len(x)) for _ in range(permutations))]
    pairs = np.abs([int((signs_x[np.ix_(order, order)] * signs_y).sum(dtype=np.int64)) for order in orders])
    ranks = np.abs([float(a[order] @ b) for order in orders])
    return float((pairs >= pairs[0]).mean()), float((ranks >= ranks[0] * (1 - 1e-12)).mean())
