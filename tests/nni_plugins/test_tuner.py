"""The tuner as NNI's dispatcher drives it: call-backs, lost ends, kills, resumes, and threads."""

from __future__ import annotations

import copy
import os
import queue
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from nni.runtime.tuner_command_channel import CommandType

from nni_plugins.experiment.jobs import Job
from nni_plugins.portal.database import cancelled_by_user
from nni_plugins.portal.manager import ALIVE, ManagerError, Profile
from nni_plugins.portal.tuner import ExperimentTuner, job_of
from nni_plugins.portal.tuners import tuner_class
from nni_plugins.spaces.errors import NNIPluginsError

from .small import arguments, evaluation_value, load, search_value, value_of

RLNAS = tuner_class("rlnas")


class Dispatcher:
    """What a tuner sees of NNI's dispatcher: a call-back, through whose ``__self__`` errors are reported."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, dict[str, Any]]] = []
        self.errors: list[str] = []
        self.asked: list[int] = []
        self.recovered_trial_params: dict[int, dict[str, Any]] = {}

    def enqueue_command(self, command: CommandType, number: int) -> None:
        assert command is CommandType.RequestTrialJobs
        self.asked.append(number)

    def send_trial_callback(self, number: int, parameters: dict[str, Any]) -> None:
        self.sent.append((number, parameters))

    def report_error(self, message: str) -> None:
        self.errors.append(message)


class FakeManager:
    """The manager's list of trials, by job; the numbers of ours are those of :meth:`add`, from 0, unless they are given."""

    url = "http://localhost:8080"

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.maximum = 0
        self.reported: dict[str, list[tuple[str, Any]]] = {}

    def add(self, job: str, status: str = "RUNNING", customized: bool = False, number: int | None = None) -> None:
        parameters = {"trial": {"job": job}} if job else {}
        ours = sum(not row["customized"] for row in self.rows)
        self.rows.append(
            {
                "id": f"T{len(self.rows)}",
                "status": status,
                "number": None if customized else ours if number is None else number,
                "parameters": parameters,
                "customized": customized,
                "final": None,
            }
        )

    def trials(self) -> list[dict[str, Any]]:
        return self.rows

    def alive(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["status"] in ALIVE]

    def submissions(self) -> int:
        return len(self.rows)

    def trial_state(self, trial: str) -> str:
        return str(self.rows[int(trial[1:])]["status"])

    def metrics(self, trial: str) -> list[tuple[str, Any]]:
        return self.reported.get(trial, [])

    def log(self, trial: str) -> str:
        return ""

    def status(self) -> tuple[str, list[str]]:
        return "RUNNING", []

    def profile(self) -> Profile:
        return Profile(self.maximum, 2, True, None)

    def set_max_trials(self, number: int) -> None:
        self.maximum = number


def cancel(experiment: Path, trial: str) -> None:
    """Note in NNI's journal that the user cancelled ``trial``."""
    (experiment / "db").mkdir(exist_ok=True)
    with closing(sqlite3.connect(experiment / "db" / "nni.sqlite")) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS TrialJobEvent (timestamp integer, trialJobId text, event text)")
        database.executemany(
            "INSERT INTO TrialJobEvent VALUES (0, ?, ?)",
            [(trial, "RUNNING"), (trial, "USER_TO_CANCEL"), (trial, "FAILED")],
        )


def full(name: str) -> str:
    return name if name.startswith("search") else f"stand_alone-{name}"


def short(parameters: dict[str, Any]) -> str:
    return job_of(parameters).removeprefix("stand_alone-")


class Session:
    """A tuner and its dispatcher; ``jobs`` maps the ids that were served to the names of their jobs."""

    def __init__(
        self, tuner: type[ExperimentTuner] = RLNAS, manager: FakeManager | None = None, **changes: Any
    ) -> None:
        given = arguments(tuner.experiment_class.name.lower(), **{"random_seed": 4, **changes})
        self.tuner, self.dispatcher = tuner(**given), Dispatcher()
        self.tuner._manager = manager  # type: ignore[assignment]
        self.tuner._watch_in = lambda seconds: None  # type: ignore[method-assign]
        self.given: dict[int, dict[str, Any]] = {}

    def request(self, *numbers: int) -> list[str]:
        """The names of the jobs that are handed out at once, without that of their evaluation."""
        given = self.tuner.generate_multiple_parameters(list(numbers), st_callback=self.dispatcher.send_trial_callback)
        self.given.update(zip(numbers, given, strict=False))
        return [short(parameters) for parameters in given]

    @property
    def jobs(self) -> dict[int, str]:
        return {number: short(parameters) for number, parameters in (self.given | dict(self.dispatcher.sent)).items()}

    def value(self, name: str) -> dict[str, Any]:
        """What the trial of a job would report."""
        return value_of(self.tuner.experiment, self.tuner.plan, name)  # type: ignore[arg-type]

    def job(self, name: str) -> Job:
        """By its short name."""
        return self.tuner.plan.jobs[full(name)]

    def result(self, number: int, end: bool = True) -> None:
        name = full(self.jobs[number])
        self.tuner.receive_trial_result(number, "", self.value(name) | {"job": name})
        if end:
            self.tuner.trial_end(number, True)

    def crash(self, number: int) -> None:
        self.tuner.trial_end(number, False)


@pytest.fixture(autouse=True)
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """NNI's folder of the experiment."""
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.setenv("NNI_CHECKPOINT_DIRECTORY", str(tmp_path / "checkpoint"))
    return tmp_path  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def no_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(status: int) -> None:
        raise AssertionError(f"os._exit({status})")

    monkeypatch.setattr(os, "_exit", refuse)


# -- starting ----------------------------------------------------------------------------------------------------------
def test_the_tuner_needs_no_torch(experiment: Path) -> None:
    """NNI gives it ten seconds to connect."""
    code = f"""
import sys
from nni_plugins.portal.tuners import RLNAS
tuner = RLNAS(**{arguments(truth={"table": "digits"}, space={"name": "nasbench201", "nodes": 3, "channels": 8, "cells_per_stage": 1})!r})
assert tuner._problem is None, tuner._problem
later = RLNAS(**{arguments(space={"name": "nni", "model": "nni.nas.hub.pytorch.NasBench201"})!r})
assert later._problem is None, later._problem
print(sorted({{"torch", "sklearn", "matplotlib", "pytorch_lightning"}} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"fond": 3, "random": "many"},
            r"random: input should be a valid integer[\s\S]*fond: no such key; did you mean 'found'",
        ),
        ({"space": {"name": "nasbench21"}}, "did you mean 'nasbench201'"),
        ({"random": 200}, "200 distinct architectures are wanted"),
        ({"run_folder": "runs/x"}, "run_folder: must be an absolute path, but got 'runs/x'"),
        ({"truth": {"table": "table.csv"}}, "truth.table: must be an absolute path"),
        ({"truth": {"table": "/nowhere/table.csv"}}, "cannot read /nowhere/table.csv"),
        ({"truth": {"metric": "accurracy"}}, "has no metric 'accurracy'; did you mean 'accuracy'"),
        ({"truth": {}, "space": {"name": "nasbench201", "nodes": 4}}, "digits_3nodes.csv is of NASBench201.nodes=3"),
    ],
)
def test_wrong_arguments_reach_the_portal(changes: dict[str, Any], message: str) -> None:
    """Raising in the constructor would only show "Tuner did not connect in 10 seconds"."""
    s = Session(**changes)
    s.tuner.update_search_space({})
    s.tuner.load_checkpoint()
    s.tuner.import_data([])
    with pytest.raises(NNIPluginsError, match=message) as caught:
        s.request(0, 1)
    assert s.dispatcher.errors == [str(caught.value)]


@pytest.mark.parametrize("resumed", [False, True])
def test_a_space_that_only_modules_describe_is_read_when_nni_first_asks(resumed: bool) -> None:
    """Importing them takes longer than NNI waits for a tuner."""
    s = Session(space={"name": "nni", "model": "tests.spaces.nni_models.Toy"})
    assert not hasattr(s.tuner, "plan")
    if resumed:
        s.tuner.load_checkpoint()
        assert s.tuner.plan.jobs
    assert s.request(0) == ["search-0"]


def test_what_is_wrong_with_it_is_then_reported() -> None:
    s = Session(space={"name": "nni", "model": "tests.spaces.nni_models.Toi"})
    s.tuner.load_checkpoint()
    with pytest.raises(NNIPluginsError, match="did you mean 'Toy'"):
        s.request(0)
    assert len(s.dispatcher.errors) == 1


def test_an_error_before_the_first_request_ends_the_process(experiment: Path) -> None:
    s = Session()
    (experiment / "checkpoint" / "plan.jsonl").write_text("{\n")
    with pytest.raises(AssertionError, match=r"os._exit\(2\)"):
        s.tuner.load_checkpoint()


def test_our_own_bugs_reach_the_portal_with_a_traceback() -> None:
    s = Session()
    s.request(0)
    with pytest.raises(KeyError):
        s.tuner.receive_trial_result(0, "", {"job": "search-0"})
    assert len(s.dispatcher.errors) == 1 and s.dispatcher.errors[0].startswith("Traceback")


def test_the_parameters_say_everything_that_the_trial_needs(experiment: Path) -> None:
    s = Session()
    s.request(0)
    trial = s.given[0]["trial"]
    assert (
        trial["job"] == "search-0"
        and trial["experiment"] == "RLNAS"
        and trial["settings"]["run_folder"] == str(experiment / "run")
    )
    again = RLNAS(**trial["settings"])
    assert again._problem is None and again.experiment.settings == s.tuner.experiment.settings.model_copy(
        update={"run_folder": str(experiment / "run")}
    )
    assert load(experiment / "run" / "config.json")["settings"]["found"] == 1


# -- the ordinary course -----------------------------------------------------------------------------------------------
def test_a_whole_experiment(experiment: Path) -> None:
    s = Session(found=2, random=2)
    assert s.request(0, 1) == ["search-0", "random-1"]
    s.result(1)
    assert s.request(2) == ["random-2"]
    s.result(2)
    assert s.request(3) == [] and s.request(4) == [], "nothing is ready while the search runs"
    s.result(0, end=False)
    assert s.jobs == {0: "search-0", 1: "random-1", 2: "random-2", 3: "found-0-1", 4: "found-0-2"}, (
        "the ids that were owed, in order"
    )
    assert s.request(5) == []
    assert not (experiment / "run" / "result.json").exists()
    s.result(4)
    s.result(3)
    result = load(experiment / "run" / "result.json")
    assert sorted(row["evaluations"]["stand_alone"]["job"] for row in result["architectures"]) == [
        f"stand_alone-{name}" for name in ("found-0-1", "found-0-2", "random-1", "random-2")
    ]
    assert s.dispatcher.errors == []


def test_of_one_request_only_the_first_ids_are_served() -> None:
    """NNI matches parameters and ids by position."""
    s = Session()
    assert s.request(7, 8, 9, 10) == ["search-0", "random-1"]
    s.result(7)
    assert s.jobs == {7: "search-0", 8: "random-1", 9: "found-0-1"}


def test_results_go_by_the_job_that_they_name(caplog: pytest.LogCaptureFixture) -> None:
    """NNI may hand two trials each other's parameters, and starts its numbers anew on resume."""
    s = Session()
    s.request(0, 1)
    s.tuner.receive_trial_result(0, s.given[0], evaluation_value(77.0) | {"job": "stand_alone-random-1"})
    assert s.job("random-1").value == evaluation_value(77.0) and s.job("search-0").status == "running"
    for nobodys in (evaluation_value(1.0), evaluation_value(1.0) | {"job": "search-7"}, 3.0):
        s.tuner.receive_trial_result(0, s.given[0], nobodys)
    assert s.job("search-0").status == "running" and caplog.text.count("names no job of this experiment") == 3


def test_the_users_own_trials_do_not_concern_the_plan() -> None:
    s = Session()
    s.request(0)
    before = copy.deepcopy(s.tuner.plan.jobs)
    s.tuner.trial_end(None, True)
    s.tuner.trial_end(None, False)
    s.tuner.trial_end(55, False)
    assert s.tuner.plan.jobs == before and s.dispatcher.errors == []


def test_the_end_may_come_before_the_result(experiment: Path) -> None:
    s = Session()
    s.request(0, 1)
    s.tuner.trial_end(1, True)
    s.result(1, end=False)
    assert s.job("random-1").status == "done"


def test_a_trial_that_fails_after_its_result_is_done() -> None:
    s = Session()
    s.request(0)
    s.result(0, end=False)
    s.crash(0)
    assert s.job("search-0").status == "done" and s.job("search-0").crashes == 0


def test_random_search(experiment: Path) -> None:
    s = Session(tuner_class("randomsearch"), random=3)
    assert s.request(0, 1, 2, 3) == ["random-1", "random-2", "random-3"]
    for number in (0, 1, 2):
        s.result(number)
    result = load(experiment / "run" / "result.json")
    assert result["strategy"] == "RandomSearch" and [row["score"] for row in result["architectures"]] == [None] * 3


def test_without_stand_alone_training_the_search_is_all(experiment: Path) -> None:
    s = Session(evaluations={}, random=0, found=3)
    assert s.request(0, 1) == ["search-0"]
    s.result(0)
    result = load(experiment / "run" / "result.json")
    rows = result["architectures"]
    assert [(row["source"], row["rank"], row["evaluations"]) for row in rows] == [("found", i, {}) for i in (1, 2, 3)]
    assert [row["score"] for row in rows] == [1.5, 1.4, 1.3] and s.dispatcher.sent == []


# -- crashes -----------------------------------------------------------------------------------------------------------
def test_a_crash_is_tried_again_and_nni_allows_it() -> None:
    manager = FakeManager()
    s = Session(manager=manager, retries=1)
    s.request(0, 1)
    s.request(2)
    manager.add("search-0", "FAILED")
    manager.add("stand_alone-random-1")
    manager.add("", "SUCCEEDED", customized=True)
    s.crash(0)
    assert s.jobs == {0: "search-0", 1: "random-1", 2: "search-0"}, "the id that was owed"
    assert manager.maximum == 1 + 2 + 1 + 1 + 1, (
        "the user's own, those that were handed out, the new attempt, what it will find, and one to spare"
    )
    manager.add("search-0", number=2)
    manager.rows[1]["status"] = "FAILED"
    s.crash(1)
    assert manager.maximum == 1 + 3 + 1 + 1 + 1 and s.request(3) == ["random-1"]
    manager.add("stand_alone-random-1", "FAILED", number=3)
    s.crash(3)
    assert s.job("random-1").status == "failed" and s.dispatcher.errors == []


def test_a_search_that_crashes_too_often_fails_the_experiment() -> None:
    manager = FakeManager()
    s = Session(manager=manager, retries=1)
    s.request(0, 1)
    manager.add("search-0", "FAILED")
    s.crash(0)
    assert s.request(2) == ["search-0"]
    manager.add("search-0", "FAILED", number=2)
    s.crash(2)
    assert (
        len(s.dispatcher.errors) == 1
        and "search-0 crashed 2 times" in s.dispatcher.errors[0]
        and "Mend the cause" in s.dispatcher.errors[0]
    )


@pytest.mark.parametrize("status", ["FAILED", "USER_CANCELED"])
def test_what_the_user_cancels_is_not_tried_again(experiment: Path, status: str) -> None:
    """NNI shows it as FAILED if the trial still had time to answer."""
    manager = FakeManager()
    s = Session(manager=manager)
    s.request(0, 1, 2)
    manager.add("search-0")
    manager.add("stand_alone-random-1", status)
    cancel(experiment, "T1")
    s.crash(1)
    assert s.job("random-1").status == "failed" and s.job("random-1").crashes == 0
    manager.add("", "WAITING", customized=True)
    s.result(0)
    s.result(2)
    assert load(experiment / "run" / "result.json")["failed"] == ["stand_alone-random-1"] and s.dispatcher.errors == []


def test_what_the_kernel_kills_is_tried_again(experiment: Path) -> None:
    """For want of memory, say: NNI calls that USER_CANCELED, too."""
    manager = FakeManager()
    s = Session(manager=manager)
    s.request(0, 1)
    manager.add("search-0", "USER_CANCELED")
    manager.add("stand_alone-random-1", "USER_CANCELED")
    cancel(experiment, "T1")
    s.crash(0)
    assert s.job("search-0").status == "waiting" and s.request(2) == ["search-0"]


def test_a_cancelled_search_ends_the_experiment(experiment: Path) -> None:
    manager = FakeManager()
    s = Session(manager=manager)
    s.request(0)
    manager.add("search-0", "FAILED")
    cancel(experiment, "T0")
    s.crash(0)
    assert len(s.dispatcher.errors) == 1 and "search-0 was cancelled" in s.dispatcher.errors[0]


def test_a_cancelled_copy_of_a_trial_is_not_the_trial(experiment: Path) -> None:
    """*Copy and submit customised trial* in the portal copies all parameters, the job's name among them."""
    manager = FakeManager()
    s = Session(manager=manager)
    s.request(0, 1)
    manager.add("search-0", "FAILED")
    manager.add("search-0", "USER_CANCELED", customized=True)
    cancel(experiment, "T1")
    s.crash(0)
    assert s.job("search-0").status == "waiting" and manager.maximum == 2 + 1 + 1 + 1 + 1


def test_a_journal_that_cannot_be_read(experiment: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not cancelled_by_user(experiment, "T0") and "unable to open database file" in caplog.text
    (experiment / "db").mkdir()
    (experiment / "db" / "nni.sqlite").write_bytes(b"x" * 4096)
    assert not cancelled_by_user(experiment, "T0") and "file is not a database" in caplog.text


def test_a_manager_that_does_not_answer_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    class Gone(FakeManager):
        gone = False

        def trials(self) -> list[dict[str, Any]]:
            if self.gone:
                raise ManagerError("the NNI manager does not answer.")
            return self.rows

        alive = trials

    manager = Gone()
    s = Session(manager=manager)
    s.request(0)
    manager.gone = True
    s.crash(0)
    s.tuner.look()
    assert s.job("search-0").status == "running" and s.dispatcher.errors == []
    assert caplog.text.count("the NNI manager does not answer") == 2
    manager.gone = False
    manager.add("search-0", "FAILED")
    manager.alive = list  # type: ignore[method-assign]
    s.tuner.look()
    assert s.job("search-0").crashes == 1 and s.dispatcher.asked == [2], "nothing is owed, so NNI must ask"


# -- stop, kill, resume ------------------------------------------------------------------------------------------------
def test_every_event_is_written_before_it_is_answered(experiment: Path) -> None:
    """A kill at any of these moments loses nothing: a tuner that reads the file has the same plan."""
    s = Session(found=2, random=2, retries=1)

    def same() -> None:
        fresh = RLNAS(**arguments(found=2, random=2, retries=1, random_seed=4))
        fresh.load_checkpoint()
        assert fresh.plan.jobs == s.tuner.plan.jobs

    answered = s.dispatcher.send_trial_callback

    def callback(number: int, parameters: dict[str, Any]) -> None:
        same()
        answered(number, parameters)

    s.dispatcher.send_trial_callback = callback  # type: ignore[method-assign]
    callback.__self__ = s.dispatcher  # type: ignore[attr-defined]
    events: list[Any] = [
        lambda: s.request(0, 1), lambda: s.crash(1), lambda: s.request(2), lambda: s.request(3), lambda: s.request(4), lambda: s.result(3),
        lambda: s.result(2), lambda: s.crash(0), lambda: s.result(4), lambda: s.request(5, 6),
    ]  # fmt: skip
    for event in events:
        event()
        same()
    assert s.jobs[4] == "search-0" and s.jobs[5] == "found-0-1" and s.job("search-0").crashes == 1


def resumed(manager: FakeManager, again: dict[int, dict[str, Any]], **changes: Any) -> Session:
    """A new session, in which NNI runs ``again`` what it says."""
    s = Session(manager=manager, **changes)
    s.dispatcher.recovered_trial_params = again
    s.tuner.load_checkpoint()
    s.tuner.update_search_space({})
    return s


def test_resume_with_ids_that_start_anew(experiment: Path) -> None:
    """NNI hands back finished trials without their ids, runs interrupted ones by itself, and counts ids from where it
    likes.
    """
    manager = FakeManager()
    s = Session(manager=manager, found=2, random=2)
    assert s.request(0, 1) == ["search-0", "random-1"]
    manager.add("search-0")
    manager.add("stand_alone-random-1", "SUCCEEDED")
    s.result(1)

    t = resumed(manager, {0: s.given[0]}, found=2, random=2)
    done = s.value("stand_alone-random-1") | {"job": "stand_alone-random-1"}
    copied = {"parameter": s.given[0], "value": search_value(t.tuner.experiment)}  # the user's own trial
    t.tuner.import_data([{"parameter": s.given[1], "value": done}, {"parameter": {"x": 1}, "value": 3.0}, copied])
    assert t.request(1, 2) == ["random-2"], "the search runs again by itself, under its old id"
    t.tuner.import_data([{"parameter": s.given[0], "value": search_value(t.tuner.experiment) | {"job": "search-0"}}])
    assert t.jobs == {1: "random-2", 2: "found-0-1"}, "its result comes without an id"
    t.result(1)
    assert t.request(3) == ["found-0-2"]
    t.result(2)
    t.result(3)
    assert t.tuner.plan.finished and (experiment / "run" / "result.json").exists() and t.dispatcher.errors == []


def test_values_may_come_as_text() -> None:
    s = Session()
    s.request(0, 1)
    s.tuner.import_data(
        [{"parameter": s.given[1], "value": '{"default": 80, "accuracy": 80, "job": "stand_alone-random-1"}'}]
    )
    assert s.job("random-1").value["accuracy"] == 80


def test_resume_of_a_finished_experiment_writes_its_result_again(experiment: Path) -> None:
    s = Session()
    s.request(0, 1, 2)
    for number in (0, 1, 2):
        s.result(number)
    result = load(experiment / "run" / "result.json")
    (experiment / "run" / "result.json").unlink()  # as if killed just before it was written
    t = resumed(FakeManager(), {})
    assert t.request(3) == []
    assert load(experiment / "run" / "result.json") == result


def test_results_and_state_go_where_the_settings_say(experiment: Path, tmp_path: Path) -> None:
    s = Session(run_folder=str(tmp_path / "elsewhere"))
    s.request(0)
    assert (tmp_path / "elsewhere" / "config.json").exists() and (experiment / "checkpoint" / "plan.jsonl").exists()
    assert s.given[0]["trial"]["settings"]["run_folder"] == str(tmp_path / "elsewhere")


# -- threads -----------------------------------------------------------------------------------------------------------
def test_eight_threads_lose_nothing(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results and ends come from two threads of NNI; here from eight, in any order, with crashes in between."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
    s = Session(found=10, random=20, retries=100)
    running: queue.Queue[tuple[int, dict[str, Any]] | None] = queue.Queue()
    numbers, seen, lock, failures = iter(range(1000)), [], threading.Lock(), []
    s.dispatcher.send_trial_callback = lambda number, parameters: running.put((number, parameters))  # type: ignore[method-assign]
    s.dispatcher.send_trial_callback.__self__ = s.dispatcher  # type: ignore[attr-defined]

    def request(count: int) -> None:
        with lock:
            ids = [next(numbers) for _ in range(count)]
        given = s.tuner.generate_multiple_parameters(ids, st_callback=s.dispatcher.send_trial_callback)
        for pair in zip(ids, given, strict=False):
            running.put(pair)

    def work() -> None:
        try:
            while (item := running.get(timeout=60)) is not None:
                number, parameters = item
                name = job_of(parameters)
                with lock:
                    seen.append(number)
                if number % 3 == 1:
                    s.tuner.trial_end(number, False)
                else:
                    s.tuner.receive_trial_result(number, "", s.value(name) | {"job": name})
                    s.tuner.trial_end(number, True)
                request(1)
                if s.tuner.plan.finished:
                    break
        except BaseException as error:
            failures.append(error)
        running.put(None)

    request(8)
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    plan = s.tuner.plan
    assert not failures and s.dispatcher.errors == [] and not any(thread.is_alive() for thread in threads)
    assert len(plan.jobs) == 31 and all(
        job.status == "done" and job.value == s.value(job.name) for job in plan.jobs.values()
    )
    assert len(seen) == len(set(seen)) == 31 + sum(job.crashes for job in plan.jobs.values())
    assert len(load(experiment / "run" / "result.json")["architectures"]) == 30


def test_what_is_wrong_is_left_where_people_find_it() -> None:
    s = Session(retries=0)
    s.request(0, 1)
    s.crash(0)
    assert (s.tuner.checkpoint_folder / "error.txt").read_text().strip() == s.dispatcher.errors[0]
    assert s.dispatcher.errors[0].startswith("search-0 crashed 1 times, so there is no result.")
