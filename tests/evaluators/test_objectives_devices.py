"""With every objective, two processes (DDP over gloo, on the CPU) compute what one computes on the joint batch, the
architecture's gradient among it: UnNAS' official search does not average it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from . import objectives_job

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("two")
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_PORT")
    }
    command = [sys.executable, "-W", "ignore", objectives_job.__file__, str(folder), "2"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"result-{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def one() -> dict[str, Any]:
    return objectives_job.everything(1)


@pytest.mark.parametrize("name", list(objectives_job.OBJECTIVES))
def test_two_processes_equal_one_with_the_joint_batch(
    one: dict[str, Any], two: list[dict[str, Any]], name: str
) -> None:
    ours, theirs, other = one[name], two[0][name], two[1][name]
    assert ours["gradients"].shape == (4, 2) and float(ours["gradients"].abs().min()) > 1e-6, (
        "there is something to compare"
    )
    assert torch.allclose(theirs["gradients"], ours["gradients"], rtol=1e-3, atol=1e-6)
    assert torch.equal(theirs["gradients"], other["gradients"])
    for key, value in ours["final"].items():
        assert torch.allclose(theirs["final"][key], value, rtol=0, atol=1e-5) and torch.equal(
            theirs["final"][key], other["final"][key]
        ), key
    for a, b in zip(ast.literal_eval(ours["history"]), ast.literal_eval(theirs["history"]), strict=True):
        assert b == pytest.approx(a, abs=1e-4)
