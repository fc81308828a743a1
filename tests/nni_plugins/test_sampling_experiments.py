"""Experiments of GDAS, SETN and RandomNAS: settings, tuners, files, and whole runs through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.experiment import phases
from nni_plugins.experiment.file import from_yaml
from nni_plugins.experiment.scores import LOG_PROBABILITY, ONE_SHOT, outcome
from nni_plugins.experiment.settings import EXPERIMENTS, SearchExperiment, check
from nni_plugins.portal.axes import expected_trials, search_space
from nni_plugins.portal.registration import _entries
from nni_plugins.portal.tuner import PhasedTuner
from nni_plugins.portal.tuners import GDASTuner, RandomNASTuner, SETNTuner
from nni_plugins.presets import PRESETS, render
from nni_plugins.presets.sampling import SAMPLING
from nni_plugins.spaces import NASBench201

from .small import CELL, OTHER, Cli, load, write

METHODS = ("gdas", "setn", "randomnas")
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def arguments(method: str, **changes: Any) -> dict[str, Any]:
    """``tuner.classArgs`` of a search of two epochs on 200 images, then one found and one random architecture."""
    whole: dict[str, Any] = {
        "space": {"name": "nasbench201", "nodes": 3, "channels": 4, "cells_per_stage": 1},
        "data": {"source": "digits", "limit": 200},
        "training": {"epochs": 2, "batch_size": 50, "accelerator": "cpu"},
        "stand_alone": {"epochs": 1, "batch_size": 64, "accelerator": "cpu"},
        "threads": 1,
        "found": 1,
        "random": 1,
    }
    if method != "gdas":
        whole["search"] = {"candidates": 12, "evaluation_images": None}
    return whole | changes


def settings(method: str, **changes: Any) -> SearchExperiment:
    model = EXPERIMENTS[method]
    assert issubclass(model, SearchExperiment)
    return check(model, arguments(method, **changes))


def content(method: str, **changes: Any) -> dict[str, Any]:
    """A whole experiment file."""
    model = settings(method, **changes)
    return {
        "trialCommand": "python -m nni_plugins.trial",
        "maxTrialNumber": expected_trials(model),
        "trainingService": {"platform": "local"},
        "tuner": {"name": EXPERIMENTS[method].strategy, "classArgs": arguments(method, **changes)},
        "searchSpace": search_space(model),
    }


# -- settings ----------------------------------------------------------------------------------------------------------
def test_names_and_scores() -> None:
    assert [EXPERIMENTS[method].strategy for method in METHODS] == ["GDAS", "SETN", "RandomNAS"]
    assert [settings(method).score for method in METHODS] == [LOG_PROBABILITY, ONE_SHOT, ONE_SHOT]
    assert (
        outcome({"one_shot_accuracy": 91.25}) == "one-shot accuracy 91.2500 %"
        and ONE_SHOT.heading == "one-shot accuracy (%)"
    )
    for method in METHODS:
        e = settings(method)
        assert check(type(e), json.loads(json.dumps(e.model_dump(mode="json")))) == e


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("gdas", {"space": {"name": "nao"}}, "nao has no mixture over edges"),
        (
            "gdas",
            {"training": {"order": 2}},
            "order 2 differentiates through a step of other operations than those that the next step of GDAS runs",
        ),
        (
            "setn",
            {"training": {"compile": True}},
            "compile needs a graph that is the same at every step, but each step of SETN",
        ),
        (
            "gdas",
            {"training": {"hessian_every": 2}},
            "look at the curvature of one loss, but each step of GDAS has another one",
        ),
        ("gdas", {"search": {"last_temperature": 0}}, "search.last_temperature: input should be greater than 0"),
        ("setn", {"search": {"candidates": 3}, "found": 4}, "found <= candidates must hold, but got 4 and 3"),
        ("randomnas", {"search": {"candidates": 3}, "found": 4}, "found <= candidates must hold, but got 4 and 3"),
        ("randomnas", {"search": {"statistics": "mean"}}, "search.statistics: input should be 'batch' or 'running'"),
        ("setn", {"search": {"partial_channels": 2}}, "no meaning for single architectures"),
        (
            "setn",
            {"objective": {"name": "random_labels", "classes": 3}},
            "random labels of held-out images cannot be predicted, and SETN ranks",
        ),
        (
            "randomnas",
            {"objective": {"name": "random_labels", "classes": 3}},
            "random labels of held-out images cannot be predicted, and RandomNAS ranks",
        ),
    ],
)
def test_what_is_refused_before_any_trial(method: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(method, **changes)


def test_more_than_there_are_is_refused_before_the_training() -> None:
    with pytest.raises(ConfigError, match="found: 61 architectures are wanted, but only 60 distinct ones exist"):
        phases.run_search(settings("randomnas", found=61, search={}), 0, None, None)


@pytest.mark.parametrize("tuner", [GDASTuner, SETNTuner, RandomNASTuner])
def test_tuners(tuner: type[PhasedTuner], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.setenv("NNI_CHECKPOINT_DIRECTORY", str(tmp_path / "checkpoint"))
    method = tuner.experiment.strategy.lower()
    built = tuner(**arguments(method))
    (entry,) = [entry for entry in _entries() if entry["className"] == f"nni_plugins.portal.tuners.{tuner.__name__}"]
    assert built._problem is None and entry["builtinName"] == tuner.experiment.strategy
    (given,) = built.generate_multiple_parameters([0], st_callback=lambda number, parameters: None)
    assert given["phase"] == "search" and given["e_0_1"] == "all" and given["trial"]["experiment"] == method
    again = check(EXPERIMENTS[method], given["trial"]["settings"])
    assert again.model_copy(update={"run_folder": None}) == built.settings


def test_the_curve_of_random_search_is_its_accuracy() -> None:
    row = {"epoch": 1, "loss": 2.0, "accuracy": 30.0, "learning_rate": 0.1}
    assert settings("randomnas").curve_point(row) == {"default": 30.0, **row}
    assert (
        settings("setn").curve_point({**row, "architecture_loss": 1.0, "architecture_accuracy": 40.0})["default"]
        == 40.0
    )


# -- searches ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", METHODS)
def test_what_a_search_reports(method: str) -> None:
    experiment, rows = settings(method, found=3, truth={"table": "digits"}), list[dict[str, float]]()
    result, value = phases.run_search(experiment, 0, None, rows.append)
    assert json.loads(json.dumps(value)) == value and rows == result.trained.history and -1 <= value["tau"] <= 1
    assert value["default"] == value[experiment.score.key] == value["result"]["found"][0]["score"]
    found = [row["score"] for row in value["result"]["found"]]
    assert len(found) == 3 and found == sorted(found, reverse=True) and len(value["result"]["random"]) == 1
    if method == "gdas":
        assert value["default"] < 0 and len(value["result"]["genotypes"]) == 2 and "supernet_accuracy" in value
    else:
        assert 0 <= value["default"] <= 100 and value["result"]["scored"] == 12


# -- files -------------------------------------------------------------------------------------------------------------
def test_presets() -> None:
    assert set(SAMPLING) <= set(PRESETS)


@pytest.mark.parametrize("name", sorted(SAMPLING))
def test_examples(name: str) -> None:
    tuner, experiment = from_yaml(EXAMPLES / f"{name}.yml")
    assert (EXAMPLES / f"{name}.yml").read_text() == render(name) and tuner == SAMPLING[name].tuner.lower()
    if name == "randomnas_digits":
        return
    assert (
        isinstance(experiment, SearchExperiment)
        and experiment.search_space == NASBench201()
        and experiment.seeds == (777, 888, 999)
    )
    defaults: Any = check(type(experiment), {})
    given: Any = experiment
    assert given.training == defaults.training, "written out, and the same as the defaults"
    same = {"track_statistics"}
    assert given.search.model_dump(exclude=same) == defaults.search.model_dump(exclude=same) and not getattr(
        given.search, "track_statistics", False
    )


# -- the command line --------------------------------------------------------------------------------------------------
def shrunken() -> dict[str, Any]:
    """``randomnas_digits`` with two epochs of everything, one found and one random architecture."""
    value: dict[str, Any] = yaml.safe_load(render("randomnas_digits"))
    given = value["tuner"]["classArgs"]
    given["training"] |= {"epochs": 2}
    given["stand_alone"] |= {"epochs": 2}
    given |= {"found": 1, "random": 1, "truth": None}
    value["maxTrialNumber"] = 3
    return value


@pytest.mark.parametrize("method", METHODS)
def test_from_the_command_line(method: str, run: Cli, tmp_path: Path) -> None:
    value = shrunken() if method == "randomnas" else content(method)
    config, folder = write(tmp_path / "x.yml", value), tmp_path / "run"
    answer = run("search", config, "--output", folder)
    score, strategy = EXPERIMENTS[method].score, EXPERIMENTS[method].strategy
    assert answer.status == 0, answer.err
    assert f"{strategy}: found and random architectures" in answer.out and score.heading in answer.out
    result = load(folder / "result.json")
    rows = result["architectures"]
    assert (
        result["strategy"] == strategy
        and sorted(row["job"] for row in rows) == ["found-0-1", "random-1"]
        and result["failed"] == []
    )
    assert all(row["score_name"] == score.name and row["parameters"] > 0 for row in rows)
    scored = json.loads(
        run("score", config, *[row["architecture"] for row in rows], "--supernet", folder / "search-0", "--json").out
    )
    assert [row[score.key] for row in scored] == pytest.approx([row["score"] for row in rows], abs=1e-6), (
        "as the search measured them"
    )
    other = yaml.safe_load(config.read_text())
    other["tuner"]["classArgs"]["space"]["channels"] = 6
    if method != "gdas":
        refused = run("score", write(tmp_path / "y.yml", other), CELL, OTHER, "--supernet", folder / "search-0")
        assert refused.status == 2 and "is a supernet of another space" in refused.err
