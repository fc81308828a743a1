"""Conformance suites that a third party's plugins can inherit in their own tests.

::

    from nni_plugins.testing import SpaceContract

    class TestMySpace(SpaceContract):
        def space(self) -> SearchSpace:
            return MySpace(channels=4)
"""

from nni_plugins.spaces.testing import SpaceContract

from .evaluators import EvaluatorContract

__all__ = ["EvaluatorContract", "SpaceContract"]
