"""Experiments of GDAS, SETN and RandomNAS: settings, tuners, presets, and whole runs through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.experiment.file import read_experiment
from nni_plugins.experiment.jobs import Plan
from nni_plugins.experiment.kinds import load_experiment
from nni_plugins.portal.registration import tuner_entries
from nni_plugins.portal.tuners import tuner_class
from nni_plugins.spaces import NASBench201
from nni_plugins.strategies.score import LOG_PROBABILITY, ONE_SHOT

from . import small
from .small import CELL, OTHER, Cli, file_of, load, preset_file, run_search, stand_alone, write

METHODS = {"gdas": "GDAS", "setn": "SETN", "randomnas": "RandomNAS"}
SCORES = {"gdas": LOG_PROBABILITY, "setn": ONE_SHOT, "randomnas": ONE_SHOT}


def arguments(method: str, **changes: Any) -> dict[str, Any]:
    """``tuner.classArgs`` of a search of two epochs on 200 images, then one found and one random architecture."""
    whole: dict[str, Any] = {
        "training": {"epochs": 2, "batch_size": 50, "accelerator": "cpu"},
        "evaluations": {"stand_alone": stand_alone(training={"epochs": 1, "batch_size": 64, "accelerator": "cpu"})},
        "found": 1,
    }
    if method != "gdas":
        whole["search"] = {"candidates": 12, "evaluation_images": None}
    return small.arguments(method, **{**whole, **changes})


def experiment(method: str, **changes: Any) -> Any:
    return load_experiment(method, arguments(method, **changes))


# -- settings ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", METHODS)
def test_names_and_scores(method: str) -> None:
    e = experiment(method)
    assert (e.name, e.strategy.score) == (METHODS[method], SCORES[method])
    assert load_experiment(method, json.loads(json.dumps(e.settings.model_dump(mode="json")))).settings == e.settings


def test_the_unit_of_one_shot_accuracies() -> None:
    assert ONE_SHOT.text(91.25) == "one-shot accuracy 91.2500 %" and ONE_SHOT.heading == "one-shot accuracy (%)"


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
        experiment(method, **changes)


def test_more_than_there_are_is_refused_before_the_training() -> None:
    with pytest.raises(ConfigError, match="found: 61 architectures are wanted, but only 60 distinct ones exist"):
        experiment("randomnas", found=61, search={}).check()


@pytest.mark.parametrize("method", METHODS)
def test_tuners(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.setenv("NNI_CHECKPOINT_DIRECTORY", str(tmp_path / "checkpoint"))
    name, built = METHODS[method], tuner_class(method)(**arguments(method))
    (entry,) = [entry for entry in tuner_entries() if entry.class_name == f"nni_plugins.portal.tuners.{name}"]
    assert built._problem is None and entry.name == name
    (given,) = built.generate_multiple_parameters([0], st_callback=lambda number, parameters: None)
    assert given["phase"] == "search" and given["e_0_1"] == "all" and given["trial"]["experiment"] == name
    again = load_experiment(method, given["trial"]["settings"]).settings
    assert again.model_copy(update={"run_folder": None}) == built.experiment.settings


def test_the_curve_of_random_search_is_its_accuracy() -> None:
    row = {"epoch": 1, "loss": 2.0, "accuracy": 30.0, "learning_rate": 0.1}
    points = {}
    for method, more in (("randomnas", {}), ("setn", {"architecture_loss": 1.0, "architecture_accuracy": 40.0})):
        e = experiment(method)
        points[method] = e.curve_point(Plan(e).jobs["search-0"], {**row, **more})
    assert points["randomnas"] == {"default": 30.0, **row} and points["setn"]["default"] == 40.0


# -- searches ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", METHODS)
def test_what_a_search_reports(method: str) -> None:
    e, rows = experiment(method, found=3, truth={"table": "digits"}), list[dict[str, float]]()
    value = run_search(e, rows.append)
    numbers = [{key: number for key, number in row.items() if not isinstance(number, str)} for row in rows]
    assert json.loads(json.dumps(value)) == value and numbers == value["result"]["curve"] and -1 <= value["tau"] <= 1
    assert value["default"] == value[SCORES[method].key] == value["result"]["found"][0]["score"]
    found = [row["score"] for row in value["result"]["found"]]
    assert len(found) == 3 and found == sorted(found, reverse=True) and len(value["result"]["random"]) == 1
    if method == "gdas":
        assert value["default"] < 0 and len(value["result"]["genotypes"]) == 2 and "supernet_accuracy" in value
    else:
        assert 0 <= value["default"] <= 100 and value["result"]["scored"] == 12


# -- presets -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["gdas_nasbench201", "setn_nasbench201", "randomnas_nasbench201"])
def test_presets_write_out_the_papers_values(name: str, tmp_path: Path) -> None:
    read = read_experiment(preset_file(name, tmp_path))
    given: Any = read.settings
    assert given.search_space == NASBench201() and given.seeds == (777, 888, 999)
    defaults: Any = load_experiment(read.name, {}).settings
    assert given.training == defaults.training, "written out, and the same as the defaults"
    same = {"track_statistics"}
    assert given.search.model_dump(exclude=same) == defaults.search.model_dump(exclude=same) and not getattr(
        given.search, "track_statistics", False
    )


# -- the command line --------------------------------------------------------------------------------------------------
def shrunken(folder: Path) -> dict[str, Any]:
    """``randomnas_digits`` with two epochs of everything, one found and one random architecture."""
    value: dict[str, Any] = yaml.safe_load(preset_file("randomnas_digits", folder).read_text())
    given = value["tuner"]["classArgs"]
    given["training"] |= {"epochs": 2}
    given["evaluations"]["stand_alone"]["training"] |= {"epochs": 2}
    given |= {"found": 1, "random": 1, "truth": None, "baselines": []}
    return file_of(load_experiment("randomnas", given), given)


@pytest.mark.parametrize("method", METHODS)
def test_from_the_command_line(method: str, run: Cli, tmp_path: Path) -> None:
    value = shrunken(tmp_path) if method == "randomnas" else file_of(experiment(method), arguments(method))
    config, folder = write(tmp_path / "x.yml", value), tmp_path / "run"
    answer = run("search", config, "--output", folder)
    score, strategy = SCORES[method], METHODS[method]
    assert answer.status == 0, answer.err
    assert f"{strategy}: the best by the validation of stand_alone first" in answer.out and score.heading in answer.out
    result = load(folder / "result.json")
    rows = result["architectures"]
    jobs = sorted(row["evaluations"]["stand_alone"]["job"] for row in rows)
    assert jobs == ["stand_alone-found-0-1", "stand_alone-random-1"]
    assert result["strategy"] == strategy and result["failed"] == [] and result["score"]["name"] == score.name
    assert all(row["parameters"] > 0 for row in rows)
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
