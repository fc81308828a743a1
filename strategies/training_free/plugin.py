"""Searches by training-free scores, declared. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..base import Problem, Scorer, SearchResult, Setup, StrategyPlugin, refused, search_cost
from ..drawing import ENUMERATED
from ..score import Score
from .aggregation import Rule
from .names import COSTS, score_keys
from .settings import (
    AZSearch,
    CostSearch,
    JacobianSearch,
    NASWOTSearch,
    SynFlowSearch,
    ZenSearch,
    ZiCoSearch,
)

if TYPE_CHECKING:
    from .search import Scoring


def candidate_problems(setup: Setup) -> list[str]:
    """What is wrong with ``search.candidates``."""
    wanted = setup.search.candidates
    if setup.search.evolution is not None:
        return []
    if wanted == "all":
        name, size = setup.space.name, setup.space.size
        too_many = f"search.candidates: all {size:,} architectures of {name} are too many to build; give a number"
        return [too_many] if size > ENUMERATED else []
    short = f"found <= search.candidates must hold, but got {setup.found} and {wanted}; raise search.candidates"
    return [short] if setup.found > wanted else []


class TrainingFreePlugin(StrategyPlugin):
    """Base of searches by training-free scores; :attr:`score`'s key names the one.

    The objective says what networks end in, and is the loss of scores that have one; labels are read only if it asks.
    """

    objective = {"name": "random_labels", "classes": 10}
    among: ClassVar[bool] = False
    """Whether an architecture's score is a rank among the candidates."""

    def check(self, setup: Setup) -> None:
        """No more results than candidates."""
        refused(candidate_problems(setup))

    def search(self, problem: Problem) -> SearchResult:
        """Score, and rank."""
        import numpy as np

        from .search import finished, ranked

        scoring, cost = self.scoring(problem, train=True)
        indices, values = self.candidates(problem, scoring)
        worth = scoring.worth(values)
        listed = ranked(problem.space, indices, worth, problem.found, self.score.name)
        details = {
            "scored": len(indices),
            "undefined": int((~np.isfinite(worth)).sum()),
            "columns": [column for one in scoring.measures for column in one.columns],
        }
        return SearchResult(listed, scoring.curve, finished(scoring, indices, values), details=details, cost=cost)

    def candidates(self, problem: Problem, scoring: Scoring) -> tuple[Any, Any]:
        """All architectures that are scored, (n, D), and their values, (n, K)."""
        from .search import scored

        return scored(problem.space, problem.search, problem.limits, problem.seed, scoring)

    def scorer(self, problem: Problem) -> Scorer:
        """As the search in ``problem.folder`` scored: with the same images and initial weights, among its candidates."""
        import numpy as np

        from .search import scorer_among
        from .stored import finished_pool

        _, pool = finished_pool(problem.folder)
        scoring, _ = self.scoring(problem, train=False)
        return scorer_among(scoring, np.array(pool, dtype=np.float64))

    def scoring(self, problem: Problem, train: bool) -> tuple[Scoring, dict[str, float]]:
        """What candidates are scored by, and what that cost; ``train``: what has to be trained for it."""
        from .measures import measure
        from .search import Scoring, identity
        from .stored import StoredScores

        p, name = problem, self.score.key
        own = p.search.model_dump(include=score_keys(name))
        one = measure(p.space, p.data, name, objective=p.task, settings=own, seed=p.seed)
        rule: Rule | None = "log_rank" if self.among else None
        return Scoring([one], rule, StoredScores(p.folder, identity(p)), p.report), search_cost()

    def left_by(self, folder: Path) -> tuple[int, dict[str, Any]]:
        """The seed of the search."""
        from .stored import read_scores

        return int(read_scores(folder)["identity"]["seed"]), {}

    def curve_point(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """``default``: the best score so far, or how many are scored where scores are ranks among all of them."""
        return {"default": row["scored" if self.among else "best"], **row}


# -- costs ---------------------------------------------------------------------------------------------------------------
class CostPlugin(TrainingFreePlugin):
    """Base of those that take no network."""

    search_settings = CostSearch

    def check(self, setup: Setup) -> None:
        """Nothing can be wrong."""

    def candidates(self, problem: Problem, scoring: Scoring) -> tuple[Any, Any]:
        """The whole space, or an evolution and the largest."""
        from .search import scored_by_cost

        return scored_by_cost(problem.space, problem.search, problem.limits, problem.seed, scoring)


class ParametersPlugin(CostPlugin):
    """``tuner.name: Parameters``."""

    name = "Parameters"
    about = "the architectures with the most parameters within the limits"
    score = Score(COSTS[0], "parameters")


class MACsPlugin(CostPlugin):
    """``tuner.name: MACs``."""

    name = "MACs"
    about = "the architectures with the most multiply-adds within the limits"
    score = Score(COSTS[1], "multiply-adds")


# -- networks ------------------------------------------------------------------------------------------------------------
class NASWOTPlugin(TrainingFreePlugin):
    """``tuner.name: NASWOT``."""

    name = "NASWOT"
    about = "untrained networks, ranked by how differently their ReLUs answer to different images"
    source = "Mellor et al., ICML 2021"
    search_settings = NASWOTSearch
    score = Score("naswot", "NASWOT")


class JacobianPlugin(TrainingFreePlugin):
    """``tuner.name: Jacobian``."""

    name = "Jacobian"
    about = "untrained networks, ranked by how little the gradients of different images correlate"
    source = "Mellor et al., 2020; Abdelfattah et al., ICLR 2021"
    search_settings = JacobianSearch
    score = Score("jacobian", "Jacobian covariance")


class SynFlowPlugin(TrainingFreePlugin):
    """``tuner.name: SynFlow``."""

    name = "SynFlow"
    about = "untrained networks, ranked by the flow through their weights; no images are looked at"
    source = "Tanaka et al., NeurIPS 2020; Abdelfattah et al., ICLR 2021"
    search_settings = SynFlowSearch
    score = Score("synflow", "log SynFlow")


class ZenPlugin(TrainingFreePlugin):
    """``tuner.name: Zen``."""

    name = "Zen"
    about = "random networks, ranked by how much their features move with noise"
    source = "Lin et al., ICCV 2021"
    search_settings = ZenSearch
    score = Score("zen", "Zen-score")


class ZiCoPlugin(TrainingFreePlugin):
    """``tuner.name: ZiCo``."""

    name = "ZiCo"
    about = "untrained networks, ranked by large gradients of the objective that vary little between batches"
    source = "Li et al., ICLR 2023"
    search_settings = ZiCoSearch
    score = Score("zico", "ZiCo")


class AZPlugin(TrainingFreePlugin):
    """``tuner.name: AZ``."""

    name = "AZ"
    about = "untrained networks, ranked by expressivity, progressivity, trainability and complexity together"
    source = "Lee & Ham, CVPR 2024"
    search_settings = AZSearch
    score = Score("az", "sum of log ranks")
    among = True
