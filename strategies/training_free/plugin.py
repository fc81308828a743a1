"""Searches by training-free scores, declared. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..base import Problem, Scorer, SearchResult, Setup, StrategyPlugin, refused, search_cost
from ..drawing import ENUMERATED
from ..score import Score
from .aggregation import Rule
from .names import COSTS
from .settings import CostSearch, NASWOTSearch, SynFlowSearch

if TYPE_CHECKING:
    from .search import Scoring


def candidate_problems(setup: Setup) -> list[str]:
    """What is wrong with ``search.candidates``."""
    wanted, search = setup.search.candidates, setup.search
    if search.evolution is not None:
        return []
    if wanted == "all":
        size = setup.space.size
        many = (
            f"search.candidates: all {size:,} architectures of {setup.space.name} are too many to build; give a number"
        )
        return [many] if size > ENUMERATED else []
    short = f"found <= search.candidates must hold, but got {setup.found} and {wanted}; raise search.candidates"
    return [short] if setup.found > wanted else []


class TrainingFreePlugin(StrategyPlugin):
    """Base of searches by one training-free score. It is registered by the score's name.

    The objective says what networks end in, and is the loss of scores that have one; labels are read only if it asks.
    """

    objective = {"name": "random_labels", "classes": 10}
    rule: ClassVar[Rule | None] = None
    """How several columns of the score become one."""

    def check(self, setup: Setup) -> None:
        """No more results than candidates."""
        if self.score.key not in COSTS:
            refused(candidate_problems(setup))

    def search(self, problem: Problem) -> SearchResult:
        """Score, and rank."""
        import numpy as np

        from . import search as run

        p, scoring = problem, self._scoring(problem)
        score_all = run.scored_by_cost if self.score.key in COSTS else run.scored
        indices, values = score_all(p.space, p.search, p.limits, p.seed, scoring)
        worth = scoring.worth(values)
        listed = run.ranked(p.space, indices, worth, p.found, self.score.name)
        details = {"scored": len(indices), "undefined": int((~np.isfinite(worth)).sum())}
        score = run.finished(scoring, indices, values)
        return SearchResult(listed, scoring.curve, score, details=details, cost=search_cost())

    def scorer(self, problem: Problem) -> Scorer:
        """As the search in ``problem.folder`` scored, with the same images and initial weights."""
        import numpy as np

        from .search import scorer_among
        from .stored import read_scores

        read_scores(problem.folder)
        scoring = self._scoring(problem)
        pool = scoring.stored.pool
        return scorer_among(scoring, np.array([] if pool is None else pool[1]))

    def _scoring(self, problem: Problem) -> Scoring:
        from .measures import measure
        from .search import Scoring, identity
        from .stored import StoredScores

        p, settings = problem, problem.search
        own = {name: getattr(settings, name) for name in _score_fields(self.score.key) if hasattr(settings, name)}
        one = measure(p.space, p.data, self.score.key, objective=p.task, settings=own, seed=p.seed)
        return Scoring([one], self.rule, StoredScores(p.folder, identity(p, settings)), p.report)

    def left_by(self, folder: Path) -> tuple[int, dict[str, Any]]:
        """The seed of the search."""
        from .stored import read_scores

        return int(read_scores(folder)["identity"]["seed"]), {}

    def curve_point(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """``default``: the best score so far, or how many are scored where scores are ranks among all of them."""
        return {"default": row["scored" if self.rule is not None else "best"], **row}


def _score_fields(name: str) -> list[str]:
    from .names import NETWORK_SCORES

    return [] if name in COSTS else list(NETWORK_SCORES[name][0].model_fields)


class ParametersPlugin(TrainingFreePlugin):
    """``tuner.name: Parameters``."""

    name = "Parameters"
    about = "the architectures with the most parameters within the limits"
    search_settings = CostSearch
    score = Score("parameters", "parameters")


class MACsPlugin(TrainingFreePlugin):
    """``tuner.name: MACs``."""

    name = "MACs"
    about = "the architectures with the most multiply-adds within the limits"
    search_settings = CostSearch
    score = Score("macs", "multiply-adds")


class NASWOTPlugin(TrainingFreePlugin):
    """``tuner.name: NASWOT``."""

    name = "NASWOT"
    about = "untrained networks, ranked by how differently their ReLUs answer to different images"
    source = "Mellor et al., ICML 2021"
    search_settings = NASWOTSearch
    score = Score("naswot", "NASWOT")


class SynFlowPlugin(TrainingFreePlugin):
    """``tuner.name: SynFlow``."""

    name = "SynFlow"
    about = "untrained networks, ranked by the flow through their weights; no images are looked at"
    source = "Tanaka et al., NeurIPS 2020; Abdelfattah et al., ICLR 2021"
    search_settings = SynFlowSearch
    score = Score("synflow", "log SynFlow")
