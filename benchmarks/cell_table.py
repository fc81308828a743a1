"""What benchmarks on tables of cells share: the tables, how a score ranks their cells, and what needs no search."""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators import kendall_tau
from nni_plugins.evaluators.tables.table import NASBENCH201_METRICS, Table
from nni_plugins.spaces import DARTS, NASBench101
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.cells.darts import OPERATIONS

Row = dict[str, Any]
PARAMETERS = "parameters"
MEASURED = ("tau_", "found_", "regret_", "seconds")
"""Beginnings of the names of columns that are averaged over seeds."""


NASBENCH101_OPERATIONS = ("input", "output", "maxpool3x3", "conv1x1-bn-relu", "conv3x3-bn-relu")
"""In NASLib's order."""


def naslib_table(path: Path, space: NASBench101 | DARTS) -> Table:
    """NASLib's records of networks with a known validation accuracy (%) on CIFAR-10: ``zc_*.json`` of its suite of
    zero-cost predictors (Krishnakumar et al., NeurIPS 2022), a list of ``arch`` and ``val_accuracy``. Those of DARTS'
    cells are predicted by NAS-Bench-301's surrogate.
    """
    records = json.loads(path.read_text())
    read = _nasbench101 if isinstance(space, NASBench101) else _darts
    architectures = tuple(read(space, ast.literal_eval(record["arch"])) for record in records)
    return Table(path.name, space, architectures, {"valid": np.array([record["val_accuracy"] for record in records])})


def _nasbench101(space: Any, numbers: Sequence[int]) -> Architecture:
    """Of 7 x 7 entries of a matrix and seven operations."""
    matrix = [list(numbers[i : i + 7]) for i in range(0, 49, 7)]
    architecture: Architecture = space.parse(
        {"matrix": matrix, "ops": [NASBENCH101_OPERATIONS[n] for n in numbers[50:55]]}
    )
    return architecture


def _darts(space: Any, cells: Sequence[Sequence[tuple[int, int]]]) -> Architecture:
    """Of a pair (state, operation) for each input of each node, of both cells."""
    normal, reduce = ([(OPERATIONS[operation], state) for state, operation in cell] for cell in cells)
    concat = [2, 3, 4, 5]
    architecture: Architecture = space.parse(
        {"normal": normal, "normal_concat": concat, "reduce": reduce, "reduce_concat": concat}
    )
    return architecture


def judged(scores: npt.NDArray[np.float64], table: Table, truths: Mapping[str, str] = NASBENCH201_METRICS) -> Row:
    """tau-b of ``scores`` with each data set's accuracy, and the accuracies of the first of the largest.

    Args:
        truths: data set -> metric of ``table``.
    """
    truth = {data: table.metric(metric) for data, metric in truths.items()}
    taus = {f"tau_{data}": round(kendall_tau(scores, values), 4) for data, values in truth.items()}
    return {**taus, **{f"found_{data}": float(values[int(scores.argmax())]) for data, values in truth.items()}}


def chance(
    table: Table, rng: np.random.Generator, key: str, truths: Mapping[str, str] = NASBENCH201_METRICS
) -> list[Row]:
    """One random cell of ``table``, and the best of ten by the table. Their names stand in column ``key``."""
    rows: list[Row] = []
    for name, count in (("one random cell", 1), ("best of 10 random cells", 10)):
        draws = rng.integers(0, len(table.architectures), (10_000, count))
        found = {data: float(table.metric(metric)[draws].max(1).mean()) for data, metric in truths.items()}
        rows.append({key: name, **{f"found_{data}": round(value, 2) for data, value in found.items()}})
    return rows


def beside(table: Table, rng: np.random.Generator, key: str) -> list[Row]:
    """What needs no search: the number of parameters, and :func:`chance`. Their names stand in column ``key``."""
    sizes = table.space.cost_table()(table.space.encode(table.architectures)).parameters.astype(np.float64)
    return [{key: PARAMETERS, **judged(sizes, table)}, *chance(table, rng, key)]


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
