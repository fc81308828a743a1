"""A search that is killed at any instant and resumed ends bit for bit like one that was never interrupted. The kills
are real.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from nni_plugins.evaluators.errors import CheckpointError
from nni_plugins.evaluators.objectives import RandomLabels
from nni_plugins.evaluators.training import CheckpointStore

from . import resume_job
from .resume_job import EPOCHS, STEPS, run

LAST = EPOCHS * STEPS
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([resume_job.__name__])  # torch is imported once, not in every child


@contextmanager
def child(folder: Path, *arguments: Any) -> Iterator[BaseProcess]:
    """``resume_job.main`` in a process that does not outlive the block."""
    folder.mkdir(exist_ok=True)
    process = FORKS.Process(target=resume_job.main, args=(folder, *arguments))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def wait(process: BaseProcess, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert process.is_alive() and time.monotonic() < deadline, (
            f"the child ended with {process.exitcode} before it was to be killed"
        )
        time.sleep(0.002)


def step(folder: Path) -> int:
    """Of the newest checkpoint; -1 if there is none."""
    return max((int(path.stem.removeprefix("step-")) for path in folder.glob("step-*.json")), default=-1)


def equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    same = (
        a.keys() == b.keys()
        and a["history"] == b["history"]
        and a["ranked"] == b["ranked"]
        and torch.equal(a["angles"], b["angles"])
    )
    return same and all(
        a[part].keys() == b[part].keys() and all(map(torch.equal, a[part].values(), b[part].values()))
        for part in ("initial", "final")
    )


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, Any]:
    """In one go, in this process, without any folder."""
    return run(None)


@pytest.mark.slow
def test_sigkill_at_three_random_moments(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    rng = random.Random(20)
    targets = sorted(rng.sample(range(1, LAST - 6), 3))
    w0 = None
    for target in targets:
        with child(tmp_path, "hold", target + 3) as process:
            wait(process, lambda target=target: step(tmp_path) >= target)  # type: ignore[misc]
            time.sleep(rng.uniform(0, 0.02))
            with pytest.raises(CheckpointError, match="in use by another process"), CheckpointStore(tmp_path, {}):
                pass
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            assert process.exitcode == -signal.SIGKILL
        assert target <= step(tmp_path) < LAST and not (tmp_path / "result.pt").exists()
        w0 = w0 or (tmp_path / "initial.pt").read_bytes()
        assert (tmp_path / "initial.pt").read_bytes() == w0
    assert equal(run(tmp_path), undisturbed)
    assert (tmp_path / "initial.pt").read_bytes() == w0 and not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("suffix", [".pt", ".json"])
def test_sigkill_while_a_checkpoint_is_written(tmp_path: Path, undisturbed: dict[str, Any], suffix: str) -> None:
    number = random.Random(suffix).randrange(3, LAST - 3)
    with child(tmp_path, "kill_during_write", suffix, number) as process:
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        torn = tmp_path / f".step-{number:010d}{suffix}.{process.pid}.tmp"
    assert torn.stat().st_size > 0 and step(tmp_path) == number - 1
    assert (tmp_path / f"step-{number:010d}.pt").exists() == (suffix == ".json")
    assert equal(run(tmp_path), undisturbed) and not torn.exists()


def test_sigkill_during_a_resume(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    with child(tmp_path, "kill_during_write", ".pt", 8) as process:
        process.join(60)
    for _ in range(2):
        (tmp_path / "resume-reached").unlink(missing_ok=True)
        with child(tmp_path, "kill_during_resume") as process:
            process.join(60)
            assert process.exitcode == -signal.SIGKILL and (tmp_path / "resume-reached").exists()
        assert step(tmp_path) == 7
    assert equal(run(tmp_path), undisturbed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_that_ask(tmp_path: Path, undisturbed: dict[str, Any], number: signal.Signals) -> None:
    with child(tmp_path, "hold", 8) as process:
        wait(process, lambda: step(tmp_path) >= 4)
        assert process.pid is not None
        os.kill(process.pid, number)
        process.join(60)
        assert process.exitcode == (-signal.SIGTERM if number == signal.SIGTERM else 1)
    assert (tmp_path / "interrupted").exists() == (number == signal.SIGINT)
    assert 4 <= step(tmp_path) < LAST
    assert equal(run(tmp_path), undisturbed)


def test_resume_in_an_interpreter_with_another_hash_seed(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    with child(tmp_path, "kill_during_write", ".pt", 12) as process:
        process.join(60)
    assert step(tmp_path) == 11
    other = "4321" if os.environ.get("PYTHONHASHSEED") != "4321" else "1234"
    command = [sys.executable, "-m", resume_job.__name__, str(tmp_path)]
    subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": other}, cwd=Path(__file__).parents[2], check=True, timeout=120
    )
    assert equal(torch.load(tmp_path / "result.pt", weights_only=True), undisturbed)


def test_a_finished_search_is_not_trained_again(
    tmp_path: Path, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert equal(run(tmp_path), undisturbed)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")}
    assert len(before) == 3 and f"step-{LAST:010d}.pt" in before

    def loss(*_: Any) -> Any:
        raise AssertionError("a training step was done")

    monkeypatch.setattr(RandomLabels, "loss", loss)
    assert equal(run(tmp_path, seconds=60), undisturbed)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")} == before
    with pytest.raises(AssertionError, match="a training step was done"):
        run(tmp_path / "new")
