"""How alike the architectures of a search are: the individual networks of each, their mean and deviation (NAO-V2,
tables 1 and 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...errors import ConfigError
from ...statistics.differences import deviation, numbers
from .record import Run

By = Literal["rank", "seed"]


@dataclass(frozen=True)
class StabilityRow:
    """``values``: by rank or seed; ``std`` divides by n - 1, ``population_std`` by n, as the paper's "variance" does."""

    name: str
    policy: str
    values: tuple[float, ...]
    mean: float
    std: float
    population_std: float


@dataclass(frozen=True)
class Stability:
    """``columns``: "choice 1", ... by rank, "seed 7", ... by seed, or "run 1", ... if not all rows have the same seeds;
    a shorter row has no values in the last ones."""

    by: By
    columns: tuple[str, ...]
    rows: tuple[StabilityRow, ...]


def stability(runs: Sequence[Run], measure: str | None = None, by: By | None = None) -> Stability:
    """One row a policy with a column a seed (``by="seed"``, first choices only), or one row a search with a column a
    rank (``by="rank"``; searches of which only one network was trained are left out, unless all are so).

    Args:
        runs: as of a :class:`Comparison`; no baseline is needed, and one search is enough by rank.
        measure: one of ``Run.measures``; None: ``Run.value``.
        by: by default "rank" if any run has a rank above 0.

    Raises:
        ConfigError: no runs, a row of fewer than two networks, or runs without ``measure``.
    """
    by = by or ("rank" if any(run.rank > 0 for run in runs) else "seed")
    chosen = [run for run in sorted(runs, key=lambda r: (r.seed, r.rank)) if by == "rank" or run.rank == 0]
    if not chosen:
        raise ConfigError("stability needs runs, but got none.")
    policies = dict.fromkeys(run.policy for run in runs)
    groups: dict[str, list[Run]] = {}
    for policy in policies:
        mine = [run for run in chosen if run.policy == policy]
        several = by == "rank" and len({run.seed for run in mine}) > 1
        for run in mine:
            groups.setdefault(f"{policy}, seed {run.seed}" if several else policy, []).append(run)
    if by == "rank" and any(len(group) > 1 for group in groups.values()):
        groups = {
            name: group for name, group in groups.items() if len(group) > 1
        }  # a random policy has one network a seed
    length = max(map(len, groups.values()))
    seeds = {tuple(run.seed for run in group) for group in groups.values()}
    ordinals = [f"{'choice' if by == 'rank' else 'run'} {i + 1}" for i in range(length)]
    columns = [f"seed {seed}" for seed in seeds.pop()] if by == "seed" and len(seeds) == 1 else ordinals
    return Stability(by, tuple(columns), tuple(_row(name, group, measure) for name, group in groups.items()))


def pooled(found: Stability) -> Stability:
    """One row a policy: the mean of each column over its searches, and the root mean square of their deviations, which
    is the deviation within a search. Columns that only some of the searches have are left out."""
    rows = []
    for policy in dict.fromkeys(row.policy for row in found.rows):
        mine = [row for row in found.rows if row.policy == policy]
        length = min(len(row.values) for row in mine)
        table = np.array([row.values[:length] for row in mine])
        stds = (
            float(np.sqrt(np.mean([row.std**2 for row in mine]))),
            float(np.sqrt(np.mean([row.population_std**2 for row in mine]))),
        )
        rows.append(
            StabilityRow(
                policy, policy, tuple(table.mean(axis=0).tolist()), float(np.mean([row.mean for row in mine])), *stds
            )
        )
    return Stability(found.by, found.columns, tuple(rows))


def _row(name: str, runs: Sequence[Run], measure: str | None) -> StabilityRow:
    lacking = [
        run.label or f"seed {run.seed}, rank {run.rank}"
        for run in runs
        if measure is not None and measure not in run.measures
    ]
    if lacking or len(runs) < 2:
        problem = (
            f"no {measure} of {', '.join(lacking[:3])}"
            if lacking
            else f"at least two networks are needed, but there is {len(runs)}"
        )
        raise ConfigError(f"stability of {name}: {problem}.")
    x = numbers([run.value if measure is None else run.measures[measure] for run in runs])
    std = deviation(x)
    return StabilityRow(
        name, runs[0].policy, tuple(x.tolist()), float(x.mean()), std, std * ((len(x) - 1) / len(x)) ** 0.5
    )
