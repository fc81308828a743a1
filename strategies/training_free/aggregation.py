r"""Several scores as one: by the ranks that they give.

AZ-NAS (Lee & Ham, "AZ-NAS: Assembling zero-cost proxies for network architecture search", CVPR 2024, and its
official code) adds up logarithms: of m candidates, an architecture whose k-th score has the rank :math:`r_k` (1 the
worst, m the best, equal ones share their mean rank) gets

.. math:: \sum_k \log \frac{r_k}{m},

which a single bad rank pulls down; ``mean_rank`` is :math:`\sum_k r_k / (K m)`. A score that is undefined for an
architecture stands below all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..ranking import TIE

Rule = Literal["log_rank", "mean_rank"]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Aggregation:
    """What scores of any architectures are worth among those of the candidates ``pool: (m, K)``.

    ``groups``: how many columns next to one another are one score, such as AZ-NAS' four, which become one by the sum of
    their logarithms first; by default every column is one.
    """

    pool: Floats
    rule: Rule = "log_rank"
    groups: tuple[int, ...] | None = None

    def __call__(self, values: Floats) -> Floats:
        """``values: (n, K)`` -> (n,), larger is better. Rows of the pool get their ranks in it; others the rank where they
        would stand.
        """
        if self.groups is not None:
            inner = [Aggregation(part) for part in self._split(self.pool)]
            pool, own = (self._joined(inner, given) for given in (self.pool, values))
            return Aggregation(pool, self.rule)(own)
        shares = self.ranks(values) / len(self.pool)
        worth: Floats = np.log(shares).sum(axis=1) if self.rule == "log_rank" else shares.mean(axis=1)
        return worth

    def _split(self, values: Floats) -> list[Floats]:
        return np.split(values, np.cumsum(self.groups or ())[:-1], axis=1)

    def _joined(self, inner: list[Aggregation], values: Floats) -> Floats:
        parts = zip(inner, self._split(values), strict=True)
        return np.stack([one(part) if part.shape[1] > 1 else part[:, 0] for one, part in parts], axis=1)

    def ranks(self, values: Floats) -> Floats:
        """(n, K), between 1/2 and m + 1/2."""
        columns = []
        for of_pool, column in zip(np.sort(_tied(self.pool), axis=0).T, _tied(values).T, strict=True):
            below, upto = (np.searchsorted(of_pool, column, side) for side in ("left", "right"))
            columns.append((below + upto + 1) / 2)
        return np.stack(columns, axis=1) if columns else np.empty((len(values), 0))


def _tied(values: Floats) -> Floats:
    """With the scores equal that rankings take to be, and undefined ones below all others."""
    tied: Floats = np.round(np.where(np.isnan(values), -np.inf, values), TIE).astype(np.float64)
    return tied


def aggregated(values: Floats, rule: Rule = "log_rank", groups: tuple[int, ...] | None = None) -> Floats:
    """``values: (n, K)`` of all candidates among one another: (n,)."""
    return Aggregation(values, rule, groups)(values)
