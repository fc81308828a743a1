"""Does a supernet's accuracy say how good its architecture is? Options A to D (RF-DARTS, figure 1). Free of torch until
it runs.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nni_plugins.evaluators.base import Report, lasting
from nni_plugins.evaluators.diagnostics.options import OptionRow, OptionSummary, summarise
from nni_plugins.evaluators.errors import DataError
from nni_plugins.evaluators.statistics.ranking import kendall_tau
from nni_plugins.evaluators.tables.table import Table
from nni_plugins.spaces.architecture import Architecture

from ...experiment.jobs import Value
from ...experiment.truth import truth_table
from .question import Condition, Question, Results
from .settings import OptionsDiagnosis

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class OptionsQuestion(Question):
    """Of searches that differ in what of the supernet learns."""

    about = "accuracy of the supernet against that of what it finds, for options A to D"
    settings_class = OptionsDiagnosis
    curve_file = "search/metrics.jsonl"
    settings: OptionsDiagnosis

    @property
    def conditions(self) -> dict[str, Condition]:
        """The option, and the seed."""
        return {
            f"{option}-{seed}": {"option": option, "seed": seed}
            for option in self.settings.options
            for seed in self.settings.seeds
        }

    def identity(self, condition: Condition) -> dict[str, Any]:
        """The search, and how what it finds is judged; a table may be replaced by another one of the same name."""
        s = self.settings
        judged = s.model_dump(mode="json", include={"truth", "stand_alone", "stand_alone_seed"})
        if self._table is not None and s.truth is not None:
            judged["content"] = zlib.crc32(self._table.metric(s.truth.metric).tobytes())
        return {"space": s.space, "search": s.search.model_dump(mode="json"), **lasting(judged), **condition}

    @cached_property
    def _table(self) -> Table | None:
        """Of truth."""
        return truth_table(self.settings.truth, self.settings.search_space, self.settings.data)

    def check(self) -> None:
        """The table of truth can be read."""
        _ = self._table

    def prepare(self) -> None:
        """What is found can be judged."""
        self.objective.check(self.data.train)
        _ = self._accuracy

    @cached_property
    def _accuracy(self) -> Callable[[Architecture, Path | None], float]:
        """Of an architecture that was found, in percent: looked up, or after training it in the folder.

        Raises:
            DataError, LabelError: there are no test images, or no labels.
        """
        s, table = self.settings, self._table
        if table is not None and s.truth is not None:
            metric = s.truth.metric
            return lambda architecture, folder: table.value(architecture, metric)
        from nni_plugins.evaluators.stand_alone.training import StandAlone

        data, training = self.data, s.stand_alone
        if data.test is None:
            raise DataError(
                f"{data.train.name}: stand-alone training needs labelled test images.",
                "Set truth, or add a test folder.",
            )
        _ = data.train.labels, data.test.labels  # those that lack them are refused now, not after the searches

        def trained(architecture: Architecture, folder: Path | None) -> float:
            evaluator = StandAlone(data, training, space=s.search_space, seed=s.stand_alone_seed, folder=folder)
            return evaluator.train(architecture).accuracy

        return trained

    def run(self, condition: Condition, folder: Path | None, report: Report | None) -> Value:
        """``default``: percent of the architecture that the search found."""
        from nni_plugins.strategies.differentiable.option_study import run_option

        s = self.settings
        row = run_option(
            s.search_space,
            self.data.train,
            self.objective,
            s.search,
            s.training,
            condition["option"],
            condition["seed"],
            self._accuracy,
            folder=folder,
            report=report,
        )
        return {"default": row.accuracy, "supernet_accuracy": row.supernet_accuracy, "result": asdict(row)}

    def parts(self, results: Results) -> list[dict[str, Any]]:
        """The searches."""
        return list(results.values())

    def rows(self, results: Results) -> list[dict[str, Any]]:
        """The same."""
        return self.parts(results)

    def _summaries(self, results: Results) -> tuple[list[OptionRow], list[OptionSummary]]:
        rows = [OptionRow(**result) for result in results.values()]
        return rows, summarise(rows)

    def reading(self, results: Results) -> list[str]:
        """Both accuracies by option, and whether they agree."""
        rows, summaries = self._summaries(results)
        sentences = [
            f"option {s.option}: supernet {s.supernet[0]:.2f} ± {s.supernet[1]:.2f} %, found {s.found[0]:.2f} ± "
            f"{s.found[1]:.2f} %, {s.skips:.1f} skip connections (mean of {sum(r.option == s.option for r in rows)})."
            for s in summaries
        ]
        if len(rows) > 1:
            tau = kendall_tau([row.supernet_accuracy for row in rows], [row.accuracy for row in rows])
            agreement = f"{tau:.2f}" if np.isfinite(tau) else "undefined, for one of the two never varies"
            sentences.append(f"Kendall's tau-b of the two accuracies over {len(rows)} searches: {agreement}.")
        return sentences

    def figures(self, results: Results) -> dict[str, Figure]:
        """Bars."""
        from nni_plugins.evaluators.diagnostics.figures import option_figure

        rows, summaries = self._summaries(results)
        pairs: dict[str, list[tuple[float, float]]] = {
            s.option: [(row.supernet_accuracy, row.accuracy) for row in rows if row.option == s.option]
            for s in summaries
        }
        judged = "looked up" if self.settings.truth is not None else "trained stand-alone"
        seeds = len(self.settings.seeds)
        title = f"{self.settings.search_space.name}, {seeds} seed{'s'[: seeds > 1]}; found architectures {judged}"
        return {"options": option_figure(pairs, title)}
