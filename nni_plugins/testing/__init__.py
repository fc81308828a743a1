"""Conformance suites that a third party's plugins can inherit in their own tests: of spaces, objectives, strategies,
evaluators and training loops.

::

    from nni_plugins.testing import SpaceContract

    class TestMySpace(SpaceContract):
        def space(self) -> SearchSpace:
            return MySpace(channels=4)
"""

import pytest

from nni_plugins.spaces.lazy import lazy

_SUITES = {
    "evaluators": ["EvaluatorContract"],
    "objectives": ["ObjectiveContract"],
    "spaces": ["SpaceContract"],
    "strategies": ["StrategyContract"],
    "training": ["TrainingContract"],
}

pytest.register_assert_rewrite("nni_plugins.spaces.testing", *(f"{__name__}.{module}" for module in _SUITES))
__getattr__, __dir__ = lazy(__name__, _SUITES)
