"""Searches of recurrent cells as plugins: what they refuse, and that they are the searches behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.latency import write_latencies
from nni_plugins.evaluators.settings import read
from nni_plugins.spaces import NASBench201, SearchSpace
from nni_plugins.spaces.recurrent import RecurrentCell
from nni_plugins.strategies.base import Problem, Setup
from nni_plugins.strategies.limits import Limits
from nni_plugins.strategies.plugins import strategy_plugin
from nni_plugins.strategies.recurrent.darts import RecurrentMixture
from nni_plugins.strategies.recurrent.darts import search as darts

from .test_plugins_contract import CELLS, CORPUS

NAMES = ("recurrentdarts", "recurrentnao", "recurrentenas", "recurrentrandomnas")
TINY: dict[str, Any] = {"epochs": 2, "batch_size": 4, "bptt": 6, "accelerator": "cpu"}


def setup(
    name: str, search: dict[str, Any], training: dict[str, Any], found: int = 3, space: SearchSpace = CELLS
) -> Setup:
    plugin = strategy_plugin(name)
    settings = read(plugin.search_settings, search), read(plugin.training_settings, training)
    return Setup(space, *settings, None, Limits(), found)


@pytest.mark.parametrize("name", NAMES)
def test_only_recurrent_cells_are_searched(name: str) -> None:
    plugin = strategy_plugin(name)
    plugin.check(setup(name, {}, {}))
    with pytest.raises(ConfigError, match="space: nasbench201 has no recurrent cells"):
        plugin.check(setup(name, {}, {}, space=NASBench201()))


@pytest.mark.parametrize(
    ("name", "search", "training", "found", "said"),
    [
        ("recurrentrandomnas", {"candidates": 2}, {}, 3, "found <= candidates must hold, but got 3 and 2"),
        ("recurrentenas", {"candidates": 2}, {}, 3, "found <= candidates must hold, but got 3 and 2"),
        ("recurrentenas", {"warmup_epochs": 5}, {"epochs": 5}, 3, "warmup_epochs < epochs must hold"),
        ("recurrentenas", {"reward": "accuracy"}, {}, 3, "reward: accuracy cannot be computed on recurrent"),
        ("recurrentnao", {"initial": 4, "iterations": 1}, {}, 5, "found <= 4, what the last evaluation ranks"),
    ],
)
def test_settings_that_give_nothing(
    name: str, search: dict[str, Any], training: dict[str, Any], found: int, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        strategy_plugin(name).check(setup(name, search, training, found))


def test_final_trainings_are_for_images() -> None:
    with pytest.raises(ValidationError, match="short stand-alone trainings are for images"):
        strategy_plugin("recurrentnao").search_settings.model_validate({"final": {"epochs": 2}})


def test_the_official_codes_numbers() -> None:
    """NAO-WS on Penn Treebank: 1,000 = 650 + 300 + 50, five parts of 200 epochs, lambda up to 30, targets are losses."""
    nao = strategy_plugin("recurrentnao").search_settings.model_validate({})
    assert nao.initial == nao.kept + nao.proposals.new + nao.random == 650 + 300 + 50
    assert (nao.proposals.seeds, nao.proposals.last_step, nao.controller.targets) == (100, 30, "loss")
    assert (nao.controller.predictor, nao.reset, nao.sampling, nao.evaluates_all) == (
        (200,) * 4,
        "none",
        "uniform",
        False,
    )
    assert nao.iterations * strategy_plugin("recurrentnao").training_settings().epochs == 1000


def test_the_plugin_is_the_search(tmp_path: Path) -> None:
    plugin = strategy_plugin("recurrentdarts")
    training = read(plugin.training_settings, TINY)
    result = plugin.search(Problem(CELLS, None, training, None, Limits(), 3, data=CORPUS, seed=5))
    same = darts(CELLS, CORPUS, training, 5, 3)
    assert result.ranked == same.ranked and result.curve == same.trained.history
    assert result.details == {"genotypes": same.genotypes} and result.cost == {"search_epochs": 2.0, "queries": 0.0}
    assert result.scores(CELLS.enumerate()) == same.mixture.score(CELLS, CELLS.enumerate()).tolist()


def test_nao_scores_what_its_last_pool_trained() -> None:
    plugin = strategy_plugin("recurrentnao")
    controller = {"epochs": 1, "embedding": 4, "hidden": 8, "predictor": [4]}
    search = {"iterations": 1, "initial": 5, "controller": controller}
    training = {**TINY, "epochs": 1, "evaluation_batch": 4, "reward_batch": 4}
    settings = read(plugin.search_settings, search), read(plugin.training_settings, training)
    result = plugin.search(Problem(CELLS, *settings, None, Limits(), 5, data=CORPUS, seed=5))
    forms = {CELLS.canonical(one.architecture) for one in result.ranked}
    scores = result.scores(CELLS.enumerate())
    known = [CELLS.canonical(one) in forms for one in CELLS.decode(CELLS.enumerate())]
    assert len(forms) == 5 and [score is not None for score in scores] == known


def test_the_most_probable_cells_within_a_latency(tmp_path: Path) -> None:
    probabilities = [[0.9, 0.01, 0.04, 0.03, 0.02], [0.0, 0.3, 0.2, 0.25, 0.25], [0.6, 0.05, 0.31, 0.02, 0.02]]
    space, mixture = RecurrentCell(nodes=2), RecurrentMixture(probabilities)
    rows = space.enumerate()
    write_latencies(tmp_path / "a.csv", space, space.decode(rows), np.arange(32) % 5 + 1.0)
    limits = Limits(max_latency=2.0, latency_table=str(tmp_path / "a.csv"))
    within = rows[limits.mask(space, rows)]
    found = mixture.best(space, 40, limits)
    assert {space.canonical(one.architecture) for one in found} == {space.canonical(a) for a in space.decode(within)}
    assert limits.mask(space, space.encode([one.architecture for one in found])).all()
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert found[0].score == mixture.score(space, within).max()
    assert mixture.best(space, 3, Limits(max_parameters=1)) == []
