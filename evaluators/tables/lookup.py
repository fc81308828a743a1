"""Table look-up as an NNI evaluator: a strategy that trains for days is tried in seconds."""

from __future__ import annotations

from typing import Any, NoReturn

import nni
from nni.nas.evaluator import Evaluator
from nni.nas.space import ExecutableModelSpace

from nni_plugins.spaces.architecture import Architecture

from ..errors import TableError
from .table import Table


class TableLookup(Evaluator):
    """``evaluate(architecture)`` returns ``metric`` of ``table``; within an NNI strategy it reports it as the final
    result.

    Args:
        table: from :func:`evaluators.read_table`, ``digits_table`` or ``nasbench201_table``.
        metric: a column of the table; larger is better.
    """

    def __init__(self, table: Table, metric: str = "accuracy") -> None:
        table.metric(metric)
        self.table, self.metric = table, metric

    def _dump(self) -> NoReturn:
        raise TableError(
            "TableLookup stays in this process.",
            'Use the sequential engine: NasExperimentConfig(execution_engine="sequential").',
        )

    def evaluate(self, model: Any) -> float:
        """``model``: an :class:`Architecture`, a sample dictionary, or a native string."""
        architecture = model if isinstance(model, Architecture) else self.table.space.parse(model)
        return self.table.value(architecture, self.metric)

    def _execute(self, model: Any) -> float:
        """NNI's hook that receives the frozen model space: no network is built."""
        if not isinstance(model, ExecutableModelSpace) or model.sample is None:
            raise TableError(f"a frozen model space is needed, but got {type(model).__name__}.")
        value = self.evaluate(model.sample)
        nni.report_final_result(value)
        return value
