"""What runs on the simulated accelerator, in a process of its own.

The accelerator is a backend of torch, which a process cannot have and then not have any more; so no test may import it.
The checks are ordinary tests in files of other names: ``python -m pytest tests/simulated/checks_text.py``. All are run
by one process, for it takes longer to import everything than to check one file.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKS = sorted(Path(__file__).parent.glob("checks_*.py"))


def run(*files: Path) -> subprocess.CompletedProcess[str]:
    """pytest on ``files``, in a child process with one thread."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--tb=short",
        *map(str, files),
    ]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    folder = Path(__file__).parents[2]
    return subprocess.run(
        command,
        cwd=folder,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def test_there_are_checks() -> None:
    assert [path.stem for path in CHECKS] == ["checks_device", "checks_images", "checks_retraining", "checks_text"]


@pytest.mark.timeout(900)  # a minute, on a processor that is not shared
def test_checks() -> None:
    done = run(*CHECKS)
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-3_000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) > 80


def test_a_check_that_fails_is_told(tmp_path: Path) -> None:
    file = tmp_path / "checks_wrong.py"
    file.write_text("def test_it():\n    assert 1 == 2\n")
    done = run(file)
    assert done.returncode == 1 and "1 failed" in done.stdout, done.stdout + done.stderr
