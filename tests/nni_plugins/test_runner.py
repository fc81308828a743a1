"""Experiments on this machine: what is done once, resumed, refused, set aside, and done in several processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from nni_plugins.evaluators.errors import CheckpointError, ConfigChanged, ConfigError, TrainingError
from nni_plugins.experiment import runner
from nni_plugins.experiment.jobs import Job, Plan
from nni_plugins.experiment.runner import report_experiment, run_experiment, side_by_side
from nni_plugins.experiment.store import Store, read_settings

from .counting import Counting, CountingSettings
from .small import experiment, load, stand_alone, strip

RESULT = {"square-1": 1, "square+0": 0, "square+1": 1, "half-1": 0.5, "half+0": 0, "half+1": 0.5}


def counting(**changes: Any) -> Counting:
    return Counting(CountingSettings(**changes))


def runs(folder: Path) -> dict[str, int]:
    """How often each job was really run."""
    return {path.parent.name: len(path.read_text().split()) for path in sorted(folder.glob("*/runs"))}


def test_every_job_once(tmp_path: Path) -> None:
    seen: list[tuple[str, bool]] = []
    result = run_experiment(counting(), tmp_path, lambda job, row, plan: seen.append((job.name, row is None)))
    assert result == RESULT == load(tmp_path / "result.json")
    assert runs(tmp_path) == {"square-1": 1, "square+0": 1, "half-1": 1, "half+0": 1}, "equal work is done once"
    assert [name for name, ended in seen if ended] == list(RESULT)
    assert ("square-1", False) in seen and ("square+1", False) not in seen
    assert load(tmp_path / "jobs" / "square+1.json")["value"]["result"] == {"reused": True}
    assert run_experiment(counting(), tmp_path) == RESULT and sum(runs(tmp_path).values()) == 4, "nothing is repeated"
    assert run_experiment(counting(jobs=4), tmp_path)["half+2"] == 2, "an experiment may grow"
    assert sum(runs(tmp_path).values()) == 6


def test_how_many_processes_a_job_takes() -> None:
    two = {"epochs": 2, "batch_size": 64, "accelerator": "cpu", "devices": 2}
    searched = experiment(training=two, evaluations={"one": stand_alone(), "two": stand_alone(training=two)})
    assert {job.phase: searched.devices(job) for job in searched.first_jobs()} == {"search": 2, "one": 1, "two": 2}
    asking = experiment("bestofrandom", evaluations={"two": stand_alone(training=two)})
    assert {job.phase: asking.devices(job) for job in asking.first_jobs()} == {"search": 2, "two": 2}


def test_torchrun_does_not_start_a_whole_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, number)
    with pytest.raises(ConfigError, match="torchrun starts processes that would all run this experiment in one folder"):
        run_experiment(counting(), tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_on_two_devices_and_evaluations_on_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The second process ends with its job, and gets into nobody's way; the curve is seen as it comes."""
    two = experiment(training={"epochs": 2, "accelerator": "cpu", "devices": 2})
    seen: list[float] = []
    result = run_experiment(
        two, tmp_path, lambda job, row, plan: seen.append(row["epoch"]) if row and job.phase == "search" else None
    )
    assert seen == [1, 2] and result["failed"] == [] and len(result["architectures"]) == 2
    broken = {"epochs": 2, "accelerator": "cpu", "devices": 2, "learning_rate": 1e30}
    with pytest.raises(TrainingError, match=r"in epoch 1[\s\S]*Lower the learning rate"):
        run_experiment(experiment(training=broken), tmp_path / "broken")
    assert "Traceback" not in capfd.readouterr().err


def test_a_resumed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    class Stopped(Counting):
        def run(self, job: Job, *arguments: Any) -> dict[str, Any]:
            if job.name == "half-1":
                raise KeyboardInterrupt
            return super().run(job, *arguments)

    with pytest.raises(KeyboardInterrupt):
        run_experiment(Stopped(CountingSettings()), tmp_path)
    assert runs(tmp_path) == {"square-1": 1, "square+0": 1}
    partial = report_experiment(counting(), tmp_path)
    assert partial == {**RESULT, "half-1": None, "half+0": None, "half+1": None}
    assert run_experiment(counting(), tmp_path) == RESULT and sum(runs(tmp_path).values()) == 4


def test_other_settings_are_refused_with_a_difference(tmp_path: Path) -> None:
    run_experiment(counting(), tmp_path)
    with pytest.raises(ConfigChanged, match=r"square-1.json was made with other settings: factor: 1.0 -> 2.0"):
        run_experiment(counting(factor=2.0), tmp_path)
    assert run_experiment(counting(retries=7, threads=1), tmp_path) == RESULT, "no value depends on these"


@pytest.mark.parametrize("content", ["{", "[]", '{"identity": {}}', '{"identity": {}, "value": {}}', "\x00"])
def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path, content: str) -> None:
    run_experiment(counting(), tmp_path)
    (tmp_path / "jobs" / "half+0.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"half\+0.json is damaged[\s\S]*Delete it to run this job again"):
        run_experiment(counting(), tmp_path)
    (tmp_path / "jobs" / "half+0.json").unlink()
    assert run_experiment(counting(), tmp_path) == RESULT


def test_only_some_jobs_now(tmp_path: Path) -> None:
    first = run_experiment(counting(), tmp_path, only=lambda job: job.seed >= 0)
    assert first == {"square-1": None, "square+0": 0, "square+1": 1, "half+0": 0, "half+1": 0.5}
    assert run_experiment(counting(), tmp_path) == RESULT


def test_settings_are_written_down(tmp_path: Path) -> None:
    run_experiment(counting(jobs=1), tmp_path)
    assert read_settings(tmp_path) == ("Counting", counting(jobs=1).settings.model_dump(mode="json"))
    with pytest.raises(ConfigError, match=r"holds no experiment: there is no config.json"):
        read_settings(tmp_path / "nowhere")
    for damaged in ("[", "{}", '{"experiment": "x", "settings": 3}'):
        (tmp_path / "config.json").write_text(damaged)
        with pytest.raises(CheckpointError, match=r"config.json is damaged"):
            read_settings(tmp_path)


# -- several processes ---------------------------------------------------------------------------------------------------
@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of a pool know Counting."""
    monkeypatch.setattr(runner, "_in_process", in_process)


def in_process(name: str, dumped: str, described: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What a process of the pool does."""
    assert name == "Counting"
    return Counting(CountingSettings(**json.loads(dumped))).run(Job(**described), folder, None)


def test_in_several_processes(tmp_path: Path, processes: None) -> None:
    ended: list[str] = []
    result = run_experiment(counting(), tmp_path, lambda job, row, plan: ended.append(job.name), processes=2)
    assert result == RESULT and sorted(ended) == sorted(RESULT) and sum(runs(tmp_path).values()) == 4
    pids = {pid for path in tmp_path.glob("*/runs") for pid in path.read_text().split()}
    assert str(os.getpid()) not in pids


@pytest.mark.parametrize(
    ("threads", "cuda", "expected"), [(1, False, 6), (2, False, 3), (9, False, 1), (1, True, 1), (None, False, 1)]
)
def test_as_many_as_there_are_cores(
    monkeypatch: pytest.MonkeyPatch, threads: int | None, cuda: bool, expected: int
) -> None:
    monkeypatch.setattr(runner, "cores", lambda: 6)
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    assert side_by_side(threads) == expected


def test_one_run_a_folder(tmp_path: Path) -> None:
    """A second run is refused before it touches anything; the first one goes on."""
    refused: list[str] = []

    def progress(job: Job, row: dict[str, float] | None, plan: Plan) -> None:
        with pytest.raises(CheckpointError, match="is in use by another process") as caught:
            run_experiment(counting(factor=2.0), tmp_path)
        refused.append(str(caught.value))

    assert run_experiment(counting(), tmp_path, progress) == RESULT and refused
    assert read_settings(tmp_path)[1]["factor"] == 1.0


MAIN = """
import signal, sys
from pathlib import Path
from nni_plugins.experiment import runner
from tests.nni_plugins.test_runner import counting, in_process_that_waits
if __name__ == "__main__":
    runner._in_process = in_process_that_waits
    runner.run_experiment(counting(), Path(sys.argv[1]), processes=2)
"""


def in_process_that_waits(name: str, dumped: str, described: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A job that takes long: it says which process it is in."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pid").write_text(str(os.getpid()))
    time.sleep(600)
    return {}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_the_main_one(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "main.py").write_text(MAIN)
    command = [sys.executable, "-W", "ignore", str(tmp_path / "main.py"), str(tmp_path / "run")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([".", *sys.path])}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True) as main:
        pids = wait_for(lambda: sorted((tmp_path / "run").glob("*/pid")), 2)
        workers = [psutil.Process(int(path.read_text())) for path in pids]
        main.send_signal(number)
        _, alive = psutil.wait_procs(workers, timeout=60)
        main.wait(60)
    assert not alive and main.returncode != 0


def wait_for(found: Callable[[], list[Path]], count: int) -> list[Path]:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if len(paths := [path for path in found() if path.read_text()]) >= count:
            return paths
        time.sleep(0.1)
    raise AssertionError("the jobs did not begin")


def test_a_single_job_runs_here(tmp_path: Path, processes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody said how many: its progress can be seen."""
    monkeypatch.setattr(runner, "side_by_side", lambda threads: 2)
    rows: list[Any] = []
    run_experiment(counting(jobs=1), tmp_path / "one", lambda job, row, plan: rows.append(row), processes=None)
    here = len([row for row in rows if row is not None])
    rows.clear()
    run_experiment(counting(jobs=1), tmp_path / "other", lambda job, row, plan: rows.append(row), processes=2)
    assert here > 0 and not [row for row in rows if row is not None]


def test_a_killed_process_is_replaced(tmp_path: Path, processes: None) -> None:
    experiment = counting(kill="half-1", once=str(tmp_path / "killed"))
    assert run_experiment(experiment, tmp_path / "run", processes=2) == RESULT
    assert (tmp_path / "killed").exists() and runs(tmp_path / "run")["half-1"] == 2


def test_a_job_that_always_kills_its_process(tmp_path: Path, processes: None) -> None:
    with pytest.raises(TrainingError, match=r"a process was killed 2 times while it ran square-1"):
        run_experiment(counting(kill="square-1", jobs=1, retries=1), tmp_path, processes=2)
    assert run_experiment(counting(jobs=1), tmp_path) == {"square-1": 1, "half-1": 0.5}, "it can go on"


# -- a search ------------------------------------------------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore:the supernet sees only")
def test_a_search_is_the_same_in_one_process_and_in_two(tmp_path: Path) -> None:
    given = experiment(baselines=["largest_parameters"])
    here = run_experiment(given, tmp_path / "here")
    there = run_experiment(given, tmp_path / "there", processes=2)
    assert strip(here) == strip(there)
    jobs = [one["job"] for row in here["architectures"] for one in row["evaluations"].values()]
    assert sorted(jobs) == [f"stand_alone-{name}" for name in ("found-0-1", "largest_parameters", "random-1")]
    for folder in ("here", "there"):
        assert (tmp_path / folder / "report" / "report.html").stat().st_size > 5000
        assert (tmp_path / folder / "architectures.csv").read_text().count("\n") == 4
    searched = Store(given, tmp_path / "here").load(Plan(given).jobs["search-0"])
    assert searched is not None and searched["default"] == here["searches"][0]["default"]
