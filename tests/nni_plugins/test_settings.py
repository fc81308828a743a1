"""Settings of experiments: every mistake at once, and what may be left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.experiment.kinds import experiment_class, load_experiment
from nni_plugins.spaces import NASBench201
from nni_plugins.spaces.registry import build_space, found

from .small import arguments, experiment, stand_alone


def problem(tuner: str, values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_experiment(tuner, values)
    return caught.value.problem


def test_every_problem_at_once() -> None:
    message = problem(
        "rlnas",
        {
            "optimize_mode": "maximise", "space": {"name": "nasbench21"}, "data": {"source": "folders"}, "objective": {"name": "random_label"},
            "training": {"epoch": 3, "batch_size": "many"}, "search": {"angle": "rlnass", "evolution": {"populaton": 3}}, "seeds": [1, 1],
            "found": 0, "randm": 3, "truth": {"tabel": "x"}, "retries": -1, "threads": 0, "limits": {"max_mac": 3},
            "evaluations": {"a": {"evaluator": "tabel"}, "b": {"evaluator": "stand_alone", "trainng": {}, "training": {"epocs": 3}}, "C": {}},
            "baselines": ["random"],
        },
    )  # fmt: skip
    for part in (
        "tuner.classArgs.optimize_mode: input should be 'maximize' or 'minimize', but got 'maximise'",
        "tuner.classArgs.space: unknown space 'nasbench21'; did you mean 'nasbench201' or",
        "tuner.classArgs.data.source: input should be 'digits', 'folder'",
        "tuner.classArgs.objective: unknown objective 'random_label'; did you mean 'random_labels'?",
        "tuner.classArgs.training.epoch: no such key; did you mean 'epochs'?",
        "tuner.classArgs.training.batch_size: input should be a valid integer",
        "tuner.classArgs.search.angle: input should be 'rlnas', 'rlnas-eye', 'rlnas-mobilenet', 'abs-darts' or 'weights', but got 'rlnass'",
        "tuner.classArgs.search.evolution.populaton: no such key; did you mean 'population'",
        "tuner.classArgs.seeds: seeds must be distinct and not negative, but got [1, 1]",
        "tuner.classArgs.found: input should be greater than or equal to 1, but got 0",
        "tuner.classArgs.randm: no such key; did you mean 'random'",
        "tuner.classArgs.truth.tabel: no such key; did you mean 'table'?",
        "tuner.classArgs.limits.max_mac: no such key; did you mean 'max_macs'",
        "tuner.classArgs.evaluations: a.evaluator: unknown 'tabel'; did you mean 'table'",
        "b.trainng: no such key; did you mean 'training'",
        "b.training.epocs: no such key; did you mean 'epochs'",
        "C: a name is made of a-z, 0-9 and _, and is none of search, found, random, all",
        "C.evaluator: unknown None; known: ",
        "tuner.classArgs.baselines: each may stand there once, and none of search, found, random, all",
        "tuner.classArgs.retries: ",
        "tuner.classArgs.threads: ",
    ):
        assert part in message, part


STRATEGIES_OF_IMAGES = sorted(name for name in found("strategies") if not name.startswith("recurrent"))


@pytest.mark.parametrize("name", STRATEGIES_OF_IMAGES)
def test_defaults_are_valid_and_survive_json(name: str) -> None:
    model = experiment_class(name).settings_class
    needed = {"search": {"file": "/cells.json"}} if name == "precomputed" else {}
    settings: Any = load_experiment(name, {"space": {"name": "nasbench201"}, **needed}).settings
    assert model.model_validate(json.loads(json.dumps(settings.model_dump(mode="json")))) == settings
    assert settings.search_space == NASBench201() and settings.baselines == ("largest_parameters",)
    assert list(settings.evaluations) == ["stand_alone"] and settings.random >= 5


def test_spaces_and_their_arguments() -> None:
    assert build_space({"name": "nasbench201", "nodes": 3, "channels": 8}) == NASBench201(nodes=3, channels=8)
    with pytest.raises(
        ConfigError, match=r"node: no such argument of the space; did you mean 'nodes'\?; classes: no such argument"
    ):
        build_space({"name": "nasbench201", "node": 3, "classes": 10})
    with pytest.raises(ConfigError, match=r"unknown space '\(no name\)'"):
        build_space({})
    assert "nodes" in problem("rlnas", {"space": {"name": "nasbench201", "nodes": 1}})
    assert "space: input should be a valid dictionary" in problem("rlnas", {"space": "nasbench201"})


@pytest.mark.parametrize("arguments", [{"nodes": "four"}, {"nodes": None}, {"channels": 2.5}, {"nodes": [3]}])
def test_space_arguments_of_the_wrong_type(arguments: dict[str, Any]) -> None:
    assert "tuner.classArgs.space: " in problem("rlnas", {"space": {"name": "nasbench201", **arguments}})


def test_without_evaluations() -> None:
    assert experiment(evaluations={}, random=0).settings.random == 0
    given: Any = load_experiment("rlnas", {"evaluations": {}}).settings
    assert given.random == 0, "the default does not apply"
    assert load_experiment("rlnas", given.model_dump(mode="json")).settings == given
    message = problem("rlnas", arguments(evaluations={}, random=2))
    assert "random: 2 architectures are evaluated by nothing; leave random out, or set it to 0" in message
    assert "evaluations: RandomSearch has nothing to do without one" in problem("randomsearch", {"evaluations": {}})
    assert "evaluations: TPESearch asks for the values of architectures, and nothing answers" in problem(
        "tpesearch", {"evaluations": {}}
    )


def test_random_search_evaluates_at_least_one() -> None:
    message = problem("randomsearch", {"fond": 3, "random": 0})
    assert "tuner.classArgs.fond: no such key; did you mean 'found'" in message
    assert "tuner.classArgs.random: input should be greater than or equal to 1" in message


def test_an_objective_where_there_is_none() -> None:
    message = problem("tpesearch", {"objective": {"name": "supervised"}})
    assert "tuner.classArgs.objective: leave it out, for TPESearch has no objective" in message


@pytest.mark.parametrize("values", [None, [], "x"])
def test_what_is_no_mapping(values: Any) -> None:
    assert problem("rlnas", values).startswith("tuner.classArgs: must be a mapping")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"space": {"name": "recurrent", "nodes": 2}},
            "space: networks of recurrent take no images, and RLNAS searches",
        ),
        (
            {"space": {"name": "recurrent", "nodes": 2}},
            "evaluations.stand_alone: networks of recurrent take no images; evaluate with language_model",
        ),
        ({"evaluations": {"lm": {"evaluator": "language_model"}}}, "evaluations.lm: "),
        (
            {"evaluations": {"mine": stand_alone(network={"channles": 3})}},
            "evaluations.mine: network: channles: no such argument of the space; did you mean 'channels'",
        ),
        ({"evaluations": {"mine": stand_alone(found=2)}}, "evaluations.mine.found: 2 architectures, but found is 1"),
        ({"evaluations": {"mine": stand_alone(random=3)}}, "evaluations.mine.random: 3 architectures, but random is 1"),
        ({"optimize_mode": "minimize"}, "optimize_mode: must be maximize, for that is what is better of accuracy"),
        ({"limits": {"max_parameters": 10}, "baselines": ["largest_macs"]}, "baselines: largest_macs: "),
        ({"baselines": ["largest parameters"]}, "'largest parameters' is neither largest_parameters nor largest_macs"),
    ],
)
def test_evaluations_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    assert message in problem("rlnas", arguments(**changes))


def test_a_name_where_the_evaluator_takes_none() -> None:
    evaluations = {"lookup": {"evaluator": "table"}}
    message = problem("rlnas", arguments(evaluations=evaluations, baselines=["resnet18"]))
    assert "baselines: resnet18 is a network's name, which the evaluator table does not take" in message
    allowed = {"lookup": {"evaluator": "table", "baselines": False}}
    assert experiment(evaluations=allowed, baselines=["resnet18"]).trials == 1 + 1 + 1
