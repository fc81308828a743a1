"""The conformance suite of strategies notices what breaks it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nni_plugins.evaluators.objectives import Rotation
from nni_plugins.spaces.errors import NNIPluginsError
from nni_plugins.strategies.base import Problem, StrategyPlugin
from nni_plugins.strategies.limits import Limits
from nni_plugins.testing import StrategyContract

from . import broken_plugins as broken
from .test_plugins_contract import IMAGES, SPACE

ORDER = "test_what_it_finds_is_distinct_within_limits_and_in_order"
REPORTED = "test_what_it_reports_can_be_written_down_and_drawn"


def problem_of(kind: type[StrategyPlugin]) -> Problem:
    search, training = kind.search_settings.model_validate({"tilt": 1.0}), kind.training_settings.model_validate({})
    limits = Limits(max_parameters=6_500)
    return Problem(SPACE, search, training, {"name": "rotation"}, limits, 3, data=IMAGES, task=Rotation())


class TestRight(StrategyContract):
    test_it_is_registered = None  # type: ignore[assignment]

    def plugin(self) -> StrategyPlugin:
        return broken.Right()

    def problem(self) -> Problem:
        return problem_of(broken.Right)


@pytest.mark.parametrize(
    ("kind", "test"),
    [
        (broken.ForgetsTheLimits, ORDER),
        (broken.ListsTwice, ORDER),
        (broken.ListsTheWorstFirst, ORDER),
        (broken.ListsTooMany, ORDER),
        (broken.DrawsFromTheGlobalGenerator, "test_equal_searches_find_the_same"),
        (broken.SeedsTheGlobalGenerator, "test_equal_searches_find_the_same"),
        (broken.CountsItsStarts, "test_killed_and_resumed_is_undisturbed"),
        (broken.ReadsLabels, "test_labels_are_asked_for_by_none_but_objectives_that_need_them"),
        (broken.HidesAKey, "test_settings_survive_json"),
        (broken.HidesAKey, "test_every_key_changes_the_identity_or_is_harmless"),
        (broken.ForgetsTheTilt, "test_it_scores_others_as_what_it_found"),
        (broken.CountsFromZero, REPORTED),
        (broken.HandsOutArrays, REPORTED),
        (broken.LosesItsPoint, REPORTED),
        (broken.ChecksWithTorch, "test_its_description_imports_no_torch"),
        (broken.Right, "test_it_is_registered"),
    ],
)
def test_the_suite_notices(kind: type[StrategyPlugin], test: str, tmp_path: Path) -> None:
    class Contract(StrategyContract):
        folder = tmp_path / "whole"

        def plugin(self) -> StrategyPlugin:
            return kind()

        def problem(self) -> Problem:
            return problem_of(kind)

    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    arguments = (tmp_path / "killed",) if test.startswith("test_killed") else ()
    with pytest.raises((AssertionError, TypeError, NNIPluginsError)):
        getattr(Contract(), test)(*arguments)
