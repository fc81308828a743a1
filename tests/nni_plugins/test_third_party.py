"""A space in a package of its own: registered by its entry point alone, checked by our suite, found by the command
line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "third_party"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which the example package is installed."""
    import shutil

    folder = tmp_path_factory.mktemp("third_party")
    source = Path(shutil.copytree(PACKAGE, folder / "source", ignore=shutil.ignore_patterns("__pycache__")))
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-build-isolation",
        "--no-deps",
        "--target",
        "site",
        str(source),
    ]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return {**os.environ, "PYTHONPATH": str(folder / "site")}


def run(environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).with_name(command[0])), *command[1:]],
        env=environment,
        capture_output=True,
        text=True,
        cwd=PACKAGE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_registered(installed: dict[str, str]) -> None:
    plugins = json.loads(run(installed, "nni-plugins", "list", "--json"))
    assert plugins["spaces"]["kernelnet"] == "kernelnet:KernelNet" and "darts" in plugins["spaces"]
    shown = json.loads(
        run(
            installed, "nni-plugins", "show", "1x1-3x3-5x5-3x3", "--space", "kernelnet", "--set", "channels=4", "--json"
        )
    )
    assert shown["parameters"] == (12 + 9 * 16 + 25 * 32 + 9 * 64) + 2 * (4 + 4 + 8 + 8) + 9 * 10


def test_it_passes_the_conformance_suite(installed: dict[str, str]) -> None:
    printed = run(
        installed, "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "-c", os.devnull, "test_kernelnet.py"
    )
    assert " passed" in printed and "failed" not in printed
