"""``nni-plugins doctor`` on experiment files with ``tuner.name: NAO``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.experiment.file import read_experiment
from nni_plugins.portal.nao_experiment import check_nao, is_nao

from .small import Cli, write

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "nao_nasbench201_table.yml"


def changed(folder: Path, arguments: dict[str, Any] | None = None, **keys: Any) -> Path:
    """The example with other ``classArgs`` and top-level keys; None takes a key away."""
    value = yaml.safe_load(EXAMPLE.read_text())
    value["tuner"]["classArgs"] |= arguments or {}
    return write(folder / "x.yml", {key: v for key, v in {**value, **keys}.items() if v is not None})


def test_the_example_is_valid(run: Cli) -> None:
    assert is_nao(EXAMPLE) and check_nao(EXAMPLE).initial == 20
    finding = run("doctor", EXAMPLE, "--json").json[-1]
    assert (
        finding["state"] == "ok"
        and finding["detail"] == "a valid experiment for tuner NAO, which serves any trial command"
    )


def test_other_tuners_are_not_nao(tmp_path: Path) -> None:
    assert not is_nao(write(tmp_path / "x.yml", {"tuner": {"name": "RLNAS"}}))
    assert not is_nao(tmp_path / "missing.yml") and not is_nao(write(tmp_path / "y.yml", {"tuner": "NAO"}))


def test_a_search_space_in_a_file_beside(tmp_path: Path) -> None:
    space = yaml.safe_load(EXAMPLE.read_text())["searchSpace"]
    (tmp_path / "space.json").write_text(json.dumps(space))
    assert check_nao(changed(tmp_path, searchSpace=None, searchSpaceFile="space.json")).space == {
        "name": "nasbench201",
        "nodes": 3,
    }


@pytest.mark.parametrize(
    ("arguments", "keys", "said"),
    [
        ({"inital": 3}, {}, "tuner.classArgs.inital: no such key; did you mean 'initial'"),
        ({"space": {"name": "nasbench202"}}, {}, "unknown space 'nasbench202'; did you mean 'nasbench201'"),
        ({"seed": 10**400}, {}, "tuner.classArgs.seed: whole numbers must lie between"),
        (
            {"space": None},
            {"searchSpace": {"lr": {"_type": "uniform", "_value": [0, 1]}}},
            "searchSpace.lr: uniform has no finite list",
        ),
        ({}, {"searchSpace": {"a": {"_type": "choice", "_value": [1]}}}, "searchSpace: is not the one of NASBench201"),
        ({}, {"searchSpace": None}, "at least one parameter is needed, but got None"),
        ({}, {"searchSpaceFile": "x.json"}, "searchSpace and searchSpaceFile are both given"),
        ({}, {"searchSpace": None, "searchSpaceFile": "nowhere.json"}, "nowhere.json: No such file"),
        ({}, {"searchSpace": None, "searchSpaceFile": 3}, "searchSpaceFile: must be a path, but got 3"),
        ({}, {"maxTrials": 3}, "maxTrials: no such key of NNI's; did you mean 'maxTrialNumber'"),
        (
            {"rounds": 1},
            {"maxExperimentDuration": None},
            "with rounds: 1 at most 30 trials come, and NNI would wait for ever, but got 40",
        ),
        (
            {},
            {"trialCommand": None, "trainingService": None},
            "trialCommand: is missing; NNI needs it; trainingService: is missing",
        ),
        ({}, {"trialConcurrency": "two"}, "NNI refuses it: ExperimentConfig: type of trial_concurrency"),
        ({}, {"tuner": {"name": "NAO", "classArgs": [1]}}, "tuner.classArgs: must be a mapping, but got list"),
    ],
)
def test_what_is_refused(tmp_path: Path, arguments: dict[str, Any], keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_nao(changed(tmp_path, arguments, **keys))
    assert said in caught.value.problem and "Correct the keys named above." in caught.value.remedy


def test_rounds_that_end_in_time(tmp_path: Path) -> None:
    assert (
        check_nao(changed(tmp_path, {"rounds": 2}, maxExperimentDuration=None)).rounds == 2
    )  # 20 + 2 * 10 = maxTrialNumber


def test_commands_that_run_searches_say_who_runs_nao(tmp_path: Path, run: Cli) -> None:
    with pytest.raises(ConfigError, match="which only NNI's manager runs") as caught:
        read_experiment(EXAMPLE)
    assert f"nnictl create --config {EXAMPLE}" in caught.value.remedy
    status, _, err = run("search", EXAMPLE, "--output", tmp_path / "run")
    assert status == 2 and "nni-plugins doctor" in err and not (tmp_path / "run").exists()
