"""The conformance suite of evaluators: one that passes it works in every experiment and comparison, under NNI and without.

For an evaluator of your own, in your own tests::

    from nni_plugins.testing import EvaluatorContract

    class TestMyEvaluator(EvaluatorContract):
        def plugin(self) -> EvaluatorPlugin:
            return MyEvaluator(MySettings(evaluator="mine", epochs=2, checkpoint_seconds=0), NASBench201(channels=4))

Choose the smallest training of at least two epochs that saves after each: it is run five times.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np
import pytest
from pydantic import BaseModel

from nni_plugins.evaluators.base import UNREAD, EvaluationSettings, EvaluatorPlugin, Measured
from nni_plugins.evaluators.errors import ConfigChanged, ConfigError
from nni_plugins.evaluators.plugins import evaluator_plugin
from nni_plugins.evaluators.settings import read
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.errors import NNIPluginsError

from .changes import leaves, unchecked, with_any_other_value

SEED = 3
SLOW_TO_IMPORT = ("torch", "nni", "pytorch_lightning", "timm", "mmcv", "mmengine")
DESCRIBE = f"""
import json, sys
from importlib import import_module

def load(place):
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)

given = json.loads(sys.argv[1])
cls = load(given["plugin"])
settings = cls.settings_class.model_validate(given["settings"])
data = None if given["data"] is None else load(given["data"][0]).model_validate(given["data"][1])
plugin = cls(settings, load(given["space"][0])(**given["space"][1]), data)
plugin.check()
plugin.check_files()
print(plugin.metric.mode, json.dumps(plugin.identity()), file=sys.stderr)
print(sorted(set({SLOW_TO_IMPORT!r}) & set(sys.modules)))
"""
"""What NNI's tuner does with an evaluator, and what that imported."""


class Killed(BaseException):
    """Stands for whatever ends a process: nothing may catch it."""


class Untouchable:
    """Stands for what must not be looked at."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, key: str) -> NoReturn:
        raise AssertionError(f"{self._name} was looked at: {key}")

    def __len__(self) -> NoReturn:
        raise AssertionError(f"{self._name} was looked at: its length")


class EvaluatorContract:
    """Inherit, define :meth:`plugin`, and let pytest collect the tests."""

    folder: ClassVar[Path]
    """Of this class of tests, for its data and checkpoints."""
    _undisturbed: ClassVar[tuple[Measured, list[dict[str, float]]]]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _own_folder(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.folder = tmp_path_factory.mktemp("evaluator")

    # -- what is tested ------------------------------------------------------------------------------------------------
    def plugin(self) -> EvaluatorPlugin:
        """The evaluator under test; called anew by every test."""
        raise NotImplementedError

    def architectures(self) -> Sequence[Architecture]:
        """Two of its space, of which it gives two different trainings."""
        space = self.plugin().space
        return space.decode(space.sample(np.random.default_rng(0), 2))

    def other_values(self) -> Mapping[str, Any]:
        """Other values of settings, by dotted keys: of those that must name something which exists."""
        return {}

    def refused(self) -> Iterator[Mapping[str, Any]]:
        """Settings that must be refused before a search; by default each path replaced by one where nothing is."""
        settings = self.plugin().settings
        for key in leaves(settings):
            if key in self.plugin().paths and isinstance(_value(settings, key), str):
                yield unchecked(settings, key, str(self.folder / "nowhere" / "x.yml")).model_dump(mode="json")

    def hide(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make what :meth:`EvaluatorPlugin.evaluate` measures on raise when it is looked at, for evaluators that answer
        questions; :class:`Untouchable` does that.
        """
        raise NotImplementedError

    # -- the description -----------------------------------------------------------------------------------------------
    def test_its_description_imports_no_torch(self) -> None:
        plugin = self.plugin()
        given = {
            "plugin": _place(type(plugin)),
            "settings": plugin.settings.model_dump(mode="json"),
            "space": [_place(type(plugin.space)), plugin.space.config()],
            "data": None if plugin.data is None else [_place(type(plugin.data)), plugin.data.model_dump(mode="json")],
        }
        code = f"import sys; sys.path[:0] = {sys.path!r}\n{DESCRIBE}"
        result = subprocess.run([sys.executable, "-c", code, json.dumps(given)], capture_output=True, text=True)
        assert (result.stdout.strip(), result.returncode) == ("[]", 0), result.stderr

    def test_it_is_registered(self) -> None:
        plugin = self.plugin()
        assert evaluator_plugin(plugin.name) is type(plugin) and plugin.about
        assert plugin.settings.evaluator == plugin.name

    def test_settings_survive_json(self) -> None:
        settings = self.plugin().settings
        dumped = json.loads(json.dumps(settings.model_dump(mode="json")))
        assert isinstance(settings, EvaluationSettings) and read(type(settings), dumped) == settings

    def test_the_metric_has_a_name_and_a_direction(self) -> None:
        metric = self.plugin().metric
        assert metric.name and metric.name in metric.heading and metric.name in metric.text(1.0)
        assert metric.unit in metric.heading and metric.mode in ("maximize", "minimize")
        assert (metric.oriented(2.0) > metric.oriented(1.0)) == metric.larger_is_better

    # -- identity ------------------------------------------------------------------------------------------------------
    def test_identity_is_json(self) -> None:
        for identity, again in zip(self._identities(self.plugin()), self._identities(self.plugin()), strict=True):
            assert json.loads(json.dumps(identity)) == again

    def test_every_key_changes_the_identity_or_is_harmless(self) -> None:
        plugin = self.plugin()
        common = set(EvaluationSettings.model_fields)
        assert plugin.harmless <= set(plugin.settings_class.model_fields) - common
        before, given = self._identities(plugin), self.other_values()
        for key in leaves(plugin.settings):
            first, last = key.partition(".")[0], key.rpartition(".")[2]
            if first in common:
                continue
            settings = plugin.settings
            other = unchecked(settings, key, given[key]) if key in given else with_any_other_value(settings, key)
            with warnings.catch_warnings():  # pydantic notices values that it has not checked
                warnings.simplefilter("ignore")
                after = self._identities(type(plugin)(other, plugin.space, plugin.data))
            if first in plugin.harmless or last in UNREAD:
                assert after == before, f"{key} is harmless, but changes the identity"
            else:
                assert after != before, f"{key} does not change the identity"

    def _identities(self, plugin: EvaluatorPlugin) -> list[dict[str, Any]]:
        return [plugin.identity(), plugin.ask_identity()] if _answers(plugin) else [plugin.identity()]

    # -- values --------------------------------------------------------------------------------------------------------
    def test_the_value_is_finite_and_its_curve_counts_from_one(self) -> None:
        measured, rows = self._whole()
        plugin = self.plugin()
        assert (measured.validation is not None) == plugin.holds_out
        numbers = [measured.value, *measured.metrics.values(), *measured.cost.values()]
        assert all(math.isfinite(number) for number in numbers)
        assert bool(rows) != plugin.looks_up, "trainings report every epoch"
        for told in (rows, measured.curve):
            assert [row["epoch"] for row in told] == list(range(1, len(rows) + 1))
        points = [plugin.curve_point(row) for row in rows]
        assert all(math.isfinite(point["default"]) for point in points)
        assert all(set(point) <= set(points[0]) for point in points), "the portal has the keys of the first row only"
        json.dumps([vars(measured), points])

    def test_equal_questions_have_equal_answers(self) -> None:
        measured, rows = self._whole()
        again, told = self._evaluate("again", stir=2)
        assert again == measured and [row["epoch"] for row in told] == [row["epoch"] for row in rows]

    def test_killed_and_resumed_is_undisturbed(self) -> None:
        measured, rows = self._whole()
        if self.plugin().looks_up:
            pytest.skip("nothing is trained")

        def kill(row: dict[str, float]) -> None:
            raise Killed

        architecture, place = self.architectures()[0], self.folder / "killed"
        with pytest.raises(Killed):
            self.plugin().evaluate(architecture, SEED, place, kill)
        told: list[dict[str, float]] = []
        assert self.plugin().evaluate(architecture, SEED, place, told.append) == measured
        assert told and told[-1]["epoch"] == len(rows)

    def test_a_folder_belongs_to_one_training(self) -> None:
        self._whole()
        if self.plugin().looks_up:
            pytest.skip("nothing is trained")
        with pytest.raises(ConfigChanged):
            self.plugin().evaluate(self.architectures()[1], SEED, self.folder / "whole", None)

    def test_answers_never_see_what_values_are_measured_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plugin, architecture = self.plugin(), self.architectures()[0]
        if not _answers(plugin):
            with pytest.raises(ConfigError, match=f"{plugin.name} answers no questions"):
                plugin.ask(architecture, SEED, None)
            return
        self.hide(monkeypatch)
        with pytest.raises(AssertionError, match="was looked at"):
            self.plugin().evaluate(architecture, SEED, None, None)
        answer = plugin.ask(architecture, SEED, self.folder / "asked")
        assert math.isfinite(answer) and self.plugin().ask(architecture, SEED, self.folder / "asked") == answer

    # -- before a search -----------------------------------------------------------------------------------------------
    def test_it_can_be_prepared(self) -> None:
        plugin = self.plugin()
        plugin.check()
        plugin.check_files()
        plugin.prepare()

    def test_what_cannot_be_done_is_refused_before_the_search(self) -> None:
        plugin, wrong = self.plugin(), list(self.refused())
        assert wrong, "say in refused() what is"
        for values in wrong:
            with pytest.raises(NNIPluginsError):
                other = type(plugin)(read(type(plugin.settings), values), plugin.space, plugin.data)
                other.check()
                other.check_files()
                other.prepare()

    def test_unknown_names_are_refused_before_the_search(self) -> None:
        if not self.plugin().takes_names:
            pytest.skip("it takes no names")
        with pytest.raises(NNIPluginsError):
            self.plugin().prepare(["no_such_network_of_anybody"])

    # -- NNI -----------------------------------------------------------------------------------------------------------
    def test_it_comes_back_from_nnis_serialisation(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import nni
        from nni.nas.space import RawFormatModelSpace

        from nni_plugins.evaluators.nni_evaluator import PluginEvaluator

        monkeypatch.setattr(nni, "get_current_parameter", lambda: None)  # strategies run in this process leave theirs
        plugin, (architecture, *_) = self.plugin(), self.architectures()
        settings = plugin.settings.model_dump(mode="json")
        sent = PluginEvaluator(
            plugin.name, settings, space=plugin.space, data=plugin.data, seed=SEED, folder=self.folder / "nni"
        )
        evaluator = nni.load(nni.dump(sent))
        assert type(evaluator) is PluginEvaluator and type(evaluator.plugin) is type(plugin)
        assert evaluator.plugin.identity() == plugin.identity() and evaluator.plugin.space.name == plugin.space.name
        assert (evaluator.seed, evaluator.folder) == (SEED, self.folder / "nni")
        frozen = RawFormatModelSpace.from_model(plugin.space.supernet(), evaluator).freeze(architecture.as_dict())
        assert evaluator.evaluate(frozen) == plugin.metric.oriented(self._whole()[0].value)

    # -- helpers -------------------------------------------------------------------------------------------------------
    def _whole(self) -> tuple[Measured, list[dict[str, float]]]:
        """The undisturbed evaluation of the first architecture, and what it reported; done once."""
        if "_undisturbed" not in vars(type(self)):
            type(self)._undisturbed = self._evaluate("whole", stir=1)
        return type(self)._undisturbed

    def _evaluate(self, place: str, stir: int) -> tuple[Measured, list[dict[str, float]]]:
        """``stir``: seed of the global generators, on which nothing may depend."""
        import torch

        random.seed(stir)
        np.random.seed(stir)
        torch.manual_seed(stir)
        rows: list[dict[str, float]] = []
        return self.plugin().evaluate(self.architectures()[0], SEED, self.folder / place, rows.append), rows


def _answers(plugin: EvaluatorPlugin) -> bool:
    return type(plugin).ask is not EvaluatorPlugin.ask


def _place(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _value(settings: BaseModel, key: str) -> Any:
    """What stands at the dotted ``key``."""
    return reduce(getattr, key.split("."), settings)
