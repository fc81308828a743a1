"""The conformance suite notices evaluators that are wrong."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from nni_plugins.evaluators.base import EvaluatorPlugin
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces import NASBench201
from nni_plugins.testing import EvaluatorContract

from . import wrong_evaluators as wrong

SPACE = NASBench201(nodes=3, channels=2, cells_per_stage=1)
NOT_HERE = {"test_it_is_registered", "test_it_comes_back_from_nnis_serialisation"}
"""Tests that need an entry point."""


def suite(kind: type[wrong.Counting], folder: Path) -> EvaluatorContract:
    class Suite(EvaluatorContract):
        def plugin(self) -> EvaluatorPlugin:
            place = self.folder / "place"
            place.touch()
            return kind(kind.settings_class(evaluator="counting", place=str(place)), SPACE)  # type: ignore[call-arg]

        def hide(self, monkeypatch: pytest.MonkeyPatch) -> None:
            monkeypatch.setattr(wrong.Secret, "seen", False)

    Suite.folder = folder
    return Suite()


def run(one: EvaluatorContract, test: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = getattr(one, test)
    method(**({"monkeypatch": monkeypatch} if inspect.signature(method).parameters else {}))


TESTS = [name for name in dir(EvaluatorContract) if name.startswith("test_") and name not in NOT_HERE]


@pytest.mark.parametrize("test", TESTS)
def test_an_honest_one_passes(test: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(suite(wrong.Counting, tmp_path), test, monkeypatch)


@pytest.mark.parametrize(
    ("kind", "test"),
    [
        (wrong.GivesNoNumber, "test_the_value_is_finite_and_its_curve_counts_from_one"),
        (wrong.ForgetsAKey, "test_every_key_changes_the_identity_or_is_harmless"),
        (wrong.MindsTheHarmless, "test_every_key_changes_the_identity_or_is_harmless"),
        (wrong.HasNoJSON, "test_identity_is_json"),
        (wrong.DrawsFromTheGlobalGenerator, "test_equal_questions_have_equal_answers"),
        (wrong.StartsAgain, "test_killed_and_resumed_is_undisturbed"),
        (wrong.TakesAnyFolder, "test_a_folder_belongs_to_one_training"),
        (wrong.CountsFromZero, "test_the_value_is_finite_and_its_curve_counts_from_one"),
        (wrong.ReportsNothing, "test_the_value_is_finite_and_its_curve_counts_from_one"),
        (wrong.Peeks, "test_answers_never_see_what_values_are_measured_on"),
        (wrong.TakesAnything, "test_what_cannot_be_done_is_refused_before_the_search"),
        (wrong.HasNoMetric, "test_the_metric_has_a_name_and_a_direction"),
        (wrong.KeepsWhatItWasGiven, "test_settings_survive_json"),
        (wrong.ImportsTorch, "test_its_description_imports_no_torch"),
        (wrong.Counting, "test_it_is_registered"),
    ],
)
def test_the_suite_notices(kind: Any, test: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noticed = (AssertionError, TypeError, ConfigError, pytest.fail.Exception)
    with pytest.raises(noticed):
        run(suite(kind, tmp_path), test, monkeypatch)
