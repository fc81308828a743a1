"""Settings of experiments: every mistake at once, and what may be left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.experiment.settings import (
    EXPERIMENTS,
    RandomSearchExperiment,
    RLNASExperiment,
    build_space,
    check,
    experiment_name,
)
from nni_plugins.spaces import NASBench201

from .small import arguments, settings


def problem(model: Any, values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        check(model, values)
    return caught.value.problem


def test_every_problem_at_once() -> None:
    message = problem(
        RLNASExperiment,
        {
            "optimize_mode": "minimize", "space": {"name": "nasbench21"}, "data": {"source": "folders"}, "objective": {"name": "random_label"},
            "training": {"epoch": 3, "batch_size": "many"}, "search": {"angle": "rlnass", "evolution": {"populaton": 3}}, "seeds": [1, 1],
            "found": 0, "randm": 3, "truth": {"tabel": "x"}, "retries": -1, "threads": 0,
        },
    )  # fmt: skip
    for part in (
        "tuner.classArgs.optimize_mode: input should be 'maximize', but got 'minimize'",
        "tuner.classArgs.space: unknown space 'nasbench21'; did you mean 'nasbench201' or",
        "tuner.classArgs.data.source: input should be 'digits', 'folder'",
        "tuner.classArgs.objective: unknown objective 'random_label'; did you mean 'random_labels'?",
        "tuner.classArgs.training.epoch: no such key; did you mean 'epochs'?",
        "tuner.classArgs.training.batch_size: input should be a valid integer",
        "tuner.classArgs.search.angle: input should be 'rlnas', 'rlnas-eye', 'abs' or 'weights', but got 'rlnass'",
        "tuner.classArgs.search.evolution.populaton: no such key; did you mean 'population'",
        "tuner.classArgs.seeds: seeds must be distinct and not negative, but got [1, 1]",
        "tuner.classArgs.found: input should be greater than or equal to 1, but got 0",
        "tuner.classArgs.randm: no such key; did you mean 'random'",
        "tuner.classArgs.truth.tabel: no such key; did you mean 'table'?",
        "tuner.classArgs.retries: ",
        "tuner.classArgs.threads: ",
    ):
        assert part in message, part


@pytest.mark.parametrize("model", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_defaults_are_valid_and_survive_json(model: Any) -> None:
    settings = check(model, {})
    assert check(model, json.loads(json.dumps(settings.model_dump(mode="json")))) == settings
    assert experiment_name(model) in EXPERIMENTS and settings.search_space == NASBench201()


def test_spaces_and_their_arguments() -> None:
    assert build_space({"name": "nasbench201", "nodes": 3, "channels": 8}) == NASBench201(nodes=3, channels=8)
    with pytest.raises(
        ConfigError, match=r"node: no such argument of the space; did you mean 'nodes'\?; classes: no such argument"
    ):
        build_space({"name": "nasbench201", "node": 3, "classes": 10})
    with pytest.raises(ConfigError, match=r"unknown space '\(no name\)'"):
        build_space({})
    assert "nodes" in problem(RLNASExperiment, {"space": {"name": "nasbench201", "nodes": 1}})
    assert "space: input should be a valid dictionary" in problem(RLNASExperiment, {"space": "nasbench201"})


@pytest.mark.parametrize("arguments", [{"nodes": "four"}, {"nodes": None}, {"channels": 2.5}, {"nodes": [3]}])
def test_space_arguments_of_the_wrong_type(arguments: dict[str, Any]) -> None:
    assert "tuner.classArgs.space: " in problem(RLNASExperiment, {"space": {"name": "nasbench201", **arguments}})


def test_without_stand_alone_training() -> None:
    assert check(RLNASExperiment, {"stand_alone": None}).random == 0, "the default does not apply"
    assert settings(stand_alone=None, random=0).stand_alone is None
    message = problem(RLNASExperiment, arguments(stand_alone=None, random=2))
    assert (
        "random: 2 architectures cannot be trained with stand_alone: null; leave random out, or set it to 0" in message
    )
    assert "stand_alone" in problem(RandomSearchExperiment, {"stand_alone": None}), (
        "random search is nothing but stand-alone training"
    )
    again = check(RLNASExperiment, {"stand_alone": None})
    assert check(RLNASExperiment, again.model_dump(mode="json")) == again


def test_random_search_knows_no_search() -> None:
    message = problem(RandomSearchExperiment, {"found": 3, "random": 0})
    assert (
        "tuner.classArgs.found: no such key" in message
        and "tuner.classArgs.random: input should be greater than or equal to 1" in message
    )


@pytest.mark.parametrize("values", [None, [], "x"])
def test_what_is_no_mapping(values: Any) -> None:
    assert problem(RLNASExperiment, values).startswith("tuner.classArgs: must be a mapping")


def test_a_space_without_images_is_refused() -> None:
    with pytest.raises(ConfigError, match="networks of recurrent take no images, and experiments train on images"):
        check(RLNASExperiment, {"space": {"name": "recurrent", "nodes": 2}})
