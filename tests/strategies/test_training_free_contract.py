"""The training-free searches pass the conformance suite of strategies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nni_plugins.evaluators import RandomLabels
from nni_plugins.evaluators.errors import CheckpointError, ConfigChanged, ConfigError
from nni_plugins.evaluators.settings import read
from nni_plugins.spaces import DARTS, NASBench201
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.strategies.base import NoSettings, Problem, Setup
from nni_plugins.strategies.evolution import EvolutionSettings
from nni_plugins.strategies.largest import largest
from nni_plugins.strategies.limits import Limits
from nni_plugins.strategies.plugins import strategy_plugin
from nni_plugins.strategies.training_free import measure
from nni_plugins.strategies.training_free.networks import without_norms
from nni_plugins.strategies.training_free.settings import CostSearch
from nni_plugins.strategies.training_free.synflow import SynFlow

from .test_plugins_contract import IMAGES, SPACE, OnImages


class TrainingFree(OnImages):
    settings = {"candidates": 9, "accelerator": "cpu", "batch_size": 6}

    def training(self) -> Mapping[str, Any]:
        return {}


class TestParameters(TrainingFree):
    name, settings = "Parameters", {}


class TestMACs(TrainingFree):
    name, settings = "MACs", {}


class TestNASWOT(TrainingFree):
    name = "NASWOT"


class TestJacobian(TrainingFree):
    name = "Jacobian"


class TestSynFlow(TrainingFree):
    name, settings = "SynFlow", {"candidates": 9, "accelerator": "cpu"}


class TestZen(TrainingFree):
    name = "Zen"


class TestZiCo(TrainingFree):
    name = "ZiCo"


class TestAZ(TrainingFree):
    """With an evolution, whose scores are ranks among all before."""

    name = "AZ"
    settings = {
        **TrainingFree.settings,
        "evolution": {"population": 4, "generations": 2, "parents": 2, "mutations": 2, "crossovers": 2},
    }


class TestCombine(TrainingFree):
    """The angle of a supernet among them."""

    name = "Combine"
    settings = {
        "candidates": 9,
        "scores": [
            {
                "score": "angle",
                "training": {"epochs": 2, "batch_size": 6, "accelerator": "cpu", "checkpoint_seconds": 0},
            },
            {"score": "naswot", "settings": {"batch_size": 6, "accelerator": "cpu"}},
            "macs",
        ],
    }

    def other_values(self) -> Mapping[str, Any]:
        return {"search.scores": ["macs", "synflow"]}


# -- refused -----------------------------------------------------------------------------------------------------------
def combined(*scores: Any, **more: Any) -> Setup:
    plugin = strategy_plugin("combine")
    search = read(plugin.search_settings, {"scores": scores, **more})
    return Setup(SPACE, search, NoSettings(), plugin.objective, Limits(), 3)


def test_what_cannot_be_combined_is_told_at_once() -> None:
    plugin = strategy_plugin("combine")
    plugin.check(combined("naswot", "angle", "darts", {"score": "one_shot", "objective": {"name": "rotation"}}))
    with pytest.raises(ConfigError) as caught:
        plugin.check(
            combined(
                "nasswot",
                "one_shot",
                "randomsearch",
                {"score": "naswot", "settings": {"batch": 3}},
                {"score": "macs", "training": {"epochs": 3}},
                {"score": "angle", "training": {"epoch": 3}},
                {"score": "zico", "objective": {"name": "rotatoin"}},
                candidates=2,
            )
        )
    for said in (
        "found <= search.candidates must hold, but got 3 and 2",
        "search.scores.nasswot: unknown score 'nasswot'; did you mean 'naswot'",
        "search.scores.one_shot: random labels of held-out images cannot be predicted",
        "search.scores.randomsearch: RandomSearch scores no architectures",
        "search.scores.naswot: naswot.batch: no such key; did you mean 'batch_size'",
        "search.scores.macs: training: it trains nothing",
        "search.scores.angle: training.epoch: no such key; did you mean 'epochs'",
        "search.scores.zico: ",
    ):
        assert said in caught.value.problem, caught.value.problem
    with pytest.raises(ConfigError, match="each score may stand there once"):
        combined("macs", "macs")
    with pytest.raises(ConfigError, match="at least 2 items"):
        combined("macs")


def test_spaces_that_are_too_large_to_build_whole() -> None:
    plugin = strategy_plugin("naswot")
    setup = Setup(DARTS(), read(plugin.search_settings, {"candidates": "all"}), NoSettings(), {}, Limits(), 3)
    with pytest.raises(
        ConfigError, match=r"search.candidates: all [\d,]+ architectures of darts are too many to build"
    ):
        plugin.check(setup)
    plugin.check(replace(setup, space=SPACE))


def problem(name: str, **changes: Any) -> Problem:
    plugin = strategy_plugin(name)
    search = read(plugin.search_settings, {"candidates": 4, "accelerator": "cpu", **changes.pop("search", {})})
    given = Problem(SPACE, search, NoSettings(), plugin.objective, Limits(), 2, data=IMAGES, task=RandomLabels(3))
    return replace(given, **changes)


def test_networks_that_cannot_be_judged_are_refused_before_any_is_scored() -> None:
    class Straight(NASBench201):
        def network(self, architecture: Architecture) -> Any:
            network = super().network(architecture)
            return without_norms(network)

    with pytest.raises(ConfigError, match="zen reads the statistics of batch norms, and NASBench201Network has none"):
        strategy_plugin("zen").search(problem("zen", space=Straight(nodes=3, channels=4, cells_per_stage=1)))


def test_images_and_limits_that_do_not_do() -> None:
    with pytest.raises(
        ConfigError, match=r"noise: 128 different images are wanted .naswot, batch_size., but there are 24"
    ):
        strategy_plugin("naswot").search(problem("naswot"))
    with pytest.raises(ConfigError, match=r"no architecture of .* meets the limits"):
        strategy_plugin("synflow").search(problem("synflow", limits=Limits(max_parameters=10)))


def test_too_few_defined_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SynFlow, "__call__", lambda *_: (float("nan"),))
    with pytest.raises(ConfigError, match="log SynFlow is undefined for the networks of 4 of 4 candidates"):
        strategy_plugin("synflow").search(problem("synflow"))


def test_the_largest_is_found_where_the_space_cannot_be_enumerated() -> None:
    space = DARTS(channels=4, cells=3)
    search = CostSearch(evolution=EvolutionSettings(population=4, generations=2, parents=2, mutations=1, crossovers=1))
    plugin = strategy_plugin("parameters")
    setup = Problem(space, search, NoSettings(), plugin.objective, Limits(), 2, data=IMAGES, task=RandomLabels(3))
    first = plugin.search(setup).ranked[0]
    top = space.encode([largest(space, "largest_parameters", Limits())])
    assert first.score == measure(space, IMAGES, "parameters", objective=RandomLabels(3))(top)[0, 0]


def test_scores_of_another_search_are_refused(tmp_path: Path) -> None:
    plugin, given = strategy_plugin("synflow"), problem("synflow", folder=tmp_path)
    plugin.search(given)
    assert plugin.left_by(tmp_path) == (0, {})
    with pytest.raises(ConfigChanged, match=r"scores of another search: search.repeats: 1 -> 2"):
        plugin.search(problem("synflow", folder=tmp_path, search={"repeats": 2}))
    with pytest.raises(CheckpointError, match="holds no scores"):
        plugin.scorer(replace(given, folder=tmp_path / "nothing"))
    (tmp_path / "scores.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"scores.json is damaged"):
        plugin.search(given)
