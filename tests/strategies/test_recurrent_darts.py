"""DARTS on recurrent cells through NNI's experiment, on hand-made and on real text."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nni.nas.evaluator import FunctionalEvaluator
from nni.nas.experiment import NasExperiment

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.text.corpus import Corpus, read_corpus
from nni_plugins.evaluators.text.settings import LanguageModelSettings, LanguageSearchSettings, TextSettings
from nni_plugins.evaluators.text.stand_alone import StandAloneText
from nni_plugins.spaces import Architecture
from nni_plugins.spaces.recurrent import RecurrentCell
from nni_plugins.strategies import DARTS, PCDARTS, RFDARTS, RFPCDARTS, DifferentiableSettings
from nni_plugins.strategies.recurrent.darts import (
    RecurrentDifferentiable,
    RecurrentMixture,
    initialise,
    search,
)

REAL_DATA = Path(os.environ.get("NNI_PLUGINS_DATA", Path(__file__).resolve().parents[3] / "shared/data"))
SPACE = RecurrentCell(nodes=3, hidden=6)
TINY: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 4,
    "bptt": 8,
    "learning_rate": 2.0,
    "dropout": 0.1,
    "dropoutx": 0.1,
    "accelerator": "cpu",
}
WORDS = np.arange(300) ** 2 % 11
CORPUS = Corpus("squares", tuple("abcdefghijk"), WORDS[:200], WORDS[200:260], WORDS[260:])


def experiment(evaluator: Any, strategy: Any, space: RecurrentCell = SPACE) -> NasExperiment:
    run = NasExperiment(space.supernet(), evaluator, strategy)
    run.run()
    return run


def test_scores_and_twins() -> None:
    p = [[0.9, 0.01, 0.04, 0.03, 0.02], [0.0, 0.3, 0.2, 0.25, 0.25], [0.6, 0.05, 0.31, 0.02, 0.02]]
    space, mixture = RecurrentCell(nodes=2), RecurrentMixture(p)
    found = mixture.best(space, 40)
    assert len(found) == 26 and len({space.canonical(r.architecture) for r in found}) == 26  # of 32 cells
    assert space.cell(found[0].architecture) == [("relu", 0), ("relu", 1)] and math.isclose(
        found[0].score, math.log(0.04 * 0.31)
    )
    scores = mixture.score(space, space.encode([r.architecture for r in found]))
    assert np.allclose(scores, [r.score for r in found]) and np.all(np.diff(scores) <= 1e-12)
    # both nodes on state 0: (relu, tanh) is more probable than its twin (tanh, relu)
    pairs = [space.cell(r.architecture) for r in found]
    assert [("relu", 0), ("tanh", 0)] in pairs and [("tanh", 0), ("relu", 0)] not in pairs
    assert [r.architecture for r in mixture.best(space, 3)] == [r.architecture for r in found[:3]]


@pytest.mark.parametrize("order", [None, 2])
def test_through_nni(tmp_path: Path, order: Any) -> None:
    rows: list[dict[str, float]] = []
    evaluator = RecurrentDifferentiable(CORPUS, TINY, seed=5, folder=tmp_path, report=rows.append)
    strategy = DARTS(order=order, top_k=4)
    models = experiment(evaluator, strategy).export_top_models(3, formatter="dict")
    result = search(SPACE, CORPUS, LanguageSearchSettings(**{**TINY, "order": order or 1}), 5, 4)
    assert strategy.result is not None and strategy.result.ranked == result.ranked and len(result.ranked) == 4
    space = SPACE.with_classes(11)
    assert [space.architecture(model) for model in models] == [r.architecture for r in result.ranked[:3]]
    assert space.to_string(result.ranked[0].architecture) == result.genotypes[-1] and len(result.genotypes) == 2 == len(
        rows
    )
    assert all(isinstance(r.architecture, Architecture) for r in result.ranked)


def test_the_seed_decides() -> None:
    settings = LanguageSearchSettings(**TINY)
    a, b, c = (initialise(SPACE, settings, seed).alphas for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)
    x, y, z = (search(SPACE, CORPUS, settings, seed, 1).mixture for seed in (0, 0, 1))
    assert x == y and x != z


@pytest.mark.parametrize("strategy", [PCDARTS, RFDARTS, RFPCDARTS])
def test_strategies_without_a_recurrent_form(strategy: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{strategy.__name__} has no form for recurrent cells(.|\n)*Use DARTS\(\)"):
        experiment(RecurrentDifferentiable(CORPUS, TINY), strategy())


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="mean nothing for recurrent cells"):
        experiment(RecurrentDifferentiable(CORPUS, TINY), DARTS(DifferentiableSettings(option="A")))
    with pytest.raises(
        ConfigError, match=r"trains recurrent cells with RecurrentDifferentiable, but got FunctionalEvaluator"
    ):
        experiment(FunctionalEvaluator(lambda model: 0.0), DARTS())
    with pytest.raises(ConfigError, match="is not a mixed recurrent cell"):
        RecurrentDifferentiable(CORPUS, TINY).evaluate(SPACE.supernet())
    with pytest.raises(ConfigError, match="top_k >= 1 must hold, but got top_k=0"):
        search(SPACE, CORPUS, LanguageSearchSettings(**TINY), 0, 0)
    with pytest.raises(ConfigError, match=r"settings\.epoch: no such key; did you mean 'epochs'"):
        RecurrentDifferentiable(CORPUS, {"epoch": 1})


def test_a_search_on_real_text() -> None:
    folder = REAL_DATA / "war_and_peace"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}, which is not part of this project (set NNI_PLUGINS_DATA)")
    text = TextSettings(
        path=str(folder), tokens="split", max_words=200, limit_tokens=4000, limit_evaluation_tokens=1500
    )
    corpus = read_corpus(text)
    assert (
        len(corpus.words) == 200
        and len(corpus.train) == 4000
        and len(corpus.test) == 1500
        and 0.2 < corpus.unknown_share("train") < 0.4
    )
    small: dict[str, Any] = {
        "learning_rate": 10,
        "bptt": 20,
        "dropout": 0,
        "dropoutx": 0,
        "dropouti": 0,
        "dropouth": 0,
        "accelerator": "cpu",
    }
    space = RecurrentCell(nodes=2, hidden=16)
    result = search(space, corpus, LanguageSearchSettings(epochs=3, batch_size=16, **small), 0, 2)
    losses = [row["loss"] for row in result.trained.history]
    assert losses[-1] < losses[0] < math.log(200) and len(result.ranked) == 2
    settings = LanguageModelSettings(epochs=3, batch_size=16, dropoute=0, test_batch=10, **small)
    trained = StandAloneText(corpus, settings, space=space).train(result.ranked[0].architecture)
    assert trained.valid < 60 and trained.test < 60  # of 200 words; those alone that are most frequent give 37
