"""More sharing, worse ranking? Cells in groups by the number of shared matrices before the searched node.

The groups also differ in depth, so positions with shared weights alone say nothing: a deeper cell may deserve a worse
one. What counts is the change of position, shared minus stand-alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import ConfigError
from ...statistics.ranking_metrics import Measured, rank_agreement
from .measures import Floats, Study, positions


@dataclass(frozen=True)
class Group:
    """Means over the ``cells`` with ``matrices`` shared ones: perplexities; positions (1 is best) alone and with shared
    weights; ``change``: their difference, positive where shared weights put the cells too low, and ``deviation``: of
    its means over the runs.
    """

    matrices: int
    cells: int
    stand_alone_perplexity: float
    shared_perplexity: float
    stand_alone_position: float
    shared_position: float
    change: float
    deviation: float


@dataclass(frozen=True)
class Amounts:
    """``groups``, ascending; tau-b, over cells, of the number of shared matrices with the position by stand-alone
    training (``depth``: the confound), with the mean position over the runs with shared weights (``shared``: what the
    paper looks at), and with its ``change``.
    """

    key: str
    groups: tuple[Group, ...]
    depth: Measured
    shared: Measured
    change: Measured


def amounts(study: Study, key: str, resamples: int = 1000, seed: int = 0) -> Amounts:
    """Of a study of :func:`nni_plugins.evaluators.reports.sharing_study.amount_cells`.

    Raises:
        ConfigError: its cells are in no groups.
    """
    groups = study.cells.groups
    if groups is None:
        raise ConfigError("these cells are not grouped by the number of shared matrices.", "Use amount_cells(space).")
    true = positions(study.truth)
    runs: Floats = np.stack([positions(row) for row in study.shared[key]])
    found = []
    for number in sorted(set(groups.tolist())):
        of = groups == number
        changes = (runs - true)[:, of].mean(1)
        found.append(
            Group(
                int(number),
                int(of.sum()),
                float(study.truth[of].mean()),
                float(study.shared[key][:, of].mean()),
                float(true[of].mean()),
                float(runs[:, of].mean()),
                float(changes.mean()),
                float(changes.std(ddof=1)) if len(changes) > 1 else float("nan"),
            )
        )
    amount, mean = groups.astype(np.float64), runs.mean(0)
    taus = [rank_agreement(values, amount, resamples, seed).kendall for values in (true, mean, mean - true)]
    return Amounts(key, tuple(found), *taus)
