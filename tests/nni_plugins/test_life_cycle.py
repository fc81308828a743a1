"""What may happen to an experiment, through the real tuner and NNI's dispatcher, around a manager that counts as NNI's
does: it ends with all results, or with a sentence; it never waits for what will not come.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import nni_node  # type: ignore[import-untyped]
import pytest

from nni_plugins.experiment.base import Experiment
from nni_plugins.portal.manager import ALIVE, ENDED_WITHOUT_RESULT, STATES
from nni_plugins.portal.tuner import ExperimentTuner
from nni_plugins.portal.tuners import tuner_class

from .nni_model import NNI, Trial
from .small import arguments, load, value_of
from .test_tuner import cancel

RLNAS = tuner_class("rlnas")
SEARCH, FOUND, RANDOM = "search-0", "stand_alone-found-0-1", "stand_alone-random-1"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """NNI's of the experiment."""
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.setenv("NNI_CHECKPOINT_DIRECTORY", str(tmp_path / "checkpoint"))
    monkeypatch.setattr(os, "fsync", lambda file: None)
    yield tmp_path


def experiment(concurrency: int = 2, *, local: bool = True, name: str = "rlnas", **changes: Any) -> NNI:
    """A search, what it finds and a random architecture, as :func:`.small.arguments` say."""
    given, kind = arguments(name, **{"random_seed": 4, **changes}), tuner_class(name)
    return NNI(lambda: kind(**given), kind(**given).experiment.trials, concurrency, local=local)


def value(nni: NNI, trial: Trial) -> dict[str, Any]:
    """What the trial computes, the user's own included."""
    return value_of(nni.tuner.experiment, nni.tuner.plan, trial.job)  # type: ignore[arg-type]


def succeed(nni: NNI, trial: Trial) -> None:
    nni.report(trial, value(nni, trial))
    nni.end(trial)


def drive(nni: NNI, act: Callable[[Trial], bool] = lambda trial: False, rounds: int = 100) -> None:
    """Go round until the experiment has ended: waiting trials start, and running ones succeed unless ``act`` did something
    else to them.
    """
    for _ in range(rounds):
        nni.loop()
        nni.tuner.look()
        if nni.state in ("DONE", "ERROR") and not nni.active:
            return
        for trial in list(nni.active.values()):
            if trial.status == "WAITING":
                nni.run(trial)
            elif trial.status == "RUNNING" and not act(trial):
                succeed(nni, trial)
    raise AssertionError(f"{nni.state} for ever: {[(one.id, one.job, one.status) for one in nni.all.values()]}")


def whole(nni: NNI, folder: Path) -> None:
    """The experiment is done, and everything that it should have is in its result."""
    assert nni.state == "DONE" and nni.errors == [], (nni.state, nni.errors)
    result = load(folder / "run" / "result.json")
    assert result["failed"] == [] and not (folder / "checkpoint" / "error.txt").exists()
    plan = nni.tuner.plan
    assert plan.finished and len(plan.jobs) == nni.tuner.experiment.trials
    for job in plan.jobs.values():
        assert job.status == "done" and {**job.value, "result": None} == {
            **value_of(nni.tuner.experiment, plan, job.name),  # type: ignore[arg-type]
            "result": None,
        }, f"{job.name} has the value of another one"


def once(what: Callable[[Trial], None], job: str = "") -> Callable[[Trial], bool]:
    """An act: ``what`` is done to the first trial of ``job``, and no more."""
    acted: list[str] = []

    def act(trial: Trial) -> bool:
        if acted or job not in ("", trial.job):
            return False
        acted.append(trial.id)
        what(trial)
        return True

    return act


# -- to the end --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("concurrency", [1, 2, 5])
def test_a_whole_experiment(folder: Path, concurrency: int) -> None:
    nni = experiment(concurrency, found=2, random=2)
    nni.start()
    drive(nni)
    whole(nni, folder)
    assert nni.maximum == len(nni.all) == 5 and nni.seen.count("DONE") == 1


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("job", [SEARCH, FOUND, RANDOM])
def test_a_killed_trial_is_tried_again_whenever_it_runs(folder: Path, concurrency: int, job: str) -> None:
    """Also the last one, at whose end NNI has started as many trials as it may."""
    nni = experiment(concurrency)
    nni.start()
    drive(nni, once(lambda trial: nni.end(trial, "USER_CANCELED"), job))
    whole(nni, folder)
    assert nni.maximum == len(nni.all) == 4 and nni.seen.count("DONE") == 1, "it is not done before it is done"


def test_all_running_trials_are_killed_at_once(folder: Path) -> None:
    nni = experiment(5, random=4, retries=3)
    nni.start()
    killed: list[str] = []

    def kill(trial: Trial) -> bool:
        if trial.job == SEARCH or killed.count(trial.job) > 2:
            return False
        killed.append(trial.job)
        nni.end(trial, "USER_CANCELED")
        return True

    drive(nni, kill)
    whole(nni, folder)
    assert len(killed) == 3 * 5 and nni.seen.count("DONE") == 1


def test_a_search_that_cannot_run_ends_with_a_sentence(folder: Path) -> None:
    nni = experiment(1, evaluations={}, random=0, retries=2)
    assert nni.maximum == 1
    nni.start()
    drive(nni, lambda trial: nni.end(trial, "FAILED") is None)
    assert nni.state == "ERROR" and len(nni.all) == 3
    assert "search-0 crashed 3 times" in nni.errors[0] == (folder / "checkpoint" / "error.txt").read_text().strip()


def test_a_trial_that_succeeds_without_a_result(folder: Path) -> None:
    """Such as one whose trialCommand is something else."""
    nni = experiment()
    nni.start()
    drive(nni, once(nni.end, FOUND))
    whole(nni, folder)
    nni = experiment(retries=1, evaluations={}, random=0)
    (folder / "checkpoint" / "plan.jsonl").unlink()
    nni.start()
    drive(nni, lambda trial: nni.end(trial) is None)
    assert nni.state == "ERROR" and "search-0 crashed 2 times" in nni.errors[0]


def test_a_result_that_the_dispatcher_loses(folder: Path) -> None:
    """It knows only numbers of its own process; the manager's database has every result."""
    nni = experiment()
    nni.start()

    def lose(trial: Trial) -> None:
        succeed(nni, trial)
        nni.messages.pop()

    drive(nni, once(lose, FOUND))
    whole(nni, folder)
    assert len(nni.all) == 3


# -- all states --------------------------------------------------------------------------------------------------------
def test_these_are_all_states() -> None:
    """Of NNI's sources as they are installed."""
    core = Path(nni_node.__file__).parent / "core"
    manager, store = (core / name for name in ("nnimanager.js", "nniDataStore.js"))
    loop = manager.read_text().split("async requestTrialJobsStatus()")[1].split("async manageTrials()")[0]
    said = set(re.findall(r"case '(\w+)'", loop))
    events = set(re.findall(r"storeTrialJobEvent\('(\w+)'", manager.read_text()))
    known = set(re.findall(r"'([A-Z]+_?[A-Z]+)'", store.read_text())) & {"WAITING", "RUNNING", "SUCCEEDED", "UNKNOWN"}
    not_a_trials = {"IMPORT_DATA", "ADD_HYPERPARAMETER"}
    cancelled = {"USER_TO_CANCEL"}  # shown as USER_CANCELED
    assert said | (events - not_a_trials - cancelled) | known == set(STATES)


@pytest.mark.parametrize("failed_resumes", [0, 1, 2])
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("job", [SEARCH, FOUND])
def test_resume_from_every_state(folder: Path, state: str, job: str, failed_resumes: int) -> None:
    """The manager was killed while ``job`` was in ``state``, and the tuner does not connect the first times."""
    nni = experiment(1)
    nni.start()
    stopped = RuntimeError("nnictl stop")

    def stop(trial: Trial) -> None:
        trial.status = state
        if state == "SUCCEEDED":
            trial.metrics.append(("FINAL", value(nni, trial) | {"job": job}))
        raise stopped

    with pytest.raises(RuntimeError, match="nnictl stop"):
        drive(nni, once(stop, job))
    nni.stop()
    for _ in range(failed_resumes):
        nni.start(resume=True, connects=False)
    nni.start(resume=True)
    drive(nni)
    whole(nni, folder)
    again = sum(one.job == job for one in nni.all.values())
    goes_on = state in ("SUCCEEDED", *(("WAITING", "RUNNING") if not failed_resumes else ()))
    assert again == (1 if goes_on else 2), "NNI runs it again itself, or it is handed out once more"


@pytest.mark.parametrize("state", ENDED_WITHOUT_RESULT)
def test_a_trial_that_nni_runs_again_may_end_in_any_way(folder: Path, state: str) -> None:
    """NNI keeps its end to itself; here it is the last one, and runs again alone."""
    nni = experiment(2)
    nni.start()
    with pytest.raises(ZeroDivisionError):
        drive(nni, once(lambda trial: [][1 // 0], FOUND))
    nni.stop()
    nni.start(resume=True)
    drive(nni, once(lambda trial: nni.end(trial, state), FOUND))
    whole(nni, folder)
    assert nni.of(FOUND).id == "T3" and nni.seen.count("DONE") == 1


def test_a_trial_that_came_and_went_between_two_looks(folder: Path) -> None:
    nni = experiment(2)
    nni.start()
    for trial in list(nni.active.values()):
        nni.run(trial)
    search = nni.of(SEARCH)
    nni.end(search, "FAILED")
    nni.tuner.look()
    nni.stop()
    nni.start(resume=True)
    nni.run(nni.of(RANDOM))
    nni.end(nni.of(RANDOM), "FAILED")  # NNI ran it again, and keeps its end to itself
    drive(nni)
    whole(nni, folder)


# -- other machines ----------------------------------------------------------------------------------------------------
def test_trials_with_each_others_parameters(folder: Path) -> None:
    """The second asks first: NNI shows the search where the random architecture is trained. The search is killed."""
    nni = experiment(2, local=False)
    nni.start()
    search, other = nni.of(SEARCH), nni.of(RANDOM)
    nni.run(other)
    nni.run(search)
    assert (other.job, search.job) == (SEARCH, RANDOM)
    nni.end(other, "USER_CANCELED")
    nni.loop()
    assert [nni.tuner.plan.jobs[name].crashes for name in (SEARCH, RANDOM)] == [1, 0], "what is killed is the search"
    drive(nni)
    whole(nni, folder)


def test_what_the_user_kills_is_what_is_shown_to_do_something_else(folder: Path) -> None:
    nni = experiment(2, local=False)
    nni.start()
    search, other = nni.of(SEARCH), nni.of(RANDOM)
    nni.run(other)
    nni.run(search)
    cancel(folder, search.id)
    nni.end(search, "FAILED")
    drive(nni)
    assert nni.state == "DONE" and load(folder / "run" / "result.json")["failed"] == [RANDOM]


def test_a_late_machine(folder: Path) -> None:
    """It was given the search, and dies before it says anything; the other one took the search's parameters."""
    nni = experiment(2, local=False)
    nni.start()
    late, early = nni.of(SEARCH), nni.of(RANDOM)
    nni.run(early)
    nni.loop()
    nni.tuner.look()
    assert early.job == SEARCH
    nni.end(late, "FAILED")
    nni.loop()
    nni.tuner.look()
    assert nni.tuner.plan.jobs[RANDOM].crashes == 1, "the only job that nobody does"
    drive(nni)
    whole(nni, folder)


def test_nobody_is_retried_before_all_have_spoken(folder: Path) -> None:
    nni = experiment(2, local=False)
    nni.start()
    late, early = nni.of(SEARCH), nni.of(RANDOM)
    nni.run(early)
    early.log = ""  # the other machine cannot be reached just now
    nni.end(late, "FAILED")
    nni.loop()
    nni.tuner.look()
    assert {job.crashes for job in nni.tuner.plan.jobs.values()} == {0}
    succeed(nni, early)
    nni.loop()
    nni.tuner.look()
    assert nni.tuner.plan.jobs[RANDOM].crashes == 1 and nni.tuner.plan.jobs[SEARCH].status == "done"
    drive(nni)
    whole(nni, folder)


def test_resume_with_each_others_parameters(folder: Path) -> None:
    """What NNI hands back as the search's is the random architecture's value."""
    nni = experiment(2, local=False)
    nni.start()
    search, other = nni.of(SEARCH), nni.of(RANDOM)
    nni.run(other)
    nni.run(search)
    succeed(nni, search)
    nni.loop()
    (folder / "checkpoint" / "plan.jsonl").unlink()  # nothing but NNI remembers
    nni.stop()
    nni.start(resume=True)
    assert nni.tuner.plan.jobs[RANDOM].status == "done" and nni.tuner.plan.jobs[SEARCH].status != "done"
    drive(nni)
    whole(nni, folder)


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_anything_in_any_order(folder: Path, seed: int, local: bool) -> None:
    """Trials start, die silently or not, succeed; the tuner is stopped and resumed, or does not connect; looks come when
    they come: nothing is lost, and nothing has another's value.
    """
    nni, draw = experiment(3, local=local, found=3, random=4, retries=100, seeds=[0, 1]), random.Random(seed)
    nni.start()

    def something(trial: Trial) -> None:
        what = draw.random()
        if trial.status == "WAITING" and what < 0.5:
            nni.run(trial)
        elif what < 0.2:
            nni.end(trial, draw.choice(ENDED_WITHOUT_RESULT))
        elif trial.status == "RUNNING" and what < 0.6:
            nni.report(trial, value(nni, trial))
            nni.end(trial, "FAILED" if what < 0.25 else "SUCCEEDED")

    for step in range(3000):
        for trial in list(nni.active.values()):
            if trial.status in ALIVE:
                something(trial)
        if draw.random() < 0.3:
            draw.shuffle(nni.messages)
        nni.loop()
        if draw.random() < 0.5:
            nni.tuner.look()
        if step < 200 and draw.random() < 0.03:
            nni.stop()
            while draw.random() < 0.5:
                nni.start(resume=True, connects=False)
            nni.start(resume=True)
        if nni.state == "DONE" and not nni.active and not nni.messages:
            break
    nni.tuner.look()
    whole(nni, folder)


# -- what the user does in the portal ------------------------------------------------------------------------------------
def test_the_users_own_trials_cost_the_plan_nothing(folder: Path) -> None:
    nni = experiment(1)
    nni.start()
    nni.customize(nni.of(SEARCH).form["parameters"])
    nni.customize({"x": 1})

    def fail_copies(trial: Trial) -> bool:
        if trial.form["parameter_id"] is None and trial.job == SEARCH:
            nni.end(trial, "FAILED")
            return True
        if not trial.job:
            nni.report(trial, {"default": 3.0})
            nni.end(trial)
            return True
        return False

    drive(nni, fail_copies)
    whole(nni, folder)
    assert len(nni.all) == 3 + 2 == nni.maximum


def test_killing_the_search_then_resume(folder: Path) -> None:
    nni = experiment(2)
    nni.start()

    def kill(trial: Trial) -> None:
        cancel(folder, trial.id)
        nni.end(trial, "USER_CANCELED")

    drive(nni, once(kill, SEARCH), rounds=10)
    assert nni.state == "ERROR" and "search-0 was cancelled" in nni.errors[0] and "nnictl resume" in nni.errors[0]
    nni.stop()
    nni.errors.clear()
    nni.start(resume=True)
    drive(nni)
    whole(nni, folder)


@pytest.mark.parametrize("number", [0, 1, 2, 50])
@pytest.mark.parametrize("when", ["early", "late"])
def test_update_trialnum_changes_nothing(folder: Path, number: int, when: str) -> None:
    """The plan says how many trials there are; otherwise the experiment would be DONE without a result, or RUNNING for
    ever.
    """
    nni = experiment(1)
    nni.start()
    if when == "early":
        nni.set_max_trials(number)
    drive(nni)
    if when == "late":
        nni.set_max_trials(number)
        nni.loop()
        nni.tuner.look()
        nni.loop()
    whole(nni, folder)
    assert nni.maximum == len(nni.all) == 3


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1)])
def test_update_concurrency(folder: Path, before: int, after: int) -> None:
    nni = experiment(before, random=6)
    nni.start()

    def change(trial: Trial) -> None:
        nni.change += after - nni.concurrency
        nni.concurrency = after

    drive(nni, once(change))
    whole(nni, folder)


def test_the_time_is_over_and_extended(folder: Path) -> None:
    """NNI drops the requests of the time in between."""
    nni = experiment(2, random=4)
    nni.start()
    for trial in list(nni.active.values()):
        nni.run(trial)
    nni.time_is_over = True
    for trial in list(nni.active.values()):
        succeed(nni, trial)
    for _ in range(4):
        nni.loop()
        nni.tuner.look()
    error = folder / "checkpoint" / "error.txt"
    assert nni.state == "DONE" and nni.errors == []
    assert error.read_text().startswith(
        "maxExperimentDuration is over, and 4 trials are left.\nGo on with more time: nnictl"
    )
    nni.time_is_over = False
    drive(nni)
    whole(nni, folder)


# -- many --------------------------------------------------------------------------------------------------------------
def simulate(found: int, drawn: int, workers: int, seed: int = 0) -> tuple[NNI, float, int]:
    """A search, and ``found + drawn`` evaluations on ``workers`` places, of which one in ten crashes: the experiment, the
    seconds that the tuner took without its final report, and how many trials there were.
    """
    nni = experiment(
        workers,
        space={"name": "nasbench201", "nodes": 4, "channels": 4, "cells_per_stage": 1},
        found=found,
        random=drawn,
        retries=20,
    )
    spent = 0.0

    def timed(work: Callable[[], None]) -> None:
        nonlocal spent
        started = time.perf_counter()
        work()
        spent += time.perf_counter() - started

    nni.around = timed
    draw, clock, ends, look_at = random.Random(seed), 0.0, list[tuple[float, str]](), 5.0
    nni.start()
    started: set[str] = set()
    while not (nni.state in ("DONE", "ERROR") and not nni.active):
        for trial in nni.active.values():
            if trial.status == "WAITING":
                nni.run(trial)
                started.add(trial.id)
                heappush(ends, (clock + draw.uniform(20, 200), trial.id))
        clock = ends[0][0] if ends else clock + 5
        while ends and ends[0][0] <= clock:
            trial = nni.all[heappop(ends)[1]]
            if draw.random() < 0.1:
                nni.end(trial, draw.choice(ENDED_WITHOUT_RESULT))
            else:
                succeed(nni, trial)
        nni.loop()
        if clock >= look_at:
            timed(nni.tuner.look)
            look_at = clock + 5
    return nni, spent, len(nni.all)


def check_simulation(nni: NNI, folder: Path, evaluations: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = nni.tuner.plan
    assert nni.state == "DONE" and len(plan.jobs) == 1 + evaluations
    for job in plan.jobs.values():
        assert job.status == "done"
        assert job.value["default"] == value_of(nni.tuner.experiment, plan, job.name)["default"]  # type: ignore[arg-type]
    assert len(nni.all) == len(plan.jobs) + sum(job.crashes for job in plan.jobs.values())
    again: ExperimentTuner = nni.make()
    monkeypatch.setattr(again, "_manager", None)
    again.load_checkpoint()
    assert {n: j.value for n, j in again.plan.jobs.items()} == {n: j.value for n, j in plan.jobs.items()}, "on the disk"


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The result of a thousand architectures is another test's affair."""
    from nni_plugins.experiment.search import SearchExperiment

    def conclude(self: Experiment, plan: Any, folder: Path) -> dict[str, Any]:
        return {}

    monkeypatch.setattr(SearchExperiment, "conclude", conclude)


@pytest.mark.usefixtures("no_report")
def test_many_trials_on_many_workers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nni, _, _ = simulate(20, 80, 16)
    check_simulation(nni, folder, 100, monkeypatch)


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_a_thousand_trials_on_64_workers(
    folder: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    nni, seconds, trials = simulate(100, 900, 64)
    check_simulation(nni, folder, 1000, monkeypatch)
    record_property("milliseconds a trial", 1000 * seconds / trials)
