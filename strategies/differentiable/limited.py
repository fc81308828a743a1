"""The most probable architectures within limits, in order and exactly. Free of torch.

A limit bounds a sum over an architecture's edges, as its log-probability is such a sum. With a price
:math:`\\lambda \\ge 0` for each cost, s the log-probability, c the costs and B the limits,

.. math:: s(a) \\le s(a) - \\lambda \\cdot c(a) + \\lambda \\cdot B

for every architecture a within the limits (Lagrangian relaxation). The right-hand side is again a sum over edges, so
that architectures can be listed by it. An architecture within the limits that is at least as probable as the right-hand
side of all that were not listed is more probable than any of those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.latency import latency_of
from nni_plugins.spaces.base import CostTable, SearchSpace
from nni_plugins.spaces.cells.darts import EdgeSpace
from nni_plugins.spaces.mixed.derivation import independent_choices, pairs_of_best, rows_of

from ..limits import Limits, cost_model

Floats = npt.NDArray[np.float64]

LISTED, MOST = 256, 1_000_000
"""So many architectures are listed at first, four times as many whenever that was not enough, and about so many at
most."""
DEAREST, CUTS = 1e6, 50
"""The largest price, in nats for what the dearest operation costs, and how often prices are improved."""
CHEAPER = 1e-10
"""Added to prices, so that of equally probable architectures the cheaper ones are listed first."""
ROUNDING = 1e-8
"""Nats by which the bound of what was not listed may be too large, :data:`CHEAPER` included."""


@dataclass(frozen=True)
class Choices:
    """One entry is chosen from each of several lists, ``values[g]: (n,)`` with ``costs[g]: (n, limits)``; both add up,
    and all costs must stay within ``budget: (limits,)``.
    """

    values: list[Floats]
    costs: list[Floats]
    budget: Floats


def most_probable(
    space: SearchSpace, tables: Mapping[str, Floats], limits: Limits, bar_none: bool = False
) -> Iterator[tuple[npt.NDArray[np.int8], float]]:
    """Index row (D,) and log-probability of every architecture that meets ``limits``, the most probable first.

    Args:
        space: of DARTS' cells or NAS-Bench-201, whose costs are sums over edges.
        tables: log-probabilities by kind of cell, (edges, operations).
        bar_none: see :func:`nni_plugins.spaces.mixed.derivation.independent_choices`.

    Raises:
        ConfigError: the next one is not found, because so many more probable ones are beyond the limits.
    """
    values, columns = independent_choices(space, tables, bar_none)
    choices = Choices(values, *_costs(space, tables, limits, bar_none))
    prices, listed, given = best_prices(choices) + CHEAPER, LISTED, set[bytes]()
    while True:
        scores, positions, bound = listed_within(choices, prices, listed)
        rows = rows_of(columns, positions)
        met = limits.mask(space, rows)  # latencies that were measured are not those of the model
        scores, rows = scores[met], rows[met]
        for place in np.argsort(-scores, kind="stable"):
            if scores[place] < bound - ROUNDING:
                break
            if rows[place].tobytes() not in given:
                given.add(rows[place].tobytes())
                yield rows[place], float(scores[place])
        if bound == -np.inf:
            return
        if listed >= MOST:
            raise ConfigError(
                f"only {len(given)} of the most probable architectures of {space!r} were found that meet the limits "
                f"{limits!r}: too many others are more probable.",
                "Raise the limits, or ask for fewer.",
            )
        listed *= 4


def _costs(
    space: SearchSpace, tables: Mapping[str, Floats], limits: Limits, bar_none: bool
) -> tuple[list[Floats], Floats]:
    """``costs`` and ``budget`` of :class:`Choices`, as shares of what the dearest choice costs.

    Latencies are those of the table's additive model: an architecture that it says to be too slow is left out even if it
    was measured to be fast.
    """
    bounds: list[tuple[float, Floats]] = []
    counted = cast(CostTable, cost_model(space, limits.image_size))
    if limits.max_parameters is not None:
        bounds.append((limits.max_parameters - counted.fixed_parameters, counted.parameters.astype(np.float64)))
    if limits.max_macs is not None:
        bounds.append((limits.max_macs - counted.fixed_macs, counted.macs.astype(np.float64)))
    if limits.latency_table is not None and (model := latency_of(limits.latency_table, space).model) is not None:
        bounds.append((cast(float, limits.max_latency) - model.fixed, model.parts))
    costs, budget = [], np.empty(len(bounds))
    for number, (left, parts) in enumerate(bounds):
        mixed, constant = _of_mixed_edges(space, tables, parts)
        by_choice = independent_choices(space, mixed, bar_none)[0]
        dearest = max(float(np.abs(cost).max()) for cost in by_choice) or 1.0
        costs.append([cost / dearest for cost in by_choice])
        budget[number] = (left - constant) / dearest
    counts = [len(values) for values in independent_choices(space, tables, bar_none)[0]]
    return [np.reshape([cost[g] for cost in costs], (len(bounds), n)).T for g, n in enumerate(counts)], budget


def _of_mixed_edges(space: SearchSpace, tables: Mapping[str, Floats], parts: Floats) -> tuple[dict[str, Floats], float]:
    """``parts: (S, V)``, what each part's value adds, in the shape of ``tables``, and what all parts add at least, for
    DARTS' edges say ``none`` where they are not taken.
    """
    first = int(isinstance(space, EdgeSpace))
    mixed = {kind: np.zeros(table.shape) for kind, table in tables.items()}
    edges = (row for table in mixed.values() for row in table)
    for row, part, costs in zip(edges, space.parts, parts, strict=True):
        taken = len(part.values) - first
        row[len(row) - taken :] = costs[first : first + taken] - first * costs[0]
    return mixed, first * float(parts[:, 0].sum())


def best_prices(choices: Choices) -> Floats:
    """(limits,): about those with which the best of all choices is worth least, by Kelley's cutting planes."""
    from scipy.optimize import linprog

    limits = len(choices.budget)
    prices, planes = np.zeros(limits), []
    for _ in range(CUTS):
        best = [int(np.argmax(v - c @ prices)) for v, c in zip(choices.values, choices.costs, strict=True)]
        value = sum(float(v[at]) for v, at in zip(choices.values, best, strict=True))
        left = choices.budget - sum(c[at] for c, at in zip(choices.costs, best, strict=True))
        planes.append([*left, -1.0, -value])  # the worth is at least value + prices . left
        table = np.array(planes)
        bounds = [(0.0, DEAREST)] * limits + [(None, None)]
        *lowest, worth = linprog([0.0] * limits + [1.0], table[:, :-1], table[:, -1], bounds=bounds).x
        if worth >= value + prices @ left - ROUNDING:
            break
        prices = np.array(lowest)
    return prices


def listed_within(choices: Choices, prices: Floats, n: int) -> tuple[Floats, npt.NDArray[np.int64], float]:
    """Of the about ``n`` choices that are worth most, values less prices, those within the budget: their values (m,) and
    places in the lists (m, lists). Then what any other one within the budget is worth at most, budget included; minus
    infinity if there is none.
    """
    worth = [v - c @ prices for v, c in zip(choices.values, choices.costs, strict=True)]
    later_worth, later_costs = float(sum(w.max() for w in worth)), sum(c.min(axis=0) for c in choices.costs)
    sums, values, spent = np.zeros(1), np.zeros(1), np.zeros((1, len(prices)))
    positions, bound = np.zeros((1, 0), dtype=np.int64), -np.inf
    for value, cost, own in zip(choices.values, choices.costs, worth, strict=True):
        later_worth, later_costs = later_worth - float(own.max()), later_costs - cost.min(axis=0)
        order = np.argsort(-own, kind="stable")
        first, second = pairs_of_best(len(sums), len(order), n)
        joint = sums[first] + own[order[second]]
        kept = np.argsort(-joint, kind="stable")[:n]
        if len(sums) * len(order) > n:
            bound = max(bound, float(joint[kept[-1]]) + later_worth + float(prices @ choices.budget))
        first, second = first[kept], order[second[kept]]
        costs = spent[first] + cost[second]
        possible = (costs + later_costs <= choices.budget + ROUNDING).all(axis=1)
        first, second = first[possible], second[possible]
        sums, spent, values = joint[kept][possible], costs[possible], values[first] + value[second]
        positions = np.concatenate([positions[first], second[:, None]], axis=1)
    return values, positions, bound
