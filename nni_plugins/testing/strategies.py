"""The conformance suite of search strategies: one that passes it works in every experiment, study and ``NasExperiment``.

For a strategy of your own, in your own tests::

    from nni_plugins.testing import StrategyContract

    class TestMyStrategy(StrategyContract):
        def plugin(self) -> StrategyPlugin:
            return MyStrategy()

        def problem(self) -> Problem:
            return Problem(
                NASBench201(nodes=3, channels=4, cells_per_stage=1),
                search=MySettings(candidates=12),
                training=SupernetSettings(epochs=2, batch_size=8, checkpoint_seconds=0),
                objective={"name": "rotation"},
                limits=Limits(max_parameters=5_000),
                found=3,
                data=images,
                task=Rotation(),
            )

Choose the smallest search that reports at least two epochs or questions, limits that about half of the architectures
meet, and a training that saves after each epoch: it is run about six times.
"""

from __future__ import annotations

import functools
import json
import math
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np
import pytest

from nni_plugins.evaluators.base import Report
from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.objectives import Objective, Rotation
from nni_plugins.evaluators.objectives.registered import build_objective
from nni_plugins.evaluators.settings import Settings, read
from nni_plugins.evaluators.training.settings import MAY_CHANGE
from nni_plugins.experiment.evaluations import Evaluations
from nni_plugins.experiment.search import experiment_of
from nni_plugins.experiment.searching import search_identity
from nni_plugins.spaces.registry import space_settings
from nni_plugins.strategies.base import Problem, SearchResult, StrategyPlugin
from nni_plugins.strategies.plugins import strategy_plugin
from nni_plugins.strategies.score import Score

from .changes import changed, leaves, unchecked, with_any_other_value
from .evaluators import SLOW_TO_IMPORT
from .training import Killed, generator_states, plain, same, seed_generators

DESCRIBE = f"""
import json, sys
from importlib import import_module

def load(place):
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)

def read(pair):
    return load(pair[0]).model_validate(pair[1])

from nni_plugins.strategies.base import Setup

given = json.loads(sys.argv[1])
plugin, space = load(given["plugin"])(), load(given["space"][0])(**given["space"][1])
settings = [read(given[key]) for key in ("search", "training")]
setup = Setup(space, *settings, given["objective"], read(given["limits"]), given["found"], (given["seed"],))
plugin.check(setup)
plugin.check_files(setup)
plugin.contents(setup)
print(sorted(set({SLOW_TO_IMPORT!r}) & set(sys.modules)))
"""
"""What NNI's tuner does with a strategy, and what that imported."""
PARTS = ("search", "training")


class Unlabelled(ImageSet):
    """The images of ``data``, whose labels and label maps raise."""

    def __init__(self, data: ImageSet) -> None:
        super().__init__(data.name, data.images, _forbidden, augmentation=data.augmentation)

    @property
    def maps(self) -> NoReturn:
        """Never."""
        _forbidden()


def _forbidden() -> NoReturn:
    raise AssertionError("labels were asked for, though the objective is free of them")


class StrategyContract:
    """Inherit, define :meth:`plugin` and :meth:`problem`, and let pytest collect the tests."""

    folder: ClassVar[Path]
    """Of this class of tests: that of the undisturbed search."""
    _undisturbed: ClassVar[tuple[SearchResult, list[dict[str, float]]]]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _own_folder(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.folder = tmp_path_factory.mktemp("strategy")

    # -- what is tested ------------------------------------------------------------------------------------------------
    def plugin(self) -> StrategyPlugin:
        """The strategy under test; called anew by every test."""
        raise NotImplementedError

    def problem(self) -> Problem:
        """A small search for it, with limits; called anew for every search."""
        raise NotImplementedError

    def other_values(self) -> Mapping[str, Any]:
        """Other values of settings by dotted keys, such as ``search.file``, where none can be guessed."""
        return {}

    def label_free_task(self) -> Objective:
        """An objective that needs no labels, with which it can search."""
        task = self.problem().task
        return task if task.label_free else Rotation()

    # -- the description -----------------------------------------------------------------------------------------------
    def test_its_description_imports_no_torch(self) -> None:
        problem = self.problem()
        given = {
            "plugin": _place(self.plugin()),
            "space": [_place(problem.space), problem.space.config()],
            **{key: [_place(part), part.model_dump(mode="json")] for key, part in self._settings().items()},
            "limits": [_place(problem.limits), problem.limits.model_dump(mode="json")],
            "objective": problem.objective,
            "found": problem.found,
            "seed": problem.seed,
        }
        code = f"import sys; sys.path[:0] = {sys.path!r}\n{DESCRIBE}"
        result = subprocess.run([sys.executable, "-c", code, json.dumps(given)], capture_output=True, text=True)
        assert (result.stdout.strip(), result.returncode) == ("[]", 0), result.stderr

    def test_it_is_registered(self) -> None:
        plugin = self.plugin()
        assert type(strategy_plugin(plugin.name.lower())) is type(plugin)

    def test_it_says_what_it_is(self) -> None:
        plugin, problem = self.plugin(), self.problem()
        assert plugin.name and plugin.about and isinstance(plugin.score, Score) and plugin.score.key
        assert plugin.data in ("images", "text", "none") and plugin.searches
        assert (plugin.objective is None) == (problem.task is None)
        if plugin.objective is not None:
            assert isinstance(build_objective(plugin.objective), Objective)
        if plugin.nni_strategy:
            module, _, name = plugin.nni_strategy.partition(":")
            assert isinstance(getattr(import_module(module), name), type)
        for part, settings in self._settings().items():
            assert isinstance(settings, getattr(plugin, f"{part}_settings")), part
        plugin.check(problem)
        plugin.check_files(problem)

    # -- settings ------------------------------------------------------------------------------------------------------
    def test_settings_survive_json(self) -> None:
        for settings in self._settings().values():
            assert read(type(settings), json.loads(json.dumps(settings.model_dump(mode="json")))) == settings

    def test_every_key_changes_the_identity_or_is_harmless(self) -> None:
        whole, given = self._experiment_settings(), self.other_values()
        before = self._identity(whole)
        assert json.loads(json.dumps(before)) == before
        for part, settings in self._settings().items():
            for key in leaves(settings):
                place = f"{part}.{key}"
                other = changed(settings, key, given[place]) if place in given else with_any_other_value(settings, key)
                if other == settings:  # it can be nothing else
                    other = unchecked(settings, key, "another")
                with warnings.catch_warnings():  # pydantic notices values that it has not checked
                    warnings.simplefilter("ignore")
                    after = self._identity(whole.model_copy(update={part: other}))
                if key.rpartition(".")[2] in MAY_CHANGE:
                    assert after == before, f"{place} is harmless, but changes the identity"
                else:
                    assert after != before, f"{place} does not change the identity"

    # -- what it finds -------------------------------------------------------------------------------------------------
    def test_what_it_finds_is_distinct_within_limits_and_in_order(self) -> None:
        problem, (result, _) = self.problem(), self._whole()
        space, found = problem.space, [ranked.architecture for ranked in result.ranked]
        drawn = space.sample(np.random.default_rng(0), 1000)
        assert not problem.limits.mask(space, drawn).all(), "choose limits that some architectures do not meet"
        assert 1 <= len(found) <= problem.found
        assert [space.check(architecture) for architecture in found] == found
        assert len({space.canonical(architecture) for architecture in found}) == len(found), "some are the same"
        assert problem.limits.mask(space, space.encode(found)).all(), "some are beyond the limits"
        scores = [ranked.score for ranked in result.ranked]
        assert not any(map(math.isnan, scores)) and scores == sorted(scores, reverse=True), "the best come first"

    def test_it_scores_others_as_what_it_found(self) -> None:
        problem, (result, _) = self.problem(), self._whole()
        rows = problem.space.encode([ranked.architecture for ranked in result.ranked])
        if result.score is None:
            assert result.scores(rows) == [None] * len(rows)
            return
        scores = result.scores(rows)
        assert scores == pytest.approx([ranked.score for ranked in result.ranked], rel=1e-6)
        assert [result.scores(row[None])[0] for row in rows] == pytest.approx(scores, rel=1e-6), "the company matters"
        assert result.scores(rows[:0]) == []

    def test_what_it_reports_can_be_written_down_and_drawn(self) -> None:
        plugin, (result, rows) = self.plugin(), self._whole()
        json.dumps([result.curve, result.numbers, result.details, result.cost, rows])
        numbers = [*result.numbers.values(), *result.cost.values()]
        assert all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
        if plugin.data != "none" or plugin.asks:
            assert len(rows) >= 2, "choose a search of at least two epochs or questions, and report each"
            assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1)) and len(result.curve) == len(rows)
        points = [plugin.curve_point(row) for row in rows]
        assert all(math.isfinite(point["default"]) for point in points)
        assert all(set(point) <= set(points[0]) for point in points), "the portal has the keys of the first row only"

    def test_weights_in_the_folder_score_alike(self) -> None:
        plugin, problem, (result, _) = self.plugin(), self.problem(), self._whole()
        if type(plugin).scorer is StrategyPlugin.scorer:
            with pytest.raises(ConfigError, match=f"{plugin.name} leaves no weights"):
                plugin.scorer(replace(problem, folder=self.folder))
            return
        rows = problem.space.encode([ranked.architecture for ranked in result.ranked])
        scores = plugin.scorer(replace(problem, folder=self.folder))(rows)
        assert scores.tolist() == pytest.approx(result.scores(rows), rel=1e-6)

    # -- what it depends on --------------------------------------------------------------------------------------------
    def test_equal_searches_find_the_same(self) -> None:
        """Whatever the global generators, which stay as they are, and without a folder."""
        result, rows = self._whole()  # by now everything is imported: some modules draw from them then
        seed_generators(2)
        before = generator_states()
        again, told = self._search(None)
        assert generator_states() == before, "a global generator was moved"
        self._assert_same(again, result)
        assert told == rows

    def test_killed_and_resumed_is_undisturbed(self, tmp_path: Path) -> None:
        result, rows = self._whole()
        if not rows:
            pytest.skip("it reports nothing, so there is no moment to kill it")
        told: list[dict[str, float]] = []

        def kill(row: dict[str, float]) -> None:
            told.append(row)
            if len(told) == len(rows) // 2:
                raise Killed

        with pytest.raises(Killed):
            self._search(tmp_path, kill)
        again, _ = self._search(tmp_path)
        self._assert_same(again, result)

    def test_labels_are_asked_for_by_none_but_objectives_that_need_them(self) -> None:
        if self.plugin().objective is None or self.plugin().data != "images":
            pytest.skip("it has no objective")
        problem, task = self.problem(), self.label_free_task()
        objective = {"name": type(task).__name__, **vars(task)}
        data = Unlabelled(problem.data)
        assert self.plugin().search(replace(problem, data=data, task=task, objective=objective)).ranked

    # -- NNI -----------------------------------------------------------------------------------------------------------
    def test_it_runs_in_nnis_experiment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from nni.nas.evaluator import Evaluator
        from nni.nas.experiment import NasExperiment, experiment
        from nni.tools.nnictl.config_utils import Experiments

        from nni_plugins.strategies import PluginStrategy

        class OfProblem(Evaluator):  # type: ignore[misc]
            """What a problem has, where strategies look for it."""

            def __init__(self, problem: Problem) -> None:
                self.images = self.corpus = problem.data
                self.objective, self.settings, self.seed = problem.task, problem.training, problem.seed
                self.evaluate = problem.ask

        monkeypatch.setattr(experiment, "Experiments", functools.partial(Experiments, home_dir=str(tmp_path)))
        p = self.problem()
        strategy = PluginStrategy(self.plugin(), search=p.search, limits=p.limits, found=p.found, seed=p.seed)
        run = NasExperiment(p.space.supernet(), OfProblem(p), strategy)
        run.config.experiment_working_directory = str(tmp_path)
        try:
            run.run()
        finally:
            run.stop()
        ranked = self._whole()[0].ranked
        assert plain(list(strategy.ranking() or [])) == plain(ranked)
        exported = run.export_top_models(p.found, formatter="dict")
        assert [p.space.architecture(sample) for sample in exported] == [one.architecture for one in ranked]

    # -- helpers -------------------------------------------------------------------------------------------------------
    def _settings(self) -> dict[str, Settings]:
        problem = self.problem()
        return {part: getattr(problem, part) for part in PARTS}

    def _experiment_settings(self) -> Any:
        """Of an experiment that searches as :meth:`problem` says."""
        plugin, problem = self.plugin(), self.problem()
        values = {
            "space": space_settings(problem.space),
            "limits": problem.limits,
            "found": problem.found,
            "evaluations": {"stand_alone": {"evaluator": "stand_alone"}} if plugin.asks else {},
            **({"data": {"path": "/"}} if plugin.data == "text" else {}),
            **self._settings(),
        }
        return read(experiment_of(plugin).settings_class, values)

    def _identity(self, settings: Any) -> dict[str, Any]:
        """All that decides what such an experiment finds."""
        return search_identity(settings, Evaluations(settings, settings.data), 0)

    def _search(self, folder: Path | None, report: Report | None = None) -> tuple[SearchResult, list[dict[str, float]]]:
        """A search, and what it reported unless to ``report``."""
        rows: list[dict[str, float]] = []
        problem = replace(self.problem(), folder=folder, report=report or rows.append)
        return self.plugin().search(problem), rows

    def _whole(self) -> tuple[SearchResult, list[dict[str, float]]]:
        """The undisturbed search, in :attr:`folder`, and what it reported; done once."""
        cls = type(self)
        if "_undisturbed" not in vars(cls):
            seed_generators(1)
            cls._undisturbed = self._search(self.folder)
        return cls._undisturbed

    def _assert_same(self, one: SearchResult, other: SearchResult) -> None:
        for key in ("ranked", "curve", "numbers", "details", "cost"):
            first, second = (plain(getattr(result, key)) for result in (one, other))
            if key == "details":  # of a file
                first, second = ({k: v for k, v in part.items() if k != "initial_sha256"} for part in (first, second))
            assert same(first, second), f"{key}: {first} and {second}"


def _place(value: object) -> str:
    """Where its class stands."""
    return f"{type(value).__module__}:{type(value).__qualname__}"
