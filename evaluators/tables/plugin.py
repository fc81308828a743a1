"""Looking results up in a table instead of training: a whole experiment in seconds. Free of torch."""

from __future__ import annotations

import zlib
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from nni_plugins.spaces.architecture import Architecture

from ..base import EvaluationSettings, EvaluatorPlugin, Measured, Metric, Network, Report
from ..errors import ConfigError
from .table import Table, check_images, open_table


class TableEvaluation(EvaluationSettings):
    """A table of results, for spaces all of whose architectures are known."""

    table: str = Field("digits", description="``digits``, or a CSV or NPZ file (nni-plugins docs tables)")
    metric: str = Field(
        "accuracy", description="the validation metric: what strategies that ask are told, and the best is chosen by"
    )
    test_metric: str | None = Field(
        None, description="what is reported of architectures, and compared; default: the same"
    )
    larger_is_better: bool = True
    unit: str = "%"
    other_images: bool = Field(False, description="take a table of other images than the experiment's")

    @property
    def compared(self) -> str:
        """What architectures are compared on."""
        return self.test_metric or self.metric


class TablePlugin(EvaluatorPlugin):
    """``evaluator: table``."""

    name = "table"
    about = "a look-up in a table of known results"
    settings_class = TableEvaluation
    looks_up = True
    curve_file = None
    paths = ("table",)
    harmless = frozenset({"unit", "other_images"})
    settings: TableEvaluation

    @cached_property
    def table(self) -> Table:
        """The table, read once.

        Raises:
            TableError: it cannot be read, or lacks a metric or some of its values; ConfigError: it is of another space, or of
                other images.
        """
        table = open_table(self.settings.table, self.space, "table", forms=True)
        check_images(table, self.data, "table", self.settings.other_images)
        for metric in (self.settings.metric, self.settings.compared):
            table.check_whole(metric)
        return table

    @property
    def metric(self) -> Metric:
        """The column that architectures are compared on."""
        return Metric(self.settings.compared, self.settings.unit, self.settings.larger_is_better)

    @property
    def holds_out(self) -> bool:
        """The validation metric."""
        return True

    def identity(self) -> dict[str, Any]:
        """The settings and the table's content: it may be replaced by another one of the same name."""
        names = (self.settings.metric, self.settings.compared)
        return {**super().identity(), "content": [zlib.crc32(self.table.metric(name).tobytes()) for name in names]}

    def check_files(self) -> None:
        """The table is read."""
        if self.settings.table != "digits" and not Path(self.settings.table).expanduser().is_absolute():
            raise ConfigError(f"table: must be an absolute path, but got {self.settings.table!r}")
        _ = self.table

    def evaluate(self, network: Network, seed: int, folder: Path | None, report: Report | None) -> Measured:
        """Look both metrics up."""
        assert isinstance(network, Architecture)
        told = self.settings.metric
        valid = self.table.value(network, told)
        metrics = {} if self.settings.test_metric is None else {f"valid_{told}": valid}
        costs = self.space.cost_table()(self.space.encode([network]))
        cost = {"parameters": float(costs.parameters[0])}
        return Measured(self.table.value(network, self.settings.compared), metrics, [], cost, valid)

    def ask(self, architecture: Architecture, seed: int, folder: Path | None) -> float:
        """The validation metric."""
        return self.metric.oriented(self.table.value(architecture, self.settings.metric))
