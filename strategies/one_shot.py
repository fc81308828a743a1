"""What strategies share, as plugins, that end by ranking candidates with a supernet's weights. Free of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from nni_plugins.evaluators.errors import ConfigError

from .base import Problem, Setup, StrategyPlugin, run_checks
from .score import ONE_SHOT

if TYPE_CHECKING:
    from torch import nn

    from nni_plugins.evaluators.supernets.training import SupernetTraining


def unpredictable(method: str) -> ConfigError:
    """What to raise of random labels."""
    return ConfigError(
        f"random labels of held-out images cannot be predicted, and {method} ranks by accuracy on them.",
        "Choose supervised, or a pretext task such as rotation; RLNAS and GDAS search with random labels.",
    )


def check_predictable(method: str, objective: Mapping[str, Any] | None) -> None:
    """Refuse an objective, by its name, whose targets say nothing of held-out images.

    Raises:
        ConfigError: random labels.
    """
    if objective is not None and objective["name"] == "random_labels":
        raise unpredictable(method)


def initial_supernet(problem: Problem) -> tuple[nn.Module, SupernetTraining]:
    """A single-path supernet as it is before its training, and that training."""
    from nni_plugins.evaluators.objectives import fitted
    from nni_plugins.evaluators.supernets.training import SupernetTraining

    from .rlnas.search import initialise

    p = problem
    how: Any = getattr(p.training, "initialisation", "space")
    supernet = initialise(fitted(p.space, p.task, p.data), p.seed, how)
    return supernet, SupernetTraining(p.data, p.task, p.training, seed=p.seed, folder=p.folder, report=p.report)


class OneShotPlugin(StrategyPlugin):
    """Base of those whose supernet is a single-path one."""

    score = ONE_SHOT

    def check(self, setup: Setup) -> None:
        """All of :meth:`checks`."""
        run_checks(*self.checks(setup))

    def checks(self, setup: Setup) -> list[Callable[[], None]]:
        """They raise :class:`ConfigError`."""
        return [partial(check_predictable, self.name, setup.objective)]

    def curve_point(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """``default``: percent of the images that the paths of the epoch got right while they were trained."""
        return {"default": row["accuracy"], **row}
