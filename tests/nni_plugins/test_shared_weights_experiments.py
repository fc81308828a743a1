"""Experiments of NAO-V2, NAO-WS and ENAS: settings, tuners, presets, and whole runs through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.experiment.file import read_experiment
from nni_plugins.experiment.kinds import load_experiment
from nni_plugins.portal.registration import tuner_entries
from nni_plugins.portal.tuners import tuner_class
from nni_plugins.spaces import NASBench201

from . import small
from .small import Cli, file_of, load, preset_file, run_search, stand_alone, write

METHODS = {"naov2": "NAOV2", "naows": "NAOWS", "enas": "ENAS"}
NAO: dict[str, Any] = {
    "iterations": 2,
    "initial": 8,
    "kept": 2,
    "evaluation_images": None,
    "controller": {"epochs": 3},
    "proposals": {"seeds": 4, "new": 3},
    "final": None,
}
ENAS: dict[str, Any] = {"candidates": 6, "controller_steps": 1, "samples": 2, "restart_epochs": None}


def arguments(method: str, **changes: Any) -> dict[str, Any]:
    """``tuner.classArgs`` of a search of one epoch a cycle on 200 images, then one found and four random ones."""
    training: dict[str, Any] = {"epochs": 1, "batch_size": 50, "accelerator": "cpu"}
    whole = {
        "training": training if method == "enas" else {**training, "drop_path": 0.0},
        "search": ENAS if method == "enas" else NAO,
        "evaluations": {"stand_alone": stand_alone(training={"epochs": 1, "batch_size": 64, "accelerator": "cpu"})},
        "found": 1,
        "random": 4,
    }
    return small.arguments(method, **{**whole, **changes})


def experiment(method: str, **changes: Any) -> Any:
    return load_experiment(method, arguments(method, **changes))


def test_defaults_are_the_papers() -> None:
    read: list[Any] = [load_experiment(method, {"space": {"name": "nao"}}).settings for method in METHODS]
    v2, ws, enas = read
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
        (
            "naows",
            {"space": {"name": "nasbench201"}, "training": {"drop_path": 0.1}},
            "training.drop_path: 0.1, but supernets of nasbench201 drop no paths",
        ),
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
        experiment(method, **changes)


@pytest.mark.parametrize("method", METHODS)
def test_tuners(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.setenv("NNI_CHECKPOINT_DIRECTORY", str(tmp_path / "checkpoint"))
    name, built = METHODS[method], tuner_class(method)(**arguments(method))
    (entry,) = [entry for entry in tuner_entries() if entry.class_name == f"nni_plugins.portal.tuners.{name}"]
    assert built._problem is None and entry.name == name
    (given,) = built.generate_multiple_parameters([0], st_callback=lambda number, parameters: None)
    again = load_experiment(method, given["trial"]["settings"]).settings
    assert given["phase"] == "search" and again.model_copy(update={"run_folder": None}) == built.experiment.settings


@pytest.mark.parametrize("name", ["naov2_cifar10", "naows_cifar10", "enas_cifar10"])
def test_presets_write_out_the_papers_values(name: str, tmp_path: Path) -> None:
    read = read_experiment(preset_file(name, tmp_path))
    given: Any = read.settings
    defaults: Any = load_experiment(read.name, {"space": {"name": "nao"}}).settings
    assert given.training == defaults.training
    assert given.search.model_dump(exclude={"kept"}) == defaults.search.model_dump(exclude={"kept"})
    assert getattr(given.search, "carried", None) == getattr(defaults.search, "carried", None)


def test_the_rows_of_the_stability_study(tmp_path: Path) -> None:
    """NAO-V2 200 epochs, half of them without more updates, NAO-WS 150 as in its code; trained as the paper trains."""
    given: Any = read_experiment(preset_file("stability_cifar10", tmp_path)).settings
    rows = {name: given.search_settings(name) for name in given.policies}
    epochs = {name: row.training.epochs * getattr(row.search, "iterations", 1) for name, row in rows.items()}
    assert epochs == {
        "NAO-V2": 200, "minus-more-updates": 100, "minus-independent": 200, "minus-proportional": 200, "NAO-WS": 150, "ENAS": 150,
    }  # fmt: skip
    for name, method in (("NAO-V2", "naov2"), ("NAO-WS", "naows"), ("ENAS", "enas")):
        defaults: Any = load_experiment(method, {"space": {"name": "nao"}}).settings
        assert rows[name].training == defaults.training
        assert rows[name].search.model_dump(exclude={"kept"}) == defaults.search.model_dump(exclude={"kept"})
    changed = {
        name: {k for k, v in rows[name].search if v != getattr(rows["NAO-V2"].search, k)}
        for name in rows
        if name.startswith("minus")
    }
    assert changed == {
        "minus-more-updates": set(),
        "minus-independent": {"reset", "kept"},
        "minus-proportional": {"sampling"},
    }
    recipe = given.evaluations["retrain"].resolved()
    assert (recipe.epochs, recipe.augmentation.cutout, recipe.loss.auxiliary_weight) == (600, 16, 0.4)
    assert (recipe.network.auxiliary, recipe.network.drop_path, recipe.network.dropout) == (True, 0.2, 0.4)
    assert recipe.network.sizes["nao"] == {"stem": "cifar", "channels": 36, "cells": 20}
    assert given.report.baseline == ("NAO-V2", "random") and len(given.seeds) == 5 == given.per_search


def test_cells_without_trained_weights_have_no_score() -> None:
    e = experiment("naov2", truth={"table": "digits"}, found=5, random=10)
    value = run_search(e)
    space = NASBench201(nodes=3, channels=4, cells_per_stage=1)
    assert [one["score"] is not None for one in value["result"]["found"]] == [True] * 5
    found = {space.canonical(space.architecture(one["choices"])) for one in value["result"]["found"]}
    known = [space.canonical(space.architecture(choices)) in found for choices in e.random_architectures]
    scored = [score is not None for score in value["result"]["random"]]
    assert scored == known and not all(known), "the last pool has five, and all of them are listed"
    assert 5 <= value["result"]["scored_in_table"] < 125 and value["result"]["scored"] == 5 and -1 <= value["tau"] <= 1
    assert json.loads(json.dumps(value)) == value
    assert [it["trained"] for it in value["result"]["iterations"]] == [8, 5]


@pytest.mark.parametrize("method", METHODS)
def test_from_the_command_line(method: str, run: Cli, tmp_path: Path) -> None:
    config = write(tmp_path / "x.yml", file_of(experiment(method), arguments(method)))
    folder = tmp_path / "run"
    answer = run("search", config, "--output", folder)
    assert answer.status == 0, answer.err
    result = load(folder / "result.json")
    rows = [row for row in result["architectures"] if row["score"] is not None]
    assert result["strategy"] == METHODS[method] and result["failed"] == []
    assert "stand_alone-found-0-1" in {row["evaluations"]["stand_alone"]["job"] for row in rows}
    texts = [row["architecture"] for row in rows]
    scored = json.loads(run("score", config, *texts, "--supernet", folder / "search-0", "--json").out)
    assert [row["one_shot_accuracy"] for row in scored] == pytest.approx([row["score"] for row in rows], abs=1e-6), (
        "as the search measured them"
    )
    cycle = folder / "search-0" / ("cycle-0" if method == "enas" else "cycle-1")
    assert json.loads(run("score", config, *texts, "--supernet", cycle, "--json").out) == scored
