"""Differentiable searches, declared. Free of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from nni_plugins.evaluators.training.settings import BilevelSettings

from ..base import Problem, Scorer, SearchResult, Setup, StrategyPlugin, run_checks, search_cost
from ..degenerate import undecided
from ..one_shot import check_predictable
from ..random.settings import check_candidates
from ..score import LOG_PROBABILITY, ONE_SHOT
from .sampled_settings import GDASSettings, SampledTraining, SETNSettings, SETNTraining, check_training
from .settings import (
    DifferentiableSettings,
    PCDARTSSettings,
    PCDARTSTraining,
    RFDARTSSettings,
    RFPCDARTSSettings,
    check_space,
)
from .unnas_settings import UnNASTraining

if TYPE_CHECKING:
    from .search import DifferentiableResult

STRATEGIES = "nni_plugins.strategies.differentiable.strategies"


class DifferentiablePlugin(StrategyPlugin):
    """Base of searches that train a mixed supernet and rank by the probabilities that its architecture parameters give."""

    training_settings = BilevelSettings
    search_settings = DifferentiableSettings
    score = LOG_PROBABILITY

    def check(self, setup: Setup) -> None:
        """All of :meth:`checks`."""
        run_checks(*self.checks(setup))

    def checks(self, setup: Setup) -> list[Callable[[], None]]:
        """They raise :class:`ConfigError`."""
        return [partial(check_space, setup.space, setup.search)]

    def search(self, problem: Problem) -> SearchResult:
        """Train the mixture, and rank what it makes most probable."""
        return described(problem, self.run(problem))

    def run(self, problem: Problem) -> DifferentiableResult:
        """:meth:`method` on the problem."""
        p = problem
        more: dict[str, Any] = {"folder": p.folder, "report": p.report, "limits": p.limits}
        result: DifferentiableResult = self.method()(
            p.space, p.data, p.task, p.search, p.training, p.seed, p.found, **more
        )
        return result

    def method(self) -> Callable[..., Any]:
        """The ``search`` of the method's own module, as that of ``.search``."""
        from .search import search

        return search

    def scorer(self, problem: Problem) -> Scorer:
        """Log-probabilities by the last architecture parameters in the folder."""
        from .search import restored

        return partial(restored(problem.space, problem.search, problem.folder).score, problem.space)

    def curve_point(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """``default``: percent of the architecture's half, or during the warm-up, which has no such half, of the
        weights' half.

        The portal only ever offers the keys of the first epoch, so those of the architecture's half are there from the
        beginning, as 0.
        """
        absent = {"architecture_loss": 0.0, "architecture_accuracy": 0.0}
        numbers = {key: value for key, value in row.items() if not isinstance(value, str)}
        return {"default": row.get("architecture_accuracy", row["accuracy"]), **absent, **numbers}


def described(problem: Problem, result: DifferentiableResult) -> SearchResult:
    """What all of them say of a search."""
    history, accuracy = result.trained.history, result.supernet_accuracy
    details = {
        "operations": result.mixture.operations,
        "shares": result.mixture.shares,
        "genotypes": result.genotypes,
        "skips": result.skips,
        "initial_sha256": result.trained.initial_sha256,
    }
    if problem.training.hessian_every:
        details["eigenvalues"] = result.eigenvalues
        details["stopped_epoch"] = result.trained.stopped_epoch
        details["rollbacks"] = result.trained.rollbacks
    if problem.training.most_skips is not None:
        details["stopped_epoch"] = result.trained.stopped_epoch
    return SearchResult(
        result.ranked,
        history,
        partial(result.mixture.score, problem.space),
        numbers={} if accuracy is None else {"supernet_accuracy": accuracy},
        details=details,
        cost=search_cost(len(history)),
        warnings=undecided(chain(*result.mixture.operations.values())),
    )


class DARTSPlugin(DifferentiablePlugin):
    """``tuner.name: DARTS``."""

    name = "DARTS"
    about = "a mixture of all operations whose probabilities are learnt with the weights"
    source = "Liu et al., ICLR 2019"
    nni_strategy = f"{STRATEGIES}:DARTS"


class PCDARTSPlugin(DifferentiablePlugin):
    """``tuner.name: PCDARTS``."""

    name = "PCDARTS"
    about = "DARTS on a part of the channels, with weights of edges"
    source = "Xu et al., ICLR 2020"
    training_settings = PCDARTSTraining
    search_settings = PCDARTSSettings
    nni_strategy = f"{STRATEGIES}:PCDARTS"


class RFDARTSPlugin(DifferentiablePlugin):
    """``tuner.name: RFDARTS``."""

    name = "RFDARTS"
    about = "DARTS on random features: convolutions stay as they were drawn"
    source = "Zhang et al., CVPR 2023"
    search_settings = RFDARTSSettings
    nni_strategy = f"{STRATEGIES}:RFDARTS"


class RFPCDARTSPlugin(DifferentiablePlugin):
    """``tuner.name: RFPCDARTS``."""

    name = "RFPCDARTS"
    about = "PC-DARTS on random features"
    source = "Zhang et al., CVPR 2023"
    training_settings = PCDARTSTraining
    search_settings = RFPCDARTSSettings
    nni_strategy = f"{STRATEGIES}:RFPCDARTS"


class UnNASDARTSPlugin(DifferentiablePlugin):
    """``tuner.name: UnNASDARTS``."""

    name = "UnNASDARTS"
    about = "DARTS on a pretext task in place of labels"
    source = "Liu et al., ECCV 2020"
    objective = {"name": "rotation"}
    training_settings = UnNASTraining
    nni_strategy = "nni_plugins.strategies.differentiable.unnas:UnNASDARTS"


class GDASPlugin(DifferentiablePlugin):
    """``tuner.name: GDAS``."""

    name = "GDAS"
    about = "a mixture of which every step runs one operation an edge, drawn by Gumbel noise"
    source = "Dong & Yang, CVPR 2019"
    training_settings = SampledTraining
    search_settings = GDASSettings
    nni_strategy = "nni_plugins.strategies.differentiable.gdas:GDAS"

    def checks(self, setup: Setup) -> list[Callable[[], None]]:
        """Every step runs another network, which some ways of training cannot stand."""
        return [*super().checks(setup), partial(check_training, self.name, setup.training)]

    def method(self) -> Callable[..., Any]:
        """As ever."""
        from .gdas import search

        return search


class SETNPlugin(DifferentiablePlugin):
    """``tuner.name: SETN``."""

    name = "SETN"
    about = "weights learn on uniform paths, the architecture on the mixture; its best candidates are evaluated"
    source = "Dong & Yang, ICCV 2019"
    training_settings = SETNTraining
    search_settings = SETNSettings
    score = ONE_SHOT
    nni_strategy = "nni_plugins.strategies.differentiable.setn:SETN"

    def checks(self, setup: Setup) -> list[Callable[[], None]]:
        """As GDAS', and candidates that can be told apart."""
        return [
            *super().checks(setup),
            partial(check_training, self.name, setup.training),
            partial(check_candidates, setup.search.candidates, setup.found, "found"),
            partial(check_predictable, self.name, setup.objective),
        ]

    def search(self, problem: Problem) -> SearchResult:
        """Train both, and rank the most probable architectures by their accuracy with the shared weights."""
        result: Any = self.run(problem)
        common = described(problem, result)
        return replace(common, score=result.score, details={**common.details, "scored": len(result.candidates)})

    def method(self) -> Callable[..., Any]:
        """As ever."""
        from .setn import search

        return search

    def scorer(self, problem: Problem) -> Scorer:
        """One-shot accuracy on the images that the search itself evaluated with."""
        from nni_plugins.evaluators.objectives import fitted
        from nni_plugins.evaluators.training.stored import stored_weights

        from .setn import initialise, one_shot_score

        p = problem
        supernet = initialise(fitted(p.space, p.task, p.data), p.search, p.seed)
        stored_weights(p.folder).load_into(supernet)
        return one_shot_score(supernet, p.data, p.task, p.search, p.training, p.seed)
