"""The conformance suites on a third party's space, strategy and evaluator: this file is all that its tests need."""

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from kernelnet import KernelNet
from kernelnet.annealing import Annealing, AnnealingSettings
from kernelnet.probe import LinearProbe, ProbeSettings

from nni_plugins.evaluators.base import EvaluatorPlugin
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.spaces import Architecture, SearchSpace
from nni_plugins.strategies import Limits, Problem, StrategyPlugin
from nni_plugins.strategies.base import NoSettings
from nni_plugins.testing import EvaluatorContract, SpaceContract, StrategyContract
from nni_plugins.testing.evaluators import Untouchable

SPACE = KernelNet(channels=2)


def parameters(architecture: Architecture) -> float:
    """A question that is answered at once: the larger the better."""
    return float(SPACE.cost_table()(SPACE.encode([architecture])).parameters[0])


class TestKernelNet(SpaceContract):
    def space(self) -> SearchSpace:
        return SPACE


class TestAnnealing(StrategyContract):
    def plugin(self) -> StrategyPlugin:
        return Annealing()

    def problem(self) -> Problem:
        search, limits = AnnealingSettings(questions=20, first_temperature=50), Limits(max_parameters=700)
        return Problem(SPACE, search, NoSettings(), None, limits, 5, ask=parameters)


class TestLinearProbe(EvaluatorContract):
    def plugin(self) -> EvaluatorPlugin:
        data = DataSettings(source="digits", limit=200)
        return LinearProbe(ProbeSettings(evaluator="linear_probe", data=data), SPACE)

    def hide(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = LinearProbe.images

        def hidden(self: LinearProbe) -> Any:
            return SimpleNamespace(train=whole(self).train, test=Untouchable("the test part"))

        monkeypatch.setattr(LinearProbe, "images", hidden)

    def refused(self) -> Iterator[Mapping[str, Any]]:
        yield {"evaluator": "linear_probe"}
        yield {"evaluator": "linear_probe", "data": {"source": "folder", "path": "/nowhere"}}
