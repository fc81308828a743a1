"""Several processes (DDP over gloo, on the CPU) compute what one process computes."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from . import devices_job

pytestmark = pytest.mark.slow


def started(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", devices_job.__file__, str(folder), *arguments]
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_PORT")
    }
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)


def close(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.allclose(a[name], b[name], rtol=0, atol=1e-5) for name in a)


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes ended with."""
    folder = tmp_path_factory.mktemp("two")
    done = started(folder, "2")
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"result-{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return devices_job.everything(tmp_path_factory.mktemp("one"), 1)


@pytest.mark.parametrize("name", ["plain", "all", "active"])
def test_two_processes_equal_one_with_the_joint_batch(
    one: dict[str, Any], two: list[dict[str, Any]], name: str
) -> None:
    assert close(two[0][name]["final"], one[name]["final"])
    for ours, theirs in zip(*(ast.literal_eval(run[name]["history"]) for run in (one, two[0])), strict=True):
        assert theirs == pytest.approx(ours, abs=1e-5)


def test_processes_agree(two: list[dict[str, Any]]) -> None:
    for name in two[0]:
        assert (
            equal(two[0][name]["final"], two[1][name]["final"]) and two[0][name]["history"] == two[1][name]["history"]
        )


def test_resume_of_two_processes(two: list[dict[str, Any]]) -> None:
    for name in ("resumed", "finished"):
        assert (
            equal(two[0][name]["final"], two[0]["plain"]["final"])
            and two[0][name]["history"] == two[0]["plain"]["history"]
        )


def test_a_killed_process_ends_the_other_and_leaves_the_run_resumable(
    tmp_path: Path, two: list[dict[str, Any]]
) -> None:
    killed = started(tmp_path, "2", "kill_second_process")
    assert killed.returncode != 0 and "Traceback" not in killed.stderr
    assert "process 2 of the 2 of this training was killed by signal 9.\n" in killed.stderr
    assert "run the same command again to go on from the last checkpoint" in killed.stderr
    assert max((tmp_path / "killed").glob("step-*.json")).stem == "step-0000000005"
    again = started(tmp_path, "2", "nothing")
    assert again.returncode == 0, again.stderr[-3000:]
    final = torch.load(tmp_path / "killed/step-0000000009.pt", weights_only=True)
    assert equal(final["model"], two[0]["plain"]["final"]) and final["history"].count("epoch") == 3


def test_the_death_of_the_first_process_ends_the_other(tmp_path: Path) -> None:
    """Which holds the pipe of its errors until it ends."""
    killed = started(tmp_path, "2", "kill_first_process")
    assert killed.returncode == -9
    assert "of the 2 processes of this training is gone" in killed.stderr
