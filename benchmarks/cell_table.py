"""What benchmarks on NAS-Bench-201's table share: how a score ranks its cells, and what needs no search."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators import kendall_tau
from nni_plugins.evaluators.tables.table import NASBENCH201_METRICS, Table

Row = dict[str, Any]
PARAMETERS = "parameters"
MEASURED = ("tau_", "found_", "regret_", "seconds")
"""Beginnings of the names of columns that are averaged over seeds."""


def judged(scores: npt.NDArray[np.float64], table: Table) -> Row:
    """tau-b of ``scores`` with each data set's accuracy, and the accuracies of the first of the largest."""
    truth = {data: table.metric(metric) for data, metric in NASBENCH201_METRICS.items()}
    taus = {f"tau_{data}": round(kendall_tau(scores, values), 4) for data, values in truth.items()}
    return {**taus, **{f"found_{data}": float(values[int(scores.argmax())]) for data, values in truth.items()}}


def beside(table: Table, rng: np.random.Generator, key: str) -> list[Row]:
    """What needs no search: the number of parameters, one random draw, and the best of ten random ones by the table.
    Their names stand in column ``key``.
    """
    sizes = table.space.cost_table()(table.space.encode(table.architectures)).parameters.astype(np.float64)
    rows: list[Row] = [{key: PARAMETERS, **judged(sizes, table)}]
    for name, count in (("one random cell", 1), ("best of 10 random cells", 10)):
        draws = rng.integers(0, len(table.architectures), (10_000, count))
        means = {
            f"found_{d}": round(float(table.metric(m)[draws].max(1).mean()), 2) for d, m in NASBENCH201_METRICS.items()
        }
        rows.append({key: name, **means})
    return rows


def over_seeds(rows: Sequence[Row], key: str) -> list[Row]:
    """Mean and standard deviation of the measured columns of the rows that share ``key``."""
    means: list[Row] = []
    for name in dict.fromkeys(row[key] for row in rows):
        group = [row for row in rows if row[key] == name]
        mean: Row = {key: name, "seeds": len(group)}
        for column in group[0]:
            if column.startswith(MEASURED):
                values = np.array([one[column] for one in group])
                mean[column] = round(float(values.mean()), 3)
                mean[f"{column}_deviation"] = round(float(values.std(ddof=1)), 3) if len(group) > 1 else ""
        means.append(mean)
    return means


def write(folder: Path, name: str, rows: Sequence[Row]) -> None:
    """A CSV file with the columns of all ``rows``."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with open(folder / name, "w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
