"""Experiments of NAO-V2, NAO-WS and ENAS: settings, tuners, presets, and whole runs through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.experiment import phases
from nni_plugins.experiment.settings import (
    EXPERIMENTS,
    ENASExperiment,
    NAOV2Experiment,
    NAOWSExperiment,
    SearchExperiment,
    check,
)
from nni_plugins.portal.axes import expected_trials, search_space
from nni_plugins.portal.registration import _entries
from nni_plugins.portal.tuner import PhasedTuner
from nni_plugins.portal.tuners import ENASTuner, NAOV2Tuner, NAOWSTuner
from nni_plugins.presets.shared_weights import SHARED_WEIGHTS
from nni_plugins.spaces import NASBench201

from .small import Cli, load, write

METHODS = ("naov2", "naows", "enas")
NAO: dict[str, Any] = {
    "iterations": 2,
    "initial": 8,
    "kept": 2,
    "evaluation_images": None,
    "controller": {"epochs": 3},
    "proposals": {"seeds": 4, "new": 3},
    "final": None,
}


def arguments(method: str, **changes: Any) -> dict[str, Any]:
    """``tuner.classArgs`` of a search of one epoch a cycle on 200 images, then one found and one random architecture."""
    training: dict[str, Any] = {"epochs": 1, "batch_size": 50, "accelerator": "cpu"}
    return {
        "space": {"name": "nasbench201", "nodes": 3, "channels": 4, "cells_per_stage": 1},
        "data": {"source": "digits", "limit": 200},
        "training": training if method == "enas" else {**training, "drop_path": 0.0},
        "search": {"candidates": 6, "controller_steps": 1, "samples": 2, "restart_epochs": None}
        if method == "enas"
        else NAO,
        "stand_alone": {"epochs": 1, "batch_size": 64, "accelerator": "cpu"},
        "threads": 1,
        "found": 1,
        "random": 4,
        **changes,
    }


def settings(method: str, **changes: Any) -> SearchExperiment:
    model = EXPERIMENTS[method]
    assert issubclass(model, SearchExperiment)
    return check(model, arguments(method, **changes))


def test_defaults_are_the_papers() -> None:
    v2, ws, enas = (check(EXPERIMENTS[method], {"space": {"name": "nao"}}) for method in METHODS)
    assert isinstance(v2, NAOV2Experiment) and isinstance(ws, NAOWSExperiment) and isinstance(enas, ENASExperiment)
    assert (v2.search.iterations, v2.search.initial, v2.search.sampling, v2.search.reset, v2.training.epochs) == (
        4,
        1000,
        "proportional",
        "all",
        50,
    )
    assert (ws.search.iterations, ws.search.initial, ws.search.sampling, ws.search.reset, ws.training.epochs) == (
        5,
        600,
        "uniform",
        "none",
        30,
    )
    assert (enas.search.controller_steps, enas.search.samples, enas.training.epochs) == (30, 10, 150)


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("naov2", {"found": 6}, "found <= 5, what the last evaluation ranks, must hold, but got 6"),
        ("naov2", {"search": {**NAO, "initial": 3}}, "proposals.seeds <= 3"),
        ("enas", {"found": 7}, "found <= candidates must hold, but got 7 and 6"),
        (
            "naows",
            {"objective": {"name": "random_labels", "classes": 10}},
            "random labels of held-out images cannot be predicted, and NAOWS",
        ),
        ("enas", {"search": {"tempearture": 1}}, "search.tempearture: no such key; did you mean 'temperature'"),
    ],
)
def test_refused(method: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(method, **changes)


@pytest.mark.parametrize("tuner", [NAOV2Tuner, NAOWSTuner, ENASTuner])
def test_tuners(tuner: type[PhasedTuner], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.setenv("NNI_CHECKPOINT_DIRECTORY", str(tmp_path / "checkpoint"))
    method = tuner.experiment.strategy.lower()
    built = tuner(**arguments(method))
    (entry,) = [entry for entry in _entries() if entry["className"] == f"nni_plugins.portal.tuners.{tuner.__name__}"]
    assert built._problem is None and entry["builtinName"] == tuner.experiment.strategy
    (given,) = built.generate_multiple_parameters([0], st_callback=lambda number, parameters: None)
    again = check(EXPERIMENTS[method], given["trial"]["settings"])
    assert given["phase"] == "search" and again.model_copy(update={"run_folder": None}) == built.settings


@pytest.mark.parametrize("name", sorted(SHARED_WEIGHTS))
def test_presets(name: str) -> None:
    preset = SHARED_WEIGHTS[name]
    given: Any = check(EXPERIMENTS[preset.tuner.lower()], preset.arguments)
    if name.endswith("cifar10"):  # written out, and the same as the defaults
        defaults: Any = check(type(given), {"space": {"name": "nao"}})
        assert given.training == defaults.training
        assert given.search.model_dump(exclude={"kept"}) == defaults.search.model_dump(exclude={"kept"})
        assert getattr(given.search, "carried", None) == getattr(defaults.search, "carried", None)


def test_cells_without_trained_weights_have_no_score() -> None:
    experiment = settings("naov2", truth={"table": "digits"})
    result, value = phases.run_search(experiment, 0, None, None)
    space = NASBench201(nodes=3, channels=4, cells_per_stage=1)
    pool: Any = result
    trained = {space.canonical(a) for a in space.decode(pool.pool.indices)}
    from nni_plugins.experiment.plan import random_architectures

    known = [space.canonical(a) in trained for a in random_architectures(experiment)]
    assert [score is not None for score in value["result"]["random"]] == known and not all(known)
    assert 5 <= value["result"]["scored_in_table"] < 125 and value["result"]["scored"] == 5 and -1 <= value["tau"] <= 1
    assert json.loads(json.dumps(value)) == value
    assert [it["trained"] for it in value["result"]["iterations"]] == [8, 5]


@pytest.mark.parametrize("method", METHODS)
def test_from_the_command_line(method: str, run: Cli, tmp_path: Path) -> None:
    model = settings(method)
    value = {
        "trialCommand": "python -m nni_plugins.trial",
        "maxTrialNumber": expected_trials(model),
        "trainingService": {"platform": "local"},
        "tuner": {"name": EXPERIMENTS[method].strategy, "classArgs": arguments(method)},
        "searchSpace": search_space(model),
    }
    config, folder = write(tmp_path / "x.yml", value), tmp_path / "run"
    answer = run("search", config, "--output", folder)
    assert answer.status == 0, answer.err
    result = load(folder / "result.json")
    rows = [row for row in result["architectures"] if row["score"] is not None]
    assert (
        result["strategy"] == EXPERIMENTS[method].strategy
        and result["failed"] == []
        and "found-0-1" in {row["job"] for row in rows}
    )
    texts = [row["architecture"] for row in rows]
    scored = json.loads(run("score", config, *texts, "--supernet", folder / "search-0", "--json").out)
    assert [row["one_shot_accuracy"] for row in scored] == pytest.approx([row["score"] for row in rows], abs=1e-6), (
        "as the search measured them"
    )
    cycle = folder / "search-0" / ("cycle-0" if method == "enas" else "cycle-1")
    assert json.loads(run("score", config, *texts, "--supernet", cycle, "--json").out) == scored
