"""Real experiments under ``nnictl``: whole, interrupted, resumed, and with killed trials. Nothing stays behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from nni_plugins.demo import wait_for
from nni_plugins.doctor import NnictlMissing, nnictl, port_is_free
from nni_plugins.experiment.runner import run_experiment
from nni_plugins.portal import launch
from nni_plugins.portal.launch import LATE, Launched, LaunchError, free_port
from nni_plugins.portal.manager import ManagerError
from nni_plugins.portal.registration import register_tuners
from nni_plugins.portal.tuner import job_of

from .small import content, load, stand_alone, strip, write
from .small import experiment as loaded_experiment

ROOT = Path(__file__).resolve().parents[2]


def processes_of(word: str) -> list[str]:
    """Command lines of the processes that have ``word`` (an experiment's id, a port) in them, or in NNI's environment."""
    found = []
    for process in psutil.process_iter():
        try:
            line, environment = process.cmdline(), process.environ()
        except psutil.Error:
            continue
        nni = [environment.get("NNI_EXP_ID", ""), *environment.get("NNI_CHECKPOINT_DIRECTORY", "").split("/")]
        if process.pid != os.getpid() and (word in line or word in nni):
            found.append(f"{process.pid} {' '.join(line)[:200]}")
    return found


def wait(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen in {seconds} seconds"
        time.sleep(0.2)
    return value


def experiment_file(folder: Path, nni: dict[str, Any] | None = None, **changes: Any) -> Path:
    """An experiment whose NNI folder is below ``folder``; ``nni``: other keys of NNI's."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {"experimentWorkingDirectory": str(folder / "experiments"), **(nni or {})}
    return write(folder / "x.yml", content(**changes) | own)


def jobs(experiment: Launched) -> dict[str, dict[str, Any]]:
    """The newest trial of every job, by the job's name."""
    return {job_of(trial["parameters"]): trial for trial in experiment.manager.trials()}


# -- what stops an experiment from starting ----------------------------------------------------------------------------
def test_a_busy_port(tmp_path: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("", 0))
        busy.listen()
        port = busy.getsockname()[1]
        assert not port_is_free(port)
        with pytest.raises(LaunchError, match=f"port {port} is in use[\\s\\S]*another --port") as caught:
            Launched(experiment_file(tmp_path), port)
    assert caught.value.exit_status == 4 and port_is_free(port) and port_is_free(free_port())


def test_nnictl_is_beside_python_or_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Path(nnictl()).parent == Path(sys.executable).parent
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NnictlMissing, match=r"nnictl is neither beside [\s\S]*pip install nni==3.0"):
        Launched(experiment_file(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "nnictl").write_text("#!/bin/sh\n")
    (tmp_path / "elsewhere" / "nnictl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{tmp_path / 'elsewhere'}")
    assert nnictl() == str(tmp_path / "elsewhere" / "nnictl")


def fake_nnictl(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "nnictl").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nnictl").chmod(0o755)
    monkeypatch.setattr(launch, "nnictl", lambda: str(folder / "nnictl"))


def test_a_file_that_nnictl_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nnictl(tmp_path / "bin", "echo 'trialConcurrency: must be positive'; exit 1", monkeypatch)
    with pytest.raises(
        LaunchError, match=r"nnictl create failed: trialConcurrency: must be positive[\s\S]*nni-plugins doctor"
    ):
        Launched(experiment_file(tmp_path))
    fake_nnictl(tmp_path / "bin", "exit 0", monkeypatch)
    with pytest.raises(LaunchError, match="nnictl create failed: no output"):
        Launched(experiment_file(tmp_path))


def test_a_manager_that_was_started_in_vain_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``nnictl`` fails, or Ctrl-C comes, after it has started its manager."""
    port = free_port()
    (tmp_path / "main.js").write_text("import time; time.sleep(600)")
    fake_nnictl(
        tmp_path / "bin", f"{sys.executable} {tmp_path}/main.js --port {port} >/dev/null 2>&1 &\nexit 1", monkeypatch
    )
    kept = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "--port", str(port)])
    try:
        with pytest.raises(LaunchError):
            Launched(experiment_file(tmp_path), port)
        assert kept.poll() is None, "only NNI's managers are looked for"
    finally:
        kept.kill()
        kept.wait()
    assert processes_of(str(tmp_path / "main.js")) == []


def pretended(monkeypatch: pytest.MonkeyPatch, *statuses: str | BaseException) -> Launched:
    """An experiment with these statuses, one after another; it keeps the last."""
    experiment, left = Launched.__new__(Launched), list(statuses)
    experiment.id = "abc"

    def status() -> str:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(experiment, "status", status)
    return experiment


def test_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []
    pretended(monkeypatch, "RUNNING", "DONE").wait(lambda: shown.append(1), 0, 1)
    assert shown == [1, 1], "shown once more when it is done"
    with pytest.raises(LaunchError, match=r"still RUNNING after 0 minutes[\s\S]*nnictl resume abc"):
        pretended(monkeypatch, "RUNNING").wait(lambda: None, 0, 0)
    with pytest.raises(ManagerError, match="does not answer"):
        pretended(monkeypatch, ManagerError("does not answer.")).wait(lambda: None, 0, 1)


def test_an_experiment_that_failed() -> None:
    class Failed:
        def status(self) -> tuple[str, list[str]]:
            return "ERROR", ["search-0 crashed 3 times"]

    experiment = Launched.__new__(Launched)
    experiment.manager, experiment.folder = Failed(), Path("/x/abc")  # type: ignore[assignment]
    with pytest.raises(
        LaunchError, match=r"the experiment failed: search-0 crashed 3 times[\s\S]*/x/abc/log/dispatcher.log"
    ):
        experiment.status()


# -- a whole experiment ------------------------------------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore:the supernet sees only")
def test_a_real_experiment(tmp_path: Path) -> None:
    register_tuners()
    with Launched(experiment_file(tmp_path)) as experiment:
        assert experiment.folder == tmp_path / "experiments" / experiment.id, "the folder is where the file says"
        assert experiment.status() == "RUNNING" and processes_of(experiment.id)
        experiment.wait(lambda: None, 0.5, 4)
        assert experiment.status() == "DONE"
        trials = jobs(experiment)
        evaluated = {"stand_alone-found-0-1", "stand_alone-random-1"}
        assert set(trials) == {"search-0", *evaluated} and len(experiment.manager.trials()) == 3
        result = load(wait_for(experiment.folder / "run" / "result.json", 15))
        rows = rows_of(result)
        for name, trial in trials.items():
            parameters, final = trial["parameters"], trial["final"]
            assert trial["status"] == "SUCCEEDED" and parameters["phase"] == name.split("-")[0]
            choices = {label: parameters[label] for label in ("e_0_1", "e_0_2", "e_1_2")}
            curve = experiment.manager.intermediates(trial["id"])
            assert [point["epoch"] for point in curve] == [1, 2] and len({frozenset(point) for point in curve}) == 1
            if name == "search-0":
                assert set(choices.values()) == {"all"} and "angle" in final and "accuracy" not in final
                assert final["result"]["found"][0]["choices"] == rows["stand_alone-found-0-1"]["choices"]
            else:
                assert choices == rows[name]["choices"] and "angle" not in final, (
                    "metrics stand beside the parameters that they belong to"
                )
                measured = rows[name]["evaluations"]["stand_alone"]["value"]
                assert (final["accuracy"], final["macs"]) == (measured, rows[name]["macs"])
    assert processes_of(experiment.id) == []
    alone = run_experiment(loaded_experiment(), tmp_path / "alone")
    assert strip(result) == strip(alone), "what nni-plugins search computes"


def rows_of(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of a result by the name of their evaluation's job."""
    return {row["evaluations"]["stand_alone"]["job"]: row for row in result["architectures"]}


# -- interruptions: minutes --------------------------------------------------------------------------------------------
LONG: dict[str, Any] = {
    "data": {"source": "digits"},
    "training": {"epochs": 100, "accelerator": "cpu", "checkpoint_seconds": 0.5},
    "evaluations": {
        "stand_alone": stand_alone(
            training={"epochs": 60, "batch_size": 64, "accelerator": "cpu", "checkpoint_seconds": 0.5}
        )
    },
    "found": 2,
    "random": 2,
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """``result.json`` of the long experiment in one go."""
    return run_experiment(loaded_experiment(**LONG), tmp_path_factory.mktemp("undisturbed"))


@contextmanager
def launched(config: Path) -> Iterator[Launched]:
    register_tuners()
    with Launched(config) as experiment:
        yield experiment
    assert processes_of(experiment.id) == []


def long_experiment(tmp_path: Path) -> AbstractContextManager[Launched]:
    return launched(experiment_file(tmp_path, **LONG))


def epochs(experiment: Launched, job: str) -> int:
    """How many epochs of ``job`` the portal shows."""
    trial = jobs(experiment).get(job)
    return 0 if trial is None else len(experiment.manager.intermediates(trial["id"]))


def command(experiment: Launched, *words: str, **environment: str) -> None:
    """``nnictl`` with these words, which must succeed."""
    answer = subprocess.run(
        [experiment.command, *words],
        env={**experiment.environment, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def stop(experiment: Launched) -> None:
    command(experiment, "stop", experiment.id)
    wait(lambda: not processes_of(experiment.id), 60, "the end of all processes after nnictl stop")


def resume(experiment: Launched, **environment: str) -> str:
    """``nnictl resume``; returns the status when the tuner has connected, or has not in time."""
    command(experiment, "resume", experiment.id, "--port", str(experiment.port), **environment)
    log, seen = experiment.folder / "log" / "dispatcher.log", (STARTED, LATE)
    said = wait(lambda: [word for word in seen if word in latest(experiment)], 60, f"the start of the tuner in {log}")
    return "ERROR" if LATE in said else "RUNNING"


STARTED = "NNIManager received command from dispatcher: ID"


def latest(experiment: Launched) -> str:
    """What the newest manager has written into its log."""
    return (experiment.folder / "log" / "nnimanager.log").read_text().rpartition("Resuming experiment")[2]


def stop_and_resume(experiment: Launched) -> None:
    """On a busy machine a resume may fail, which loses nothing."""
    for _ in range(5):
        stop(experiment)
        if resume(experiment) == "RUNNING":
            return
    raise AssertionError("the tuner never connected in time")


def kill_trial(trial: str) -> None:
    """``kill -9`` of the trial's process."""
    victims = [p for p in psutil.process_iter() if p.name().startswith("python") and of_trial(p) == trial]
    assert victims
    for victim in victims:
        victim.kill()


def of_trial(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("NNI_TRIAL_JOB_ID")
    except psutil.Error:
        return None


def finish(experiment: Launched, undisturbed: dict[str, Any]) -> None:
    experiment.wait(lambda: None, 0.5, 8)
    assert strip(load(wait_for(experiment.folder / "run" / "result.json", 15))) == strip(undisturbed)
    for name in rows_of(undisturbed):
        curve = [point["epoch"] for point in experiment.manager.intermediates(jobs(experiment)[name]["id"])]
        assert curve == list(range(1, 61)), "no gap and no double point"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("job", ["search-0", "stand_alone-found-0-1"])
def test_stop_and_resume(tmp_path: Path, undisturbed: dict[str, Any], job: str) -> None:
    with long_experiment(tmp_path) as experiment:
        wait(lambda: epochs(experiment, job) > 5, 300, f"the sixth epoch of {job}")
        trial = jobs(experiment)[job]
        assert trial["status"] == "RUNNING"
        stop_and_resume(experiment)
        assert not (experiment.folder / "run" / "result.json").exists()
        finish(experiment, undisturbed)
        assert jobs(experiment)[job]["id"] == trial["id"], "the same trial went on"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_trial_is_tried_again(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    with long_experiment(tmp_path) as experiment:
        wait(lambda: epochs(experiment, "search-0") > 5, 300, "the sixth epoch of the search")
        first = jobs(experiment)["search-0"]["id"]
        kill_trial(first)
        finish(experiment, undisturbed)
        trials = [trial for trial in experiment.manager.trials() if job_of(trial["parameters"]) == "search-0"]
        assert [trial["status"] for trial in trials] == ["USER_CANCELED", "SUCCEEDED"], (
            "so NNI calls what a signal ended"
        )
        assert trials[0]["id"] == first
        curve = [point["epoch"] for point in experiment.manager.intermediates(trials[1]["id"])]
        assert curve == list(range(1, 101)), "the new trial shows the whole curve"


def words(port: int) -> list[str]:
    """All words of the command lines that name ``port``."""
    return [word for line in processes_of(str(port)) for word in line.split()]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_the_user_cancels_is_left_out(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    with long_experiment(tmp_path) as experiment:
        wait(lambda: epochs(experiment, "stand_alone-random-1") > 2, 300, "the third epoch of random-1")
        trial = jobs(experiment)["stand_alone-random-1"]["id"]
        command(experiment, "trial", "kill", experiment.id, "--trial_id", trial)
        experiment.wait(lambda: None, 0.5, 8)
        result = load(wait_for(experiment.folder / "run" / "result.json", 15))
    rows, name = rows_of(strip(result)), "stand_alone-random-1"
    assert result["failed"] == [name] and rows.pop(name)["evaluations"]["stand_alone"]["value"] is None
    assert rows == {key: row for key, row in rows_of(strip(undisturbed)).items() if key != name}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("concurrency", "last"), [(1, "stand_alone-random-1"), (2, "stand_alone-found-0-1")])
def test_the_last_trial_is_killed(tmp_path: Path, concurrency: int, last: str) -> None:
    """When it ends NNI has started as many trials as it may, and asks for no more."""
    training = {"epochs": 60, "batch_size": 64, "accelerator": "cpu", "checkpoint_seconds": 0.5}
    changes = {"evaluations": {"stand_alone": stand_alone(training=training)}}
    with launched(experiment_file(tmp_path, {"trialConcurrency": concurrency}, **changes)) as experiment:
        (other,) = {"stand_alone-random-1", "stand_alone-found-0-1"} - {last}
        wait(lambda: ended(experiment, other) and epochs(experiment, last) > 3, 300, "the last trial")
        kill_trial(jobs(experiment)[last]["id"])
        experiment.wait(lambda: None, 0.2, 5)
        result = load(experiment.folder / "run" / "result.json")  # it is there when the experiment is DONE
        assert len(experiment.manager.trials()) == 4 == experiment.manager.profile().maximum
    assert strip(result) == strip(run_experiment(loaded_experiment(**changes), tmp_path / "alone"))


def ended(experiment: Launched, job: str) -> bool:
    trial = jobs(experiment).get(job)
    return trial is not None and trial["status"] == "SUCCEEDED"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_search_that_cannot_run_ends_with_a_sentence(tmp_path: Path) -> None:
    missing = {"source": "folder", "path": str(tmp_path / "nowhere"), "image_size": 8}
    changes = {"evaluations": {}, "random": 0, "retries": 1, "data": missing}
    with launched(experiment_file(tmp_path, {"trialConcurrency": 1}, **changes)) as experiment:
        with pytest.raises(LaunchError, match=r"search-0 crashed 2 times, so there is no result[\s\S]*no such folder"):
            experiment.wait(lambda: None, 0.5, 3)
        assert [trial["status"] for trial in experiment.manager.trials()] == ["FAILED", "FAILED"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_resume_that_fails_loses_nothing(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    """The tuner needs longer than the ten seconds that NNI gives it; what NNI was to run again it then never runs."""
    (tmp_path / "slow").mkdir()
    late = "import os, time\nif os.environ.get('SDK_PROCESS') == 'dispatcher':\n    time.sleep(14)\n"
    (tmp_path / "slow" / "sitecustomize.py").write_text(late)
    path = os.pathsep.join([str(tmp_path / "slow"), *filter(None, [os.environ.get("PYTHONPATH")])])
    with long_experiment(tmp_path) as experiment:
        wait(lambda: epochs(experiment, "search-0") > 5, 300, "the sixth epoch of the search")
        stop(experiment)
        assert resume(experiment, PYTHONPATH=path) == "ERROR"
        with pytest.raises(LaunchError, match=r"longer than the ten seconds[\s\S]*nnictl resume"):
            experiment.status()
        assert "ADD_RESUMED" in {trial["status"] for trial in experiment.manager.trials()}
        stop_and_resume(experiment)
        finish(experiment, undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killing_the_search_then_resume(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    with long_experiment(tmp_path) as experiment:
        wait(lambda: epochs(experiment, "search-0") > 5, 300, "the sixth epoch of the search")
        command(experiment, "trial", "kill", experiment.id, "--trial_id", jobs(experiment)["search-0"]["id"])
        wait(lambda: experiment.manager.status()[0] == "ERROR", 60, "the end of the experiment")
        with pytest.raises(LaunchError, match=r"search-0 was cancelled[\s\S]*nnictl resume"):
            experiment.status()
        stop_and_resume(experiment)
        finish(experiment, undisturbed)
        curve = experiment.manager.intermediates(jobs(experiment)["search-0"]["id"])
        assert [point["epoch"] for point in curve] == list(range(1, 101))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_trials_of_two_processes(tmp_path: Path) -> None:
    """Only the first speaks with NNI, which has one set of parameters for a trial."""
    two = {"epochs": 2, "batch_size": 64, "accelerator": "cpu", "devices": 2}
    changes = {"training": two, "evaluations": {"one": stand_alone(), "two": stand_alone(training=two)}}
    with launched(experiment_file(tmp_path, {"trialConcurrency": 1}, **changes)) as experiment:
        experiment.wait(lambda: None, 0.5, 10)
        result = load(experiment.folder / "run" / "result.json")
        assert [trial["status"] for trial in experiment.manager.trials()] == ["SUCCEEDED"] * 5
    values = [row["evaluations"] for row in result["architectures"]]
    # the joint batch; but batch norms see half of it, and after two epochs that is some points
    assert all(one["two"]["value"] == pytest.approx(one["one"]["value"], abs=8) for one in values)


@contextmanager
def demo(config: Path, output: Path, port: int) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """``python -m nni_plugins.demo`` and the lines that it prints."""
    command = [
        sys.executable,
        "-u",
        "-m",
        "nni_plugins.demo",
        "--config",
        str(config),
        "--output",
        str(output),
        "--port",
        str(port),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "COLUMNS": "200"}
    )
    lines: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True)  # type: ignore[union-attr]
    reader.start()
    try:
        yield process, lines
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(90)
        reader.join(10)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_demo_interrupted(tmp_path: Path) -> None:
    with demo(experiment_file(tmp_path, **LONG), tmp_path / "out", free_port()) as (process, lines):
        wait(lambda: any("search-0" in line and "RUNNING" in line for line in lines), 120, "the start of the search")
        found = re.search(r"experiment (\w+)", "".join(lines))
        assert found is not None and processes_of(found[1])
        process.send_signal(signal.SIGINT)
        assert process.wait(90) == 130
        assert processes_of(found[1]) == []
    assert "stopped; no process is left behind." in "".join(lines) and "Traceback" not in "".join(lines)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_demo_interrupted_while_nnictl_starts(tmp_path: Path) -> None:
    port = free_port()
    with demo(experiment_file(tmp_path, **LONG), tmp_path / "out", port) as (process, lines):
        wait(lambda: any(line.endswith("main.js") for line in words(port)), 60, "the start of NNI's manager")
        assert not any("portal" in line for line in lines)
        process.send_signal(signal.SIGINT)
        assert process.wait(90) == 130
    wait(lambda: not processes_of(str(port)), 10, "the end of NNI's manager")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_demo_to_its_end(tmp_path: Path) -> None:
    with demo(experiment_file(tmp_path), tmp_path / "out", free_port()) as (process, lines):
        assert process.wait(240) == 0, "".join(lines)
    text = "".join(lines)
    assert (
        text.index("portal: http://127.0.0.1:") < text.index("search-0") < text.index("Kendall")
        and "Traceback" not in text
    )
    assert (tmp_path / "out" / "result.json").exists() and (tmp_path / "out" / "best.png").read_bytes().startswith(
        b"\x89PNG"
    )


def test_the_demo_shows_what_is_wrong(tmp_path: Path) -> None:
    value = content()
    value["tuner"]["classArgs"]["fond"] = 1
    command = [
        sys.executable,
        "-m",
        "nni_plugins.demo",
        "--config",
        str(write(tmp_path / "x.yml", value)),
        "--output",
        str(tmp_path / "out"),
    ]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 2 and "fond: no such key" in answer.stderr and "Traceback" not in answer.stderr
