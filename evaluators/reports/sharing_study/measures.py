"""How rankings with shared weights agree with stand-alone training. Perplexities, (A,) of A cells: smaller is better.
Free of torch.

Ties: tau is Kendall's tau-b, rho has mean ranks, and in pairwise accuracy a tie in either list counts half.
Perplexities of different cells hardly ever tie. The twins (cells that are the same function once their nodes are
renamed) are kept apart, as in the paper, because shared weights treat them differently; ``kendall_pooled`` is tau-b
with the stand-alone values of twins replaced by their mean, which are then tied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...errors import ConfigError
from ...randomness import generator
from ...statistics.ranking import kendall_tau, true_ranks
from ...statistics.ranking_metrics import Measured, id_sequence_tau, rank_agreement, top_overlap, top_percentiles
from .cells import Cells

Floats = npt.NDArray[np.float64]
TOPS = (1, 3, 5, 10)
LEAST = 3
"""Cells that can be compared."""


@dataclass(frozen=True)
class Study:
    """``stand_alone``: (A, S) perplexities of S seeds. ``shared``: sharing key -> (R, A) of R runs; ``curves``: key ->
    (R, E, A), and ``epochs``: (E,) after which they were measured, the last of which is the end. ``run_seeds``: of the
    R runs."""

    cells: Cells
    stand_alone: Floats
    shared: Mapping[str, Floats]
    curves: Mapping[str, Floats]
    epochs: tuple[int, ...]
    run_seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        cells = len(self.cells.names)
        shapes = {
            "stand_alone": self.stand_alone.shape[:1],
            **{key: found.shape[1:] for key, found in self.shared.items()},
        }
        wrong = [name for name, shape in shapes.items() if shape != (cells,)]
        if wrong or cells < LEAST:
            raise ConfigError(
                f"at least {LEAST} cells and a value for each are needed, but got {cells} cells and {shapes}."
            )
        if not all(
            np.isfinite(values).all() for values in (self.stand_alone, *self.shared.values(), *self.curves.values())
        ):
            raise ConfigError("perplexities must be finite.")

    @property
    def truth(self) -> Floats:
        """(A,): mean over seeds."""
        mean: Floats = self.stand_alone.mean(1)
        return mean

    @property
    def pooled(self) -> Floats:
        """(A,): the same, and twins have the mean of both."""
        pooled, groups = self.truth.copy(), list(range(len(self.truth)))
        for a, b in self.cells.twins:
            groups[b] = groups[a]
        for group in set(groups):
            members = np.array([g == group for g in groups])
            pooled[members] = self.truth[members].mean()
        return pooled


@dataclass(frozen=True)
class RunAgreement:
    """One run with shared weights against the truth. ``chosen``: position of the cell that it ranks first,
    ``percentile``: how many percent of the others are truly worse, ``regret``: its stand-alone perplexity minus that of
    the truly best. ``id_sequence``: NOT a rank correlation, only for comparison with the released code; see
    :func:`nni_plugins.evaluators.statistics.ranking_metrics.id_sequence_tau`.
    """

    seed: int
    kendall: Measured
    spearman: Measured
    pairwise: Measured
    kendall_pooled: float
    overlap: dict[int, float]
    chosen: int
    percentile: float
    regret: float
    id_sequence: float


def run_agreements(study: Study, key: str, resamples: int = 1000, seed: int = 0) -> list[RunAgreement]:
    """Of every run with this sharing key."""
    truth, found = -study.truth, []
    tops = [k for k in TOPS if k <= len(truth)]
    for run, scores in zip(study.run_seeds, -study.shared[key], strict=True):
        ranks = rank_agreement(scores, truth, resamples, seed)
        chosen = int(np.argmax(scores))
        found.append(
            RunAgreement(
                run,
                ranks.kendall,
                ranks.spearman,
                ranks.pairwise,
                kendall_tau(scores, -study.pooled),
                {k: top_overlap(scores, truth, k) for k in tops},
                chosen,
                float(top_percentiles(scores, truth, 1)[0]),
                float(study.truth[chosen] - study.truth.min()),
                id_sequence_tau(scores, truth, study.cells.numbers),
            )
        )
    return found


@dataclass(frozen=True)
class KeyAgreement:
    """Over the runs with one sharing key. ``low``, ``high``: 95 % interval of the mean tau over runs (Student's t, NaN
    for one run); the runs share one truth, whose noise is not in it. ``p``: share of random assignments of the truth to
    the cells for which the mean tau over the same runs is as far from 0. ``best``, ``average``, ``worst``: positions of
    the runs with the largest tau, the one nearest to the mean, the smallest.
    """

    key: str
    runs: int
    mean: float
    deviation: float
    low: float
    high: float
    p: float
    best: int
    average: int
    worst: int


def key_agreement(study: Study, key: str, permutations: int = 2000, seed: int = 0) -> KeyAgreement:
    """Mean tau-b of the runs with this sharing key, and whether it may be chance."""
    from scipy.stats import t

    taus = np.array([kendall_tau(-row, -study.truth) for row in study.shared[key]])
    count, mean = len(taus), float(taus.mean())
    deviation = float(taus.std(ddof=1)) if count > 1 else float("nan")
    half = float(t.ppf(0.975, count - 1)) * deviation / count**0.5 if count > 1 else float("nan")
    p = _mean_tau_p(study.shared[key], study.truth, permutations, seed)
    average = int(np.argmin(np.abs(taus - mean)))
    return KeyAgreement(
        key, count, mean, deviation, mean - half, mean + half, p, int(taus.argmax()), average, int(taus.argmin())
    )


def _mean_tau_p(runs: Floats, truth: Floats, permutations: int, seed: int) -> float:
    """Tau-b's denominator does not change when the truth is permuted, so each run is a fixed weighted sum of signs of
    pairs.
    """
    signs = np.sign(truth[:, None] - truth[None])
    weights = np.zeros_like(signs)
    for row in runs:
        of_run = np.sign(row[:, None] - row[None])
        scale = np.sqrt((of_run != 0).sum() * (signs != 0).sum())
        if scale == 0:
            return float("nan")
        weights += of_run / scale
    rng = generator(seed, "mean tau permutations")
    orders = [np.arange(len(truth)), *(rng.permutation(len(truth)) for _ in range(permutations))]
    sums = np.abs([float((signs[np.ix_(order, order)] * weights).sum()) for order in orders])
    return float((sums >= sums[0] - 1e-9).mean())


def ceiling(stand_alone: Floats) -> Floats:
    """(S,) tau-b of each stand-alone seed against the mean of the others: what a perfect ranking could reach against
    one seed's noise.

    Raises:
        ConfigError: fewer than two seeds.
    """
    if stand_alone.shape[1] < 2:
        raise ConfigError("at least 2 stand-alone seeds are needed to compare them.")
    total, seeds = stand_alone.sum(1), stand_alone.shape[1]
    return np.array([kendall_tau(-one, -(total - one) / (seeds - 1)) for one in stand_alone.T])


@dataclass(frozen=True)
class TwinGaps:
    """Mean differences of position within the ``pairs`` of twins, by stand-alone training and by shared weights (key ->
    mean over runs); ``chance``: of two random cells, (A + 1) / 3. ``perplexity``: mean stand-alone difference of twins.
    With exact values they were 0 stand-alone.
    """

    pairs: int
    stand_alone: float
    shared: dict[str, float]
    chance: float
    perplexity: float


def twin_gaps(study: Study) -> TwinGaps | None:
    """None where no two cells are twins."""
    if not study.cells.twins:
        return None
    first, second = (np.array(side) for side in zip(*study.cells.twins, strict=True))

    def gap(values: Floats) -> float:
        ranks = true_ranks(-values)
        return float(np.abs(ranks[first] - ranks[second]).mean())

    shared = {key: float(np.mean([gap(row) for row in rows])) for key, rows in study.shared.items()}
    difference = float(np.abs(study.truth[first] - study.truth[second]).mean())
    return TwinGaps(len(first), gap(study.truth), shared, (len(study.truth) + 1) / 3, difference)


def positions(perplexities: Sequence[float] | Floats) -> Floats:
    """(A,): 1 for the smallest perplexity; equal ones share the mean of their positions."""
    return true_ranks(-np.asarray(perplexities, dtype=np.float64))
