"""The trial's command: what it reports, which job it takes, and how it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import nni
import numpy as np
import pytest
from PIL import Image

from nni_plugins import trial
from nni_plugins.evaluators.data import load
from nni_plugins.evaluators.errors import ConfigError, LabelError, TableError, TrainingError
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.stand_alone.plugin import StandAlonePlugin, load_images
from nni_plugins.experiment.jobs import Job
from nni_plugins.experiment.search import search_experiment
from nni_plugins.experiment.searching import load_training_data
from nni_plugins.experiment.store import Store
from nni_plugins.portal import reporting
from nni_plugins.portal.manager import Manager, ManagerError
from nni_plugins.portal.reporting import Reporter
from nni_plugins.strategies.rlnas import search as rlnas

from .small import CELL, evaluation_value, experiment


class Sent:
    """What NNI got: (sequence number, metric) of every epoch, and final metrics."""

    def __init__(self) -> None:
        self.next, self.curve, self.final = 0, [], []  # type: ignore[var-annotated]

    def intermediate(self, metric: dict[str, Any]) -> None:
        self.curve.append((self.next, metric))
        self.next += 1

    def overwrite(self, sequence: int) -> None:
        self.next = sequence

    @property
    def epochs(self) -> list[tuple[int, float]]:
        return [(sequence, metric["epoch"]) for sequence, metric in self.curve]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    sent = Sent()
    monkeypatch.setattr(nni, "report_intermediate_result", sent.intermediate)
    monkeypatch.setattr(nni, "report_final_result", sent.final.append)
    monkeypatch.setattr(nni.trial, "overwrite_intermediate_seq", sent.overwrite)
    return sent


def row(epoch: int) -> dict[str, float]:
    return {"epoch": epoch, "loss": 1 / epoch, "accuracy": 50.0}


def reporter(folder: Path, mark: str = "reported") -> Reporter:
    return Reporter(folder / mark, folder / "metrics.jsonl", lambda row: {"default": row["loss"], **row})


# -- the curve ---------------------------------------------------------------------------------------------------------
def test_every_epoch_once(tmp_path: Path, sent: Sent) -> None:
    report = reporter(tmp_path)
    for epoch in (1, 2, 2, 1, 3):
        report(row(epoch))
    report.catch_up()
    assert sent.epochs == [(0, 1), (1, 2), (2, 3)] and (tmp_path / "reported").read_text() == "3"
    assert sent.curve[1][1] == {"default": 0.5, **row(2)}, (
        "the first one holds every key that the portal will ever know"
    )


def test_the_same_trial_started_again(tmp_path: Path, sent: Sent) -> None:
    """Epoch 3 is in the file, but the process was killed before it reported it."""
    first = reporter(tmp_path)
    first(row(1))
    first(row(2))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row(e)) + "\n" for e in (1, 2, 3)))
    second = reporter(tmp_path)
    second(row(4))
    second(row(5))
    second.catch_up()
    assert sent.epochs == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]


def test_killed_between_sending_and_remembering(tmp_path: Path, sent: Sent) -> None:
    """Sent again under the same number, which NNI's portal shows in the same place."""
    first = reporter(tmp_path)
    first(row(1))
    first(row(2))
    (tmp_path / "reported").write_text("1")
    reporter(tmp_path)(row(2))
    assert sent.epochs == [(0, 1), (1, 2), (1, 2)]


def test_another_attempt_shows_the_whole_curve(tmp_path: Path, sent: Sent) -> None:
    """A new trial of a crashed job continues its checkpoints, and begins with the epochs that the crashed one trained."""
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row(e)) + "\n" for e in (1, 2, 3)))
    report = reporter(tmp_path, "of the new trial")
    report(row(4))
    assert sent.epochs == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_a_training_that_was_finished_before(tmp_path: Path, sent: Sent) -> None:
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row(e)) + "\n" for e in (1, 2)))
    reporter(tmp_path).catch_up()
    assert sent.epochs == [(0, 1), (1, 2)]


# -- which job ---------------------------------------------------------------------------------------------------------
THEIRS = {"parameter_id": 1, "parameters": {"e_0_1": "theirs"}}
OURS = {"parameter_id": 0, "parameters": {"e_0_1": "ours"}}


@pytest.fixture
def nni_gives(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """Called with the record that NNI hands to this trial, T7; no manager can be reached."""

    def give(record: dict[str, Any]) -> None:
        def get() -> Any:
            monkeypatch.setattr(nni.trial, "_params", record)
            return record["parameters"]

        monkeypatch.setattr(nni, "get_next_parameter", get)

    monkeypatch.setattr(nni, "get_trial_id", lambda: "T7")
    monkeypatch.setattr(Manager, "of_trial", classmethod(lambda cls: None))
    monkeypatch.setattr(nni.trial, "_params", None)
    monkeypatch.delenv(reporting.PASSED_ON, raising=False)
    return give


def manager_says(monkeypatch: pytest.MonkeyPatch, *known: str) -> list[str]:
    """Managers know that T7 is OURS, those at the addresses ``known``; returns the list of those that were asked."""
    asked: list[str] = []

    def record(self: Manager, trial: str, seconds: float = 10) -> dict[str, Any]:
        asked.append(f"{self.url} {trial}")
        if self.url not in known:
            raise ManagerError("the NNI manager does not answer.")
        return OURS

    monkeypatch.setattr(Manager, "record", record)
    return asked


def test_the_manager_knows_better_which_parameters_are_ours(
    monkeypatch: pytest.MonkeyPatch, nni_gives: Callable[[dict[str, Any]], None]
) -> None:
    """NNI 3.0 gives parameters to whichever trial asks first; what counts is what the portal shows."""
    nni_gives(THEIRS)
    asked = manager_says(monkeypatch, "http://x")
    assert reporting.own_parameters() == {"e_0_1": "theirs"} and asked == [], "no manager can be asked"
    monkeypatch.setattr(Manager, "of_trial", classmethod(lambda cls: Manager("http://x")))
    assert reporting.own_record() == OURS and asked == ["http://x T7"]
    assert nni.trial._params is OURS, "metrics are filed under our own parameter_id"


@pytest.mark.parametrize("reached", [True, False])
def test_on_another_machine_the_tuner_says_where_the_manager_is(
    monkeypatch: pytest.MonkeyPatch, nni_gives: Callable[[dict[str, Any]], None], reached: bool
) -> None:
    given = {"parameter_id": 1, "parameters": {"e_0_1": "theirs", "trial": {"manager": "http://10.0.0.1:8080"}}}
    nni_gives(given)
    asked = manager_says(monkeypatch, *(["http://10.0.0.1:8080"] if reached else []))
    assert reporting.own_record() == (OURS if reached else given) and asked == ["http://10.0.0.1:8080 T7"]


def test_of_several_processes_only_the_first_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nni_gives: Callable[[dict[str, Any]], None]
) -> None:
    """NNI has one set of parameters for a trial, and lets whoever asks for a second wait for ever."""
    monkeypatch.setattr("nni.runtime.env_vars.trial_env_vars", SimpleNamespace(NNI_OUTPUT_DIR=str(tmp_path)))
    nni_gives(OURS)
    assert reporting.own_record() == OURS

    def refuse() -> None:
        raise AssertionError("asked NNI")

    monkeypatch.setattr(nni, "get_next_parameter", refuse)
    monkeypatch.setattr(nni.trial, "_params", None)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert reporting.own_record() == OURS and nni.trial._params == OURS, "a process that the first one started"
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(reporting.PASSED_ON)
    assert reporting.own_record() == OURS, "one that torchrun started beside the first"
    (tmp_path / "parameters.json").write_text(json.dumps({"started_by": -1, "record": THEIRS}))
    monkeypatch.setattr(reporting, "WAIT_SECONDS", 0.3)
    with pytest.raises(TrainingError, match="the first process of this trial got no parameters in"):
        reporting.own_record()  # those of an earlier attempt are not taken


def test_where_checkpoints_go(tmp_path: Path) -> None:
    own = tmp_path / "out" / "run" / "search-0"
    assert trial._folder(str(tmp_path), "search-0", tmp_path / "out") == own, "no tuner wrote there"
    (tmp_path / "config.json").touch()
    assert trial._folder(str(tmp_path), "search-0", tmp_path / "out") == tmp_path / "search-0"
    for unreachable in (None, str(tmp_path / "absent")):
        assert trial._folder(unreachable, "search-0", tmp_path / "out") == tmp_path / "out" / "run" / "search-0"


def parameters_of(job: Job, folder: Path, known: Any = None, **changes: Any) -> dict[str, Any]:
    """What the tuner gives the trial of a job; its experiment's run folder is ``folder / "run"``."""
    searched = experiment(**changes)
    Store(searched, folder / "run").save_settings()
    settings = {**searched.settings.model_dump(mode="json"), "run_folder": str(folder / "run")}
    trial = {"experiment": "RLNAS", "job": job.name, "described": job.described(), "settings": settings, "known": known}
    return {**searched.parameters(job), "trial": trial}


@pytest.fixture
def parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Of a stand-alone trial; the test may change them before it calls ``trial.main``."""
    choices = experiment().settings.search_space.from_string(CELL).as_dict()
    given = parameters_of(Job("stand_alone-random-1", "stand_alone", 0, "random", choices=choices), tmp_path)
    monkeypatch.setattr(reporting, "own_record", lambda: {"parameter_id": 0, "parameters": given})
    monkeypatch.setattr("nni.runtime.env_vars.trial_env_vars", SimpleNamespace(NNI_OUTPUT_DIR=str(tmp_path / "out")))
    return given  # type: ignore[return-value]


def test_a_stand_alone_trial_and_the_same_again(parameters: dict[str, Any], sent: Sent, tmp_path: Path) -> None:
    assert trial.main() == 0
    assert sent.epochs == [(0, 1), (1, 2)] and len(sent.final) == 1
    assert {"default", "accuracy", "loss", "parameters", "macs", "seconds", "result"} <= set(sent.final[0])
    assert 0 <= sent.final[0]["accuracy"] <= 100
    assert (tmp_path / "run" / "stand_alone-random-1" / "metrics.jsonl").exists()
    assert (tmp_path / "out" / "reported-stand_alone-random-1").read_text() == "2"
    assert sent.final[0]["job"] == "stand_alone-random-1" == sent.curve[0][1]["job"], "the tuner believes nothing else"
    assert trial.main() == 0, "as after nnictl resume"
    first, second = ({key: v for key, v in one.items() if key != "seconds"} for one in sent.final)
    assert sent.epochs == [(0, 1), (1, 2)] and first == second


@pytest.mark.filterwarnings("ignore:the supernet sees only")
def test_a_search_trial(parameters: dict[str, Any], sent: Sent, tmp_path: Path) -> None:
    parameters |= parameters_of(Job("search-0", "search", 0), tmp_path)
    assert trial.main() == 0
    (value,) = sent.final
    assert set(value) == {"default", "angle", "loss", "seconds", "result", "job"} and value["default"] == value["angle"]
    assert len(value["result"]["found"]) == 1 and len(value["result"]["random"]) == 1
    assert value["result"]["scored"] == 125 and len(value["result"]["initial_sha256"]) == 64
    # Plain numbers only: NNI would pickle anything else.
    assert json.loads(json.dumps(value)) == value
    assert {tuple(metric) for _, metric in sent.curve} == {
        ("default", "epoch", "loss", "accuracy", "learning_rate", "job")
    }


def test_what_is_known_is_not_measured_again(parameters: dict[str, Any], sent: Sent, tmp_path: Path) -> None:
    parameters["trial"]["known"] = evaluation_value(77)
    assert trial.main() == 0
    assert (
        sent.final == [evaluation_value(77) | {"job": "stand_alone-random-1"}]
        and sent.curve == []
        and os.listdir(tmp_path / "run") == ["config.json"]
    )


def submit(parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """*Customized trial* in the portal: a copy of ``parameters`` without a number."""
    monkeypatch.setattr(reporting, "own_record", lambda: {"parameter_id": None, "parameters": parameters})


def test_the_users_own_trial(
    parameters: dict[str, Any], sent: Sent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a folder of its own, says no job's name, and trains what the user chose."""
    assert trial.main() == 0
    submit(parameters | {"trial": parameters["trial"] | {"known": evaluation_value(77)}}, monkeypatch)
    own = tmp_path / "own"
    monkeypatch.setattr("nni.runtime.env_vars.trial_env_vars", SimpleNamespace(NNI_OUTPUT_DIR=str(own)))
    assert trial.main() == 0, "what is known of the job is not what the user wants to see"
    assert sent.final[1]["accuracy"] == sent.final[0]["accuracy"] and sent.final[1]["seconds"] > 0
    assert "job" not in sent.final[1] and "job" not in sent.curve[-1][1]
    assert (own / "run" / "stand_alone-random-1" / "metrics.jsonl").exists()
    choices = {**parameters["trial"]["described"]["choices"], "e_0_1": "none"}
    submit(parameters | choices, monkeypatch)
    monkeypatch.setattr("nni.runtime.env_vars.trial_env_vars", SimpleNamespace(NNI_OUTPUT_DIR=str(tmp_path / "other")))
    assert trial.main() == 0 and sent.final[2]["parameters"] < sent.final[1]["parameters"]


def test_what_the_user_cannot_change(
    parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(parameters | {"phase": "search"}, monkeypatch)
    assert trial.main() == 2 and "phase: a customized trial may change the choices" in capsys.readouterr().err
    submit(parameters | {"e_0_1": "conv_9x9"}, monkeypatch)
    assert trial.main() == 2 and "conv_9x9" in capsys.readouterr().err


def test_errors_have_a_status_and_no_traceback(parameters: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    parameters["trial"]["settings"]["data"] = {"source": "folder", "path": "/nowhere"}
    assert trial.main() == 2
    assert "/nowhere: no such folder" in capsys.readouterr().err
    parameters["trial"]["settings"]["fond"] = 1
    assert trial.main() == 2 and "settings.fond: no such key" in capsys.readouterr().err


def test_nnictl_stop(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trial, "_run", interrupt)
    assert trial.main() == 130 and "the last checkpoint is kept" in capsys.readouterr().err


def test_outside_of_nni(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NNI_")}
    result = subprocess.run(
        [sys.executable, "-m", "nni_plugins.trial"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "error: this trial got no job." in result.stderr and "nni-plugins search runs without NNI" in result.stderr


# -- a folder of the user's with our folder's name ----------------------------------------------------------------------
@pytest.mark.parametrize("command", [["-m", "nni_plugins.trial"], ["-c", "from nni_plugins.cli import main; main()"]])
def test_a_folder_called_like_one_of_ours_is_not_in_the_way(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "__init__.py").write_text("raise RuntimeError('never imported')")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NNI_")}
    result = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 2 and "Traceback" not in result.stderr and "never imported" not in result.stderr


# -- what would only fail after hours ----------------------------------------------------------------------------------
@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty images without labels."""
    (tmp_path / "photos").mkdir()
    for i in range(20):
        Image.new("RGB", (8, 8), (12 * i, 0, 255 - 12 * i)).save(tmp_path / "photos" / f"{i:02}.png")
    return tmp_path / "photos"


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("a supernet is trained")

    monkeypatch.setattr(rlnas, "search", refuse)


def run_search(**changes: Any) -> dict[str, Any]:
    """The search of an experiment, after what is tried before it."""
    searched = experiment(**changes)
    searched.prepare()
    return searched.run(Job("search-0", "search", 0), None, None)


def test_labels_that_will_be_needed_are_missed_before_the_search(photos: Path, no_training: None) -> None:
    with pytest.raises(
        LabelError,
        match=r"stand_alone would fail after the search: [^\n]*photos/train: these images have no labels"
        r"[\s\S]*Leave the evaluation out",
    ):
        run_search(data={"source": "folder", "path": str(photos), "image_size": 8})


@pytest.mark.filterwarnings("ignore:the supernet sees only")
def test_images_without_labels_are_enough_for_a_search(photos: Path) -> None:
    data = {"source": "folder", "path": str(photos), "image_size": 8}
    value = run_search(data=data, evaluations={}, random=0, found=3)
    assert len(value["result"]["found"]) == 3 and value["result"]["random"] == []


def test_limits_that_too_few_meet(no_training: None) -> None:
    fixed = experiment().settings.search_space.cost_table().fixed_parameters
    message = r"found: 100 architectures are wanted, but only \d+ distinct ones meet the limits"
    with pytest.raises(ConfigError, match=message):
        run_search(found=100, random=0, limits={"max_parameters": fixed})
    with pytest.raises(ConfigError, match="but only 0 distinct"):
        run_search(random=0, limits={"max_parameters": 1})


@pytest.mark.filterwarnings("ignore:the supernet sees only")
def test_all_that_is_found_or_drawn_meets_the_limits() -> None:
    whole = experiment(baselines=["largest_parameters"])
    middle = int(whole.settings.search_space.cost_table()(whole.settings.search_space.enumerate()).parameters.mean())
    limited = experiment(baselines=["largest_parameters"], limits={"max_parameters": middle}, found=20, random=20)
    value = limited.run(Job("search-0", "search", 0), None, None)
    space = limited.settings.search_space
    chosen = [one["choices"] for one in value["result"]["found"]] + limited.random_architectures
    chosen += [job.choices or {} for job in limited.first_jobs() if job.source == "largest_parameters"]
    costs = space.cost_table()(space.encode([space.architecture(choices) for choices in chosen]))
    assert len(chosen) == 41 and costs.parameters.max() <= middle
    assert costs.parameters[-1] == costs.parameters.max(), "the largest of those within the limits"


def test_a_table_that_cannot_be_read(no_training: None) -> None:
    with pytest.raises(TableError, match=r"cannot read /nowhere\.csv"):
        run_search(truth={"table": "/nowhere.csv"})


def test_objectives_with_wrong_arguments(no_training: None) -> None:
    for changes, message in (
        ({"clases": 10}, "unexpected keyword argument 'clases'"),
        ({"classes": 1}, "classes >= 2"),
        ({}, "missing 1 required"),
    ):
        with pytest.raises(ConfigError, match=message):
            run_search(objective={"name": "random_labels", **changes})


def test_a_limit_of_the_search_alone() -> None:
    """The evaluations train on all images, and do not depend on the limit."""
    made, other = experiment(search_limit=100), experiment()
    assert len(load_training_data(made.settings)) == 100 < len(load_training_data(other.settings))
    evaluated = cast(StandAlonePlugin, made.evaluators["stand_alone"])
    assert len(load_images(evaluated.images).train) == len(load_training_data(other.settings))
    for name, same in (("search-0", False), ("stand_alone-random-1", True)):
        (one,), (two,) = ([job for job in e.first_jobs() if job.name == name] for e in (made, other))
        assert (made.identity(one) == other.identity(two)) == same, name
    assert np.array_equal(
        load_training_data(made.settings).images, load(made.settings.data).limited(100, 0).train.images
    )


def test_strategies_without_images_have_no_limit_of_them() -> None:
    with pytest.raises(ConfigError, match="search_limit: BestOfRandom searches on no images"):
        read(search_experiment("bestofrandom").settings_class, {"search_limit": 100})
