"""Every image strategy as a plugin: described without torch, refused where it cannot work, and one small real search."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nni_plugins.evaluators import ImageSet, load
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import CheckpointError, ConfigError
from nni_plugins.evaluators.objectives.registered import build_objective
from nni_plugins.evaluators.settings import read
from nni_plugins.spaces import NASBench101, NASBench201
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.mobilenet import MobileNetLike
from nni_plugins.strategies.base import Problem, SearchResult, Setup, run_checks
from nni_plugins.strategies.limits import Limits
from nni_plugins.strategies.plugins import strategy_plugin

SPACE = NASBench201(nodes=3, channels=4, cells_per_stage=1)
HALF = Limits(max_parameters=int(np.median(SPACE.cost_table(32)(SPACE.enumerate()).parameters)))
TINY: dict[str, Any] = {"epochs": 1, "batch_size": 50, "accelerator": "cpu"}
WARM: dict[str, Any] = {"epochs": 2, "warmup_epochs": 1}
NAO: dict[str, Any] = {
    "iterations": 2,
    "initial": 8,
    "kept": 2,
    "proposals": {"seeds": 2, "new": 4},
    "controller": {"epochs": 2, "embedding": 8, "hidden": 8, "predictor": [8]},
}
FINAL: dict[str, Any] = {"final_candidates": 2, "final": {"epochs": 1, "accelerator": "cpu"}}
SMALL: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "rlnas": ({}, {}),
    "darts": ({"hessian_every": 1}, {}),
    "pcdarts": (WARM, {}),
    "rfdarts": ({}, {}),
    "rfpcdarts": (WARM, {}),
    "unnasdarts": (WARM, {}),
    "gdas": ({}, {}),
    "setn": ({}, {"candidates": 8}),
    "randomnas": ({}, {"candidates": 8}),
    "enas": ({}, {"candidates": 8, "controller_steps": 2, "samples": 3, "restart_epochs": None}),
    "naov2": ({"drop_path": 0}, {**NAO, **FINAL}),
    "naows": ({"drop_path": 0}, {**NAO, "final": None}),
}
"""Changes to training and search settings of the smallest searches."""


def setup(name: str, space: SearchSpace = SPACE, found: int = 3, objective: str = "", **changes: Any) -> Setup:
    """``changes``: of the training settings, or as ``search`` of those of the search."""
    plugin = strategy_plugin(name)
    search = read(plugin.search_settings, changes.pop("search", {}))
    training = read(plugin.training_settings, {"epochs": 20, **changes})
    chosen = {"name": objective} if objective else plugin.objective
    return Setup(space, search, training, chosen, Limits(), found)


# -- descriptions ------------------------------------------------------------------------------------------------------
DESCRIBED = """
import json, sys
from nni_plugins.spaces import registry
from nni_plugins.strategies.plugins import strategy_plugin
from nni_plugins.experiment.kinds import load_experiment
told = {}
for name in registry.found("strategies"):
    plugin = strategy_plugin(name)
    settings = [sorted(model.model_fields) for model in (plugin.search_settings, plugin.training_settings)]
    told[name] = [plugin.name, plugin.about, plugin.score.heading, plugin.nni_strategy, settings]
for name in sys.argv[1:]:
    experiment = load_experiment(name, {"space": {"name": "nasbench201", "nodes": 3}})
    told[name].append(experiment.trials)
print(json.dumps({"told": told, "loaded": sorted({"torch", "nni"} & set(sys.modules))}))
"""


def test_descriptions_import_no_torch() -> None:
    """Nor do whole experiments, with all that their strategies check."""
    command = [sys.executable, "-c", DESCRIBED, *SMALL, "randomsearch"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["loaded"] == [] and {*SMALL, "randomsearch"} <= set(answer["told"])
    for name, (called, about, heading, strategy, _, *trials) in answer["told"].items():
        assert called.lower() == name and heading and about.strip() == about != "" and not about.endswith(".")
        assert trials in ([], [12 if name != "randomsearch" else 11]), (
            "a search, found and random ones, and the largest"
        )
        if strategy:
            module, _, attribute = strategy.partition(":")
            assert callable(getattr(importlib.import_module(module), attribute)), strategy
    abouts = [about for _, about, *_ in answer["told"].values()]
    assert len(set(abouts)) == len(abouts)


def test_scores_and_objectives() -> None:
    keys = {name: strategy_plugin(name).score.key for name in SMALL}
    assert keys.pop("rlnas") == "angle"
    shared = {name for name, key in keys.items() if key == "one_shot_accuracy"}
    assert shared == {"setn", "randomnas", "enas", "naov2", "naows"}
    assert {key for name, key in keys.items() if name not in shared} == {"log_probability"}
    objectives = {name: (strategy_plugin(name).objective or {})["name"] for name in SMALL}
    assert objectives.pop("rlnas") == "random_labels" and objectives.pop("unnasdarts") == "rotation"
    assert set(objectives.values()) == {"supervised"} and strategy_plugin("randomsearch").objective is None


def test_what_the_portal_gets_of_an_epoch() -> None:
    row = {"epoch": 1.0, "loss": 2.0, "accuracy": 30.0, "genotype": "|none~0|"}
    point = strategy_plugin("darts").curve_point(row)
    absent = {"architecture_loss": 0.0, "architecture_accuracy": 0.0}
    assert point == {"default": 30.0, **absent, "epoch": 1.0, "loss": 2.0, "accuracy": 30.0}, "numbers alone"
    later = strategy_plugin("setn").curve_point({**row, "architecture_loss": 1.0, "architecture_accuracy": 40.0})
    assert later["default"] == 40.0 and list(later) == list(point)
    for name in ("randomnas", "enas", "naov2", "naows"):
        assert strategy_plugin(name).curve_point({"loss": 2.0, "accuracy": 30.0})["default"] == 30.0


def test_all_problems_are_told_at_once() -> None:
    def fails(problem: str, remedy: str) -> None:
        raise ConfigError(problem, remedy)

    run_checks(lambda: None)
    with pytest.raises(ConfigError) as caught:
        run_checks(lambda: fails("a is wrong.", "Mend a."), lambda: None, lambda: fails("b is wrong.", ""))
    assert (caught.value.problem, caught.value.remedy) == ("a is wrong; b is wrong.", "Mend a.")


# -- refused -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["darts", "pcdarts", "rfdarts", "rfpcdarts", "unnasdarts", "gdas", "setn"])
def test_spaces_that_cannot_be_mixed(name: str) -> None:
    strategy_plugin(name).check(setup(name))
    with pytest.raises(ConfigError, match="mobilenetlike has no mixture over edges"):
        strategy_plugin(name).check(setup(name, MobileNetLike()))
    if "pc" in name:
        with pytest.raises(ConfigError, match="partial_channels=4 must divide the width of the first cells, 6"):
            strategy_plugin(name).check(setup(name, NASBench201(channels=6)))


@pytest.mark.parametrize("name", ["gdas", "setn"])
def test_trainings_that_cannot_sample(name: str) -> None:
    for change, said in (({"order": 2}, "order 2 differentiates"), ({"hessian_every": 1}, "look at the curvature")):
        with pytest.raises(ConfigError, match=said):
            strategy_plugin(name).check(setup(name, **change))


@pytest.mark.parametrize("name", ["setn", "randomnas", "enas", "naov2", "naows"])
def test_what_cannot_be_predicted_and_too_many_results(name: str) -> None:
    """Both at once."""
    plugin = strategy_plugin(name)
    plugin.check(setup(name, objective="rotation"))
    with pytest.raises(ConfigError) as caught:
        plugin.check(setup(name, objective="random_labels", found=9000))
    for said in (f"cannot be predicted, and {plugin.name} ranks by accuracy on them", "found <= "):
        assert said in caught.value.problem
    assert "RLNAS and GDAS search with random labels" in caught.value.remedy
    strategy_plugin("gdas").check(setup("gdas", objective="random_labels", found=9000))


def test_what_enas_cannot_learn() -> None:
    class Odd(NASBench201):
        def valid(self, indices: Any) -> Any:
            return indices[:, 0] > 0

    plugin = strategy_plugin("enas")
    plugin.check(setup("enas", NASBench101()))
    with pytest.raises(ConfigError, match="not every combination of its decisions is an architecture"):
        plugin.check(setup("enas", Odd()))
    with pytest.raises(ConfigError, match="the controller is never trained, but got 20 and 20"):
        plugin.check(setup("enas", search={"warmup_epochs": 20}))
    with pytest.raises(ConfigError, match="reward: inverse_perplexity cannot be computed on nasbench201"):
        plugin.check(setup("enas", search={"reward": "inverse_perplexity"}))


def test_random_search_searches_nothing() -> None:
    plugin = strategy_plugin("randomsearch")
    assert not plugin.searches
    with pytest.raises(ConfigError, match="RandomSearch has nothing to search"):
        plugin.search(Problem(SPACE, None, None, None, Limits(), 1))
    with pytest.raises(ConfigError, match="RandomSearch leaves no weights"):
        plugin.scorer(Problem(SPACE, None, None, None, Limits(), 1))


# -- searches ----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def images() -> ImageSet:
    """200 real digits."""
    return load(DataSettings(limit=200)).train


def searched(name: str, images: ImageSet, folder: Path, rows: list[dict[str, float]]) -> tuple[Problem, SearchResult]:
    """The smallest search by name, of three architectures within :data:`HALF`."""
    plugin, (training, search) = strategy_plugin(name), SMALL[name]
    assert plugin.objective is not None
    problem = Problem(
        SPACE,
        read(plugin.search_settings, search),
        read(plugin.training_settings, {**TINY, **training}),
        plugin.objective,
        HALF,
        3,
        data=images,
        task=build_objective(plugin.objective),
        seed=1,
        folder=folder,
        report=rows.append,
    )
    plugin.check(problem)
    return problem, plugin.search(problem)


@pytest.mark.filterwarnings("ignore:the supernet sees only")
@pytest.mark.parametrize("name", SMALL)
def test_a_search_and_its_scores(name: str, images: ImageSet, tmp_path: Path) -> None:
    plugin, rows = strategy_plugin(name), list[dict[str, float]]()
    problem, result = searched(name, images, tmp_path, rows)
    found = [one.architecture for one in result.ranked]
    indices = SPACE.encode(found)
    assert len(found) == 3 == len({SPACE.canonical(a) for a in found}) and HALF.mask(SPACE, indices).all()
    assert rows == result.curve != [] and result.cost == {"search_epochs": float(len(rows)), "queries": 0.0}
    assert all("default" in plugin.curve_point(row) for row in rows)
    scores = [one.score for one in result.ranked]
    if name != "naov2":  # its first ones are in the order of a training of their own
        assert scores == sorted(scores, reverse=True)
    assert np.allclose(result.scores(indices), scores)  # type: ignore[arg-type]
    assert np.allclose(plugin.scorer(problem)(indices), scores, rtol=1e-6), "with the weights in the folder"
    json.dumps([result.details, result.numbers], allow_nan=False)
    with pytest.raises(CheckpointError, match="is a supernet of another space"):
        plugin.scorer(Problem(**{**vars(problem), "space": NASBench201()}))(NASBench201().enumerate()[:1])
    with pytest.raises(CheckpointError, match="holds no supernet training"):
        plugin.scorer(Problem(**{**vars(problem), "folder": tmp_path / "nothing"}))


@pytest.mark.filterwarnings("ignore:the supernet sees only")
def test_what_searches_tell(images: ImageSet, tmp_path: Path) -> None:
    told = {name: searched(name, images, tmp_path / name, [])[1] for name in ("darts", "setn", "enas", "naov2")}
    mixed = {"operations", "shares", "genotypes", "skips", "initial_sha256"}
    assert set(told["darts"].details) == mixed | {"eigenvalues", "stopped_epoch", "rollbacks"}
    assert [set(row) for row in told["darts"].details["eigenvalues"]] == [{"epoch", "eigenvalue"}]
    assert set(told["setn"].details) == mixed | {"scored"} and told["setn"].details["scored"] == 8
    assert set(told["darts"].numbers) == {"supernet_accuracy"} and set(told["enas"].numbers) == {"reward", "entropy"}
    nao, every = told["naov2"], SPACE.enumerate()
    assert set(nao.details) == {"scored", "iterations", "final", "exhausted"} and len(nao.details["final"]) == 2
    assert [row["number"] for row in nao.details["iterations"]] == [0, 1]
    assert not any("curve" in row for row in nao.details["iterations"])
    scores = nao.scores(every)
    known = {SPACE.canonical(a) for a, s in zip(SPACE.decode(every), scores, strict=True) if s is not None}
    assert len(known) == nao.details["scored"] == 6, "only what the last pool trained"
