"""A table of known accuracies by which an experiment is judged; nothing searches with it. Free of torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nni_plugins.evaluators.errors import ConfigError, TableError
from nni_plugins.evaluators.settings import Settings
from nni_plugins.evaluators.statistics.ranking import true_ranks
from nni_plugins.evaluators.tables.table import Table, open_table
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace


class TruthSettings(Settings):
    """``table``: ``digits``, or a CSV or NPZ file (docs/tables.md)."""

    table: str = "digits"
    metric: str = "accuracy"


def truth_table(truth: TruthSettings | None, space: SearchSpace) -> Table | None:
    """The table that ``truth`` names, or None.

    Raises:
        TableError: it cannot be read, or lacks the metric.
        ConfigError: it is of another space.
    """
    if truth is None:
        return None
    if truth.table != "digits" and not Path(truth.table).expanduser().is_absolute():
        raise ConfigError(
            f"truth.table: must be an absolute path, but got {truth.table!r}: trials run in other folders."
        )
    table = open_table(truth.table, space, "truth.table")
    table.metric(truth.metric)
    return table


def judge(table: Table, metric: str, architecture: Architecture) -> dict[str, float | None]:
    """``true_accuracy`` and ``true_rank`` of an architecture in a table, None where it has none."""
    values = table.metric(metric)
    try:
        value = table.value(architecture, metric)
    except TableError:
        return {"true_accuracy": None, "true_rank": None}
    return {"true_accuracy": value, "true_rank": float(true_ranks(values)[np.flatnonzero(values == value)[0]])}
