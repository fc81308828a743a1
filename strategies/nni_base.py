"""What our strategies share as NNI strategies.

``nni.nas.strategy`` and ``nni.nas.oneshot.pytorch.strategy`` import each other; if the second is imported first,
``nni.nas.strategy.DARTS`` and its siblings raise an ImportError for the rest of the process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import nni.nas.strategy  # noqa: F401 - must come first
from nni.nas.oneshot.pytorch.strategy import OneShotStrategy
from nni.nas.space import RawFormatModelSpace

from nni_plugins.evaluators.errors import ConfigError

from .ranking import Ranked


class RankedStrategy(OneShotStrategy):
    """A strategy that runs in this process and ends with a ranked list.

    Derived from NNI's one-shot base class, for ``NasExperiment`` runs only those in its own process and exports several
    of their architectures.
    """

    def ranking(self) -> Sequence[Ranked] | None:
        """What was found, best first; None before the run."""
        raise NotImplementedError

    def list_models(self, sort: bool = True, limit: int | None = 1) -> Iterator[RawFormatModelSpace]:
        """The architectures of :meth:`ranking` as frozen model spaces, best first.

        Raises:
            ConfigError: before the run.
        """
        ranking = self.ranking()
        if ranking is None:
            raise ConfigError(f"{type(self).__name__} has not run yet.", "Call NasExperiment(...).run() first.")
        for ranked in ranking[:limit]:
            yield cast(RawFormatModelSpace, self.model_space).freeze(ranked.architecture.as_dict())

    def state_dict(self) -> dict[str, Any]:
        """Empty: draws are functions of the seed, and a training's own checkpoints (its evaluator's ``folder``) hold
        all that a resumed run needs.
        """
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to load; see :meth:`state_dict`."""
