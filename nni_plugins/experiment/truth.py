"""A table of known accuracies by which an experiment is judged; nothing searches with it. Free of torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from nni_plugins.evaluators.errors import ConfigError, TableError
from nni_plugins.evaluators.settings import Settings
from nni_plugins.evaluators.statistics.ranking import true_ranks
from nni_plugins.evaluators.tables.table import Table, check_images, open_table
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace


class TruthSettings(Settings):
    """``table``: ``digits``, or a CSV or NPZ file (nni-plugins docs tables)."""

    table: str = "digits"
    metric: str = Field("accuracy", description="what architectures are ranked by in the table")
    other_images: bool = Field(False, description="take a table of other images than the experiment's")


class ListedTruthSettings(TruthSettings):
    """With the metrics that a list of architectures shows."""

    also: tuple[str, ...] = Field((), description="other metrics of the table that stand beside it")


def truth_table(truth: TruthSettings | None, space: SearchSpace, data: Any = None) -> Table | None:
    """The table that ``truth`` names, or None; ``data``: the settings of the experiment's images.

    Raises:
        TableError: it cannot be read, or lacks the metric.
        ConfigError: it is of another space, or of other images.
    """
    if truth is None:
        return None
    if truth.table != "digits" and not Path(truth.table).expanduser().is_absolute():
        raise ConfigError(
            f"truth.table: must be an absolute path, but got {truth.table!r}: trials run in other folders."
        )
    table = open_table(truth.table, space, "truth.table")
    check_images(table, data, "truth.table", truth.other_images)
    table.metric(truth.metric)
    also = truth.also if isinstance(truth, ListedTruthSettings) else ()
    missing = [metric for metric in also if metric not in table.metrics]
    if missing:
        raise TableError(
            f"truth.also: {table.name} has no {', '.join(missing)}; its metrics are {', '.join(table.metrics)}.",
            "Leave them out of truth.also, or give a table that has them.",
        )
    return table


def judge(table: Table, truth: ListedTruthSettings, architecture: Architecture) -> dict[str, Any]:
    """``true_accuracy`` and ``true_rank`` of an architecture in a table, None where it has none, and ``true_values`` by
    each of the other metrics that it has.
    """
    values = table.metric(truth.metric)
    also = {name: value for name in truth.also if (value := _value(table, name, architecture)) is not None}
    value = _value(table, truth.metric, architecture)
    rank = None if value is None else float(true_ranks(values)[np.flatnonzero(values == value)[0]])
    return {"true_accuracy": value, "true_rank": rank, "true_values": also}


def _value(table: Table, metric: str, architecture: Architecture) -> float | None:
    try:
        return table.value(architecture, metric)
    except TableError:
        return None
