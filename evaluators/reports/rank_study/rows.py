"""Results of a ranking study, a row a trained supernet, and their tables in the layout of NAO-V2's tables 2 to 4. Free
of torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...statistics.ranking_metrics import (
    Measured,
    Null,
    RankAgreement,
    id_sequence_tau,
    null_deviations,
    pairwise_accuracy,
    rank_agreement,
    sparse_tau,
    top_overlap,
    top_percentiles,
)
from .published import EPOCHS, EPOCHS_OF_SIZES, SCHEDULES, SIZES, Printed

Floats = npt.NDArray[np.float64]
Sizes = Literal["random", "similar", "diverse"]
Schedule = Literal["independent", "dependent"]


@dataclass(frozen=True)
class Condition:
    """How a supernet was trained: on architectures of which sizes, for how long, with which learning-rate period, from
    which seed.
    """

    sizes: Sizes
    epochs: int
    schedule: Schedule
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.sizes}-{self.epochs}-{self.schedule}-{self.seed}"


@dataclass(frozen=True)
class Row:
    """A supernet's one-shot scores against the truth.

    ``sparse``: tau-b with binned truths; ``untied``: pairwise accuracy over pairs with different truths; ``overlap``: k
    -> share of the k best by score among the truly k best; ``percentiles``: k -> (least, median, largest) true
    percentile of the k best by score; ``id_sequence``: see
    :func:`nni_plugins.evaluators.statistics.ranking_metrics.id_sequence_tau`, with numbers in the order of the draw;
    ``spread``: standard deviation of the scores.
    """

    condition: Condition
    agreement: RankAgreement
    sparse: float
    untied: float
    overlap: Mapping[int, float]
    percentiles: Mapping[int, tuple[float, float, float]]
    id_sequence: float
    spread: float


def row_of(
    condition: Condition,
    scores: Floats,
    truth: Floats,
    *,
    resamples: int = 1000,
    seed: int = 0,
    width: float = 0.1,
    top: Sequence[int] = (),
) -> Row:
    """Compare ``scores: (n,)`` with ``truth: (n,)``; of ``top`` only what is below n is used.

    Raises:
        ConfigError: see :func:`nni_plugins.evaluators.statistics.ranking_metrics.rank_agreement`.
    """
    below = [k for k in top if k < len(truth)]
    found = {k: top_percentiles(scores, truth, k) for k in below}
    return Row(
        condition,
        rank_agreement(scores, truth, resamples, seed),
        sparse_tau(scores, truth, width),
        pairwise_accuracy(scores, truth, "untied"),
        {k: top_overlap(scores, truth, k) for k in below},
        {k: (float(p.min()), float(np.median(p)), float(p.max())) for k, p in found.items()},
        id_sequence_tau(scores, truth),
        float(np.std(scores)),
    )


@dataclass(frozen=True)
class Cell:
    """A measure over the supernet seeds: ``mean``, ``deviation`` (sample; NaN of one seed), how many ``seeds``, and the
    bootstrap interval of a single seed (NaN of several)."""

    mean: float
    deviation: float
    low: float
    high: float
    seeds: int

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return "undefined"
        if self.seeds > 1:
            return f"{self.mean:.3f} ± {self.deviation:.3f}"
        return f"{self.mean:.3f} [{self.low:.2f}, {self.high:.2f}]"


def cell(several: Sequence[Measured]) -> Cell:
    """Of the same measure with different seeds; undefined ones make the mean undefined."""
    values = np.array([one.value for one in several])
    if len(several) == 1:
        return Cell(float(values[0]), math.nan, several[0].low, several[0].high, 1)
    return Cell(float(values.mean()), float(values.std(ddof=1)), math.nan, math.nan, len(several))


@dataclass(frozen=True)
class Line:
    """``keys``: what the first columns say; ``printed``: the paper's numbers for the same condition, where it has them."""

    keys: tuple[str, ...]
    pairwise: Cell
    spearman: Cell
    kendall: Cell
    printed: Printed | None


@dataclass(frozen=True)
class Table:
    """``number``: of the paper's table with this layout; ``heads``: of the key columns."""

    number: int
    title: str
    heads: tuple[str, ...]
    lines: tuple[Line, ...]


def tables(rows: Sequence[Row]) -> list[Table]:
    """Those of the paper's three tables for which there are rows.

    Table 2: a line an epoch count, of the first sizes, with the independent schedule if there is one. Table 3: epochs
    (the paper: only 5) and sizes, with the dependent schedule if there is one, as in the paper. Table 4: epochs and
    schedules, of the first sizes.
    """
    if not rows:
        return []
    sizes = list(dict.fromkeys(row.condition.sizes for row in rows))
    epochs = list(dict.fromkeys(row.condition.epochs for row in rows))
    schedules = {row.condition.schedule for row in rows}
    first = sizes[0]
    usual: Schedule = "independent" if "independent" in schedules else "dependent"
    papers: Schedule = "dependent" if "dependent" in schedules else "independent"

    def line(
        keys: tuple[str, ...], printed: Printed | None, of_sizes: Sizes, of_epochs: int, schedule: Schedule
    ) -> Line:
        chosen = [
            r.agreement
            for r in rows
            if (r.condition.sizes, r.condition.epochs, r.condition.schedule) == (of_sizes, of_epochs, schedule)
        ]
        return Line(
            keys,
            cell([a.pairwise for a in chosen]),
            cell([a.spearman for a in chosen]),
            cell([a.kendall for a in chosen]),
            printed,
        )

    second = tuple(line((str(e),), EPOCHS.get(e), first, e, usual) for e in epochs)
    found = [Table(2, f"by training epochs ({first} sizes, {usual} schedule)", ("epochs",), second)]
    if len(sizes) > 1:
        third = tuple(
            line((str(e), s), SIZES.get(s) if e == EPOCHS_OF_SIZES else None, s, e, papers)
            for e in epochs
            for s in sizes
        )
        found.append(Table(3, f"by sizes of the architectures ({papers} schedule)", ("epochs", "sizes"), third))
    if len(schedules) > 1:
        both: list[tuple[int, Schedule]] = [(e, s) for e in epochs for s in (papers, usual)]
        fourth = tuple(line((str(e), s), SCHEDULES.get((e, s)), first, e, s) for e, s in both)
        found.append(Table(4, f"by learning-rate schedule ({first} sizes)", ("epochs", "schedule"), fourth))
    return found


def noise(n: int) -> str:
    """What chance alone does to the measures, in a sentence."""
    null: Null = null_deviations(n)
    return (
        f"If scores had nothing to do with truths, {n} architectures would give PA 0.5 ± {null.pairwise:.3f}, rho 0 ± "
        f"{null.spearman:.3f} and tau 0 ± {null.kendall:.3f} (standard deviations): rows within about two of these of "
        "chance, and rows that differ by less than about three of them from each other, say nothing by themselves."
    )


def reliability(truths: Iterable[Floats]) -> float:
    """Mean pairwise accuracy between the stand-alone accuracies of two seeds: what a one-shot score could reach at
    most, roughly, against one of them. NaN of a single seed."""
    several = list(truths)
    pairs = [pairwise_accuracy(a, b) for i, a in enumerate(several) for b in several[i + 1 :]]
    return float(np.mean(pairs)) if pairs else math.nan
