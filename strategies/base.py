"""The contract of a search strategy. Free of torch: NNI gives a tuner ten seconds to connect.

A strategy is declared once, beside its code, and found by its entry point in the group ``nni_plugins.strategies``; from
that follow the experiment file, NNI's tuner, the portal's axes and every command. Life cycle: the settings are read and
:meth:`StrategyPlugin.check` refuses what cannot work (in NNI's tuner process, which has no torch); then
:meth:`StrategyPlugin.search` is called once for each seed, in whatever process, and again with the same folder after a
crash.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.base import Report
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import Settings
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import Indices, SearchSpace

from .limits import Limits
from .ranking import Ranked
from .score import Score

Scorer = Callable[[Indices], npt.NDArray[np.float64]]
"""Index rows (n, D) -> (n,): how a finished search scores any architectures."""


class NoSettings(Settings):
    """Of strategies that have nothing to set."""


@dataclass(frozen=True)
class Setup:
    """What an experiment asks of a strategy, as far as it is known before anything is loaded.

    ``search`` and ``training`` are of the strategy's own settings classes; ``objective``: name and arguments, None for
    strategies that have none; ``limits``: what every architecture must meet that a search finds; ``found``: how many;
    ``seeds``: one search for each, as far as it is known.
    """

    space: SearchSpace
    search: Any
    training: Any
    objective: Mapping[str, Any] | None
    limits: Limits
    found: int
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Problem(Setup):
    """What one search is given.

    ``data``: an ``ImageSet`` or a ``Corpus``, the training part only, None for strategies without data; ``task``: the
    objective, built; ``folder``: for checkpoints; ``report``: called after every epoch or question; ``ask``: the
    validation value of an architecture, larger is better, for strategies that ask; the same question asked again is
    answered from memory.
    """

    data: Any = None
    task: Any = None
    seed: int = 0
    folder: Path | None = None
    report: Report | None = None
    ask: Callable[[Architecture], float] | None = None


@dataclass(frozen=True)
class SearchResult:
    """What came of one search.

    ``ranked``: best first, at most ``found`` of them; ``curve``: one row an epoch or question; ``score``: scores any
    architectures as the ranked ones were, None where that has no meaning; ``scorable``: which of (n, D) it can score,
    (n,) bool, None for all; ``numbers``: more for the trial's final metric; ``details``: more for ``result.json``, as
    JSON; ``cost``: the search's budget by name, such as ``search_epochs`` or ``queries``; ``warnings``: sentences on how much
    it decided.
    """

    ranked: list[Ranked]
    curve: list[dict[str, float]] = field(default_factory=list)
    score: Scorer | None = None
    scorable: Callable[[Indices], npt.NDArray[np.bool_]] | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def scores(self, indices: Indices) -> list[float | None]:
        """Of ``indices: (n, D)``; None for those that cannot be scored, -inf where the score is undefined and below all
        others.
        """
        if self.score is None or not len(indices):
            return [None] * len(indices)
        known = np.ones(len(indices), dtype=bool) if self.scorable is None else self.scorable(indices)
        values = iter(self.score(indices[known]).tolist() if known.any() else [])
        return [next(values) if one else None for one in known]


def search_cost(search_epochs: int = 0, queries: int = 0) -> dict[str, float]:
    """Budget of a search of ours, for :attr:`SearchResult.cost`: epochs of a supernet, and architectures asked for."""
    return {"search_epochs": float(search_epochs), "queries": float(queries)}


class StrategyPlugin(ABC):
    """Base class of search strategies. Subclasses set the class variables and fill :meth:`search`; nothing but
    :meth:`search`, :meth:`scorer` and :meth:`left_by` may import torch.
    """

    name: ClassVar[str]
    """As experiment files say it: ``tuner.name``; its entry point is called the same in lower case."""
    about: ClassVar[str]
    """One sentence, for lists."""
    source: ClassVar[str] = ""
    """The paper."""
    search_settings: ClassVar[type[Settings]] = NoSettings
    training_settings: ClassVar[type[Settings]] = NoSettings
    data: ClassVar[Literal["images", "text", "none"]] = "images"
    """What it learns from."""
    objective: ClassVar[Mapping[str, Any] | None] = {"name": "supervised"}
    """The default: a registered objective's name and arguments; None: it has no objective."""
    asks: ClassVar[bool] = False
    """Whether it asks for the values of architectures, which an evaluation answers."""
    searches: ClassVar[bool] = True
    """False: there is nothing to search, only random architectures to evaluate."""
    score: ClassVar[Score]
    """What it ranks by."""
    nni_strategy: ClassVar[str] = ""
    """``module:Class`` of its own class for ``NasExperiment``; ``""``: :class:`nni_plugins.strategies.PluginStrategy`."""

    def check(self, setup: Setup) -> None:
        """Refuse, without torch, what cannot work: a space, an objective or settings that do not fit one another.

        Raises:
            ConfigError: with every problem.
        """

    def check_files(self, setup: Setup) -> None:
        """Read, without torch, the files that the settings name.

        Raises:
            ConfigError: one cannot be read, or does not fit.
        """

    def contents(self, setup: Setup) -> dict[str, Any]:
        """Checksums of those files, by the keys that name them: a search depends on what stands in them."""
        return {}

    @abstractmethod
    def search(self, problem: Problem) -> SearchResult:
        """One search.

        Raises:
            ConfigError: what :meth:`check` could not see; DataError, TrainingError, CheckpointError: of the training.
        """

    def scorer(self, problem: Problem) -> Scorer:
        """Scores with the weights that an earlier search left in ``problem.folder``.

        Raises:
            CheckpointError: there are none, or they are of another space.
            ConfigError: by default, that the strategy leaves nothing to score with.
        """
        raise ConfigError(
            f"{self.name} leaves no weights to score architectures with.", "Search with another strategy."
        )

    def left_by(self, folder: Path) -> tuple[int, dict[str, Any]]:
        """The seed of the search that left ``folder``, and what else tells its scores from others: by default the hash of
        the initial weights.

        Raises:
            CheckpointError: it holds no search of this kind.
        """
        from nni_plugins.evaluators.training.stored import stored_weights

        weights = stored_weights(folder)
        return weights.seed, {"initial_sha256": weights.initial_sha256}

    def curve_point(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What the portal gets of a row of the curve: ``default``, and every other number. The portal only ever offers
        the keys of the first row.
        """
        return {"default": row["loss"], **row}


def run_checks(*checks: Callable[[], None]) -> None:
    """Run all of ``checks``; raise one :class:`ConfigError` with the problems and remedies of those that failed."""
    errors = []
    for check in checks:
        try:
            check()
        except ConfigError as error:
            errors.append(error)
    if errors:
        problems = "; ".join(error.problem.removesuffix(".") for error in errors)
        raise ConfigError(f"{problems}.", " ".join(error.remedy for error in errors if error.remedy))


def refused(problems: list[str]) -> None:
    """Raise one :class:`ConfigError` with all of ``problems``, if there are any."""
    if problems:
        raise ConfigError("; ".join(problems))
