"""A space, a strategy and an evaluator in a package of their own: registered by entry points alone, found everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

PACKAGE = Path(__file__).resolve().parents[1] / "third_party"
ARGUMENTS: dict[str, Any] = {
    "space": {"name": "kernelnet", "channels": 2},
    "search": {"questions": 8},
    "found": 2,
    "random": 2,
    "evaluations": {"probe": {"evaluator": "linear_probe", "data": {"source": "digits", "limit": 200}}},
    "threads": 1,
}
PROGRAM = """
from nni.nas.experiment import NasExperiment
from kernelnet import KernelNet
from nni_plugins.evaluators import PluginEvaluator
from nni_plugins.strategies import PluginStrategy

space = KernelNet(channels=2)
evaluator = PluginEvaluator("linear_probe", settings={"data": {"source": "digits", "limit": 200}}, space=space)
strategy = PluginStrategy("Annealing", search={"questions": 5, "steps": 20}, found=2)
experiment = NasExperiment(space.supernet(), evaluator, strategy)
experiment.run()
print("found", len(list(experiment.export_top_models(2, formatter="dict"))))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which the example package is installed."""
    import shutil

    folder = tmp_path_factory.mktemp("third_party")
    source = Path(shutil.copytree(PACKAGE, folder / "source", ignore=shutil.ignore_patterns("__pycache__")))
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-build-isolation", "--no-deps", "--target",
        "site", str(source),
    ]  # fmt: skip
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return {**os.environ, "PYTHONPATH": str(folder / "site"), "PYTHONWARNINGS": "ignore"}


SERVER = """
import contextlib, io, json, os, sys, traceback

def call(program, words):
    if program == "python":
        exec(compile(words[1], "program", "exec"), {"__name__": "__main__"})
    elif program == "pytest":
        import pytest
        return pytest.main(words)
    else:
        from nni_plugins.cli import main
        sys.argv = [program, *words]
        main()

for line in sys.stdin:
    program, words, folder = json.loads(line)
    os.chdir(folder)
    printed, code = io.StringIO(), 0
    with contextlib.redirect_stdout(printed):
        try:
            code = call(program, words)
        except SystemExit as stop:
            code = stop.code
        except BaseException:
            traceback.print_exc(file=printed)
            code = 1
    sys.__stdout__.write(json.dumps([int(code or 0), printed.getvalue()]) + chr(10))
    sys.__stdout__.flush()
"""
"""Commands one after the other in one process: torch and NNI take ten seconds to import."""


class Interpreter:
    """A process in which the package is installed."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, program: str, *words: str, folder: Path = PACKAGE) -> str:
        """What ``program`` prints: ``nni-plugins``, ``pytest`` or ``python -c CODE``."""
        given, answers = self.process.stdin, self.process.stdout
        assert given is not None and answers is not None
        given.write(json.dumps([program, words, str(folder)]) + "\n")
        given.flush()
        code, printed = json.loads(answers.readline())
        assert code == 0, printed
        return str(printed)


@pytest.fixture(scope="module")
def interpreter(installed: dict[str, str]) -> Iterator[Interpreter]:
    made = Interpreter(installed)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.communicate()


def run(environment: dict[str, str], folder: Path, *command: str) -> str:
    """In a process of its own."""
    program = str(Path(sys.executable).with_name(command[0]))
    done = subprocess.run([program, *command[1:]], env=environment, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def experiment_file(interpreter: Interpreter, path: Path, tuner: str, arguments: dict[str, Any]) -> Path:
    """Written by :func:`nni_plugins.experiment.file.render`, in a process that knows the package."""
    code = f"from nni_plugins.experiment.file import render; print(render('x', {tuner!r}, {arguments!r}))"
    path.write_text(interpreter.run("python", "-c", code).strip() + "\n")
    return path


def test_they_are_registered(interpreter: Interpreter) -> None:
    plugins = json.loads(interpreter.run("nni-plugins", "list", "--json"))
    text = json.dumps(plugins)
    for entry in ("kernelnet:KernelNet", "kernelnet.annealing:Annealing", "kernelnet.probe:LinearProbe"):
        assert entry in text
    words = ["show", "1x1-3x3-5x5-3x3", "--space", "kernelnet", "--space-argument", "channels=4", "--json"]
    shown = json.loads(interpreter.run("nni-plugins", *words))
    assert shown["parameters"] == (12 + 9 * 16 + 25 * 32 + 9 * 64) + 2 * (4 + 4 + 8 + 8) + 9 * 10


def test_they_pass_the_contracts(interpreter: Interpreter) -> None:
    words = ["-q", "-p", "no:cacheprovider", "--rootdir", ".", "-c", os.devnull, "test_kernelnet.py"]
    printed = interpreter.run("pytest", *words)
    assert " passed" in printed and "failed" not in printed


def test_a_search(interpreter: Interpreter, tmp_path: Path) -> None:
    file = experiment_file(interpreter, tmp_path / "x.yml", "Annealing", ARGUMENTS)
    content = yaml.safe_load(file.read_text())
    assert content["tuner"]["name"] == "Annealing" and content["maxTrialNumber"] == 1 + 2 + 2 + 1
    interpreter.run("nni-plugins", "register")
    findings = json.loads(interpreter.run("nni-plugins", "doctor", str(file), "--json"))
    assert {"subject": str(file), "state": "ok"}.items() <= next(
        f for f in findings if f["subject"] == str(file)
    ).items()
    words = ("search", str(file), "--output", str(tmp_path / "run"), "--processes", "1", "--json")
    result = json.loads(interpreter.run("nni-plugins", *words))
    assert result["strategy"] == "Annealing" and result["evaluations"]["probe"]["evaluator"] == "linear_probe"
    sources = [row["source"] for row in result["architectures"]]
    assert sorted(sources) == ["found", "found", "largest_parameters", "random", "random"]
    assert all(0 <= row["evaluations"]["probe"]["value"] <= 100 for row in result["architectures"])


def test_a_comparison(interpreter: Interpreter, tmp_path: Path) -> None:
    arguments = {
        "space": ARGUMENTS["space"],
        "seeds": [0, 1, 2],
        "policies": {"annealing": {"strategy": "Annealing", "search": {"questions": 6}}},
        "evaluations": ARGUMENTS["evaluations"],
        "report": {"resamples": 1000},
        "threads": 1,
    }
    file = experiment_file(interpreter, tmp_path / "x.yml", "Compare", arguments)
    interpreter.run("nni-plugins", "compare", str(file), "--output", str(tmp_path / "run"), "--processes", "1")
    statistics = json.loads((tmp_path / "run" / "report" / "probe" / "statistics.json").read_text())
    assert set(statistics["summaries"]) == {"annealing", "random"} and statistics["metric"] == "probe accuracy"


def test_the_tuner(installed: dict[str, str], tmp_path: Path) -> None:
    """What NNI's dispatcher imports, after ``nni-plugins register``; without torch."""
    code = (
        "import json, sys; from nni.tools.package_utils.tuner_factory import create_builtin_class_instance as create; "
        "tuner = create('annealing', json.loads(sys.argv[1]), 'tuners'); "
        "print(type(tuner).__name__, tuner._problem, 'torch' in sys.modules)"
    )
    assert "Annealing" in run(installed, tmp_path, "nni-plugins", "register")
    printed = run(installed, tmp_path, "python", "-c", code, json.dumps(ARGUMENTS))
    assert printed.split() == ["Annealing", "None", "False"]


def test_from_python(interpreter: Interpreter, tmp_path: Path) -> None:
    printed = interpreter.run("python", "-c", PROGRAM, folder=tmp_path)
    assert "found 2" in printed.splitlines()
