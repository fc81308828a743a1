"""Every shell block, Python snippet and YAML fragment of the pages is parsed here, against what it names; the snippets
that need a moment and no data of yours are run, and what a page prints beside one is compared.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import itertools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from nni_plugins.cli.app import app
from nni_plugins.experiment.kinds import load_experiment
from nni_plugins.presets import preset_names

from .import_graph import ROOT

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
    if "reports" not in path.parts
}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_SHELL = ("angle(a) =", "search.yml  broken")
"""How the indented blocks begin that are a formula and an output."""
PROGRAMS = {
    ".",
    "cmp",
    "make",
    "nni-plugins",
    "nnictl",
    "pip",
    "python",
    "python3",
    "sed",
    "ssh",
    "sudo",
    "torchrun",
    "until",
}
"""What a line of a shell block may begin with (or be piped to)."""
RUN = ("docs/recipes.md", "docs/widths.md")
RUN_SLOWLY = ("docs/architectures.md", "docs/retraining_data.md", "docs/spaces.md", "docs/tables.md", "docs/timm.md")
"""Pages whose snippets are run in one go; the others need data, a training of minutes or NNI's experiments."""


def fences(text: str, language: str) -> list[str]:
    """The contents of a page's blocks in this language."""
    return [body for name, body in FENCE.findall(text) if name == language]


def shell_blocks(text: str) -> list[str]:
    """A page's indented blocks outside of fences and lists: each is for the shell."""
    found = re.findall(r"(?:\A|\n\n)((?:    .*\n|\n(?=    \S))+)", FENCE.sub("", text))
    blocks = ("\n".join(line.removeprefix("    ") for line in block.rstrip().split("\n")) for block in found)
    return [block for block in blocks if not block.startswith(NOT_SHELL)]


# -- the shell ---------------------------------------------------------------------------------------------------------
def split_at_operators(line: str) -> Iterator[list[str]]:
    """The words of each simple command of a line, without what is redirected where."""
    reader = shlex.shlex(re.sub(r"\b2>", ">", line), posix=True, punctuation_chars=";&|<>()")
    reader.whitespace_split = True
    words: list[str] = []
    skip = False
    for word in reader:
        if word and set(word) <= set(";&|()"):
            if words:
                yield words
            words = []
        elif word and set(word) <= set("<>&"):
            skip = True
        elif skip:
            skip = False
        else:
            words.append(word)
    if words:
        yield words


def check_nni_plugins(words: list[str]) -> None:
    """The command, its options and their values are what ``nni-plugins`` takes."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("nni-plugins", list(words), resilient_parsing=True)
    rest = list(words)
    while hasattr(command, "commands") and rest:
        name = rest[0] if rest[0] in command.commands else "run" if "run" in command.commands else rest[0]
        assert name in command.commands, f"no command {name!r}"
        rest = rest[1:] if rest[0] == name else rest
        command = command.commands[name]
    if not hasattr(command, "commands"):
        context = command.make_context("nni-plugins", rest)
        preset = context.params.get("preset")
        assert preset is None or preset.isupper() or preset in preset_names(), f"no preset {preset!r}"


def check_python(words: list[str]) -> None:
    """A file of ours and its options, or a module."""
    if words[0] == "-m":
        if words[1] == "nni_plugins.cli":
            check_nni_plugins(words[2:])
        else:
            assert importlib.util.find_spec(words[1]) is not None, f"no module {words[1]}"
    elif words[0].startswith((".venv/share", "nas/")):
        pass  # of an installation
    elif words[0] != "-c":
        path = ROOT / words[0]
        assert path.is_file(), f"no file {words[0]}"
        source = path.read_text() + (ROOT / "benchmarks" / "common.py").read_text()
        unknown = [word for word in words[1:] if word.startswith("--") and f'"{word}"' not in source]
        assert not unknown, f"{words[0]} has no {unknown}"


def check_make(words: list[str]) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {word for word in words if "=" not in word} <= set(targets)


def check_pip(words: list[str]) -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    table = pyproject.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = re.findall(r"^(\w+) = ", table, re.MULTILINE)
    for word in words[1:]:
        assert not word.startswith("nni-plugins"), "this project is on no index"
        if word.startswith("./"):
            assert (ROOT / word).is_dir(), word
        named = re.search(r"(?:^\.|nni_plugins.*)\[([\w,]+)\]$", word)
        assert named is None or set(named[1].split(",")) <= set(extras), word


CHECKS = {"nni-plugins": check_nni_plugins, "python": check_python, "make": check_make, "pip": check_pip}


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if shell_blocks(text)])
def test_shell_blocks(page: str) -> None:
    for block in shell_blocks(PAGES[page]):
        assert subprocess.run(["bash", "-n", "-c", block], check=False).returncode == 0, block
        for line in block.replace("\\\n", " ").split("\n"):
            for words in split_at_operators(line):
                words = [word for word in words if not re.fullmatch(r"[A-Z_]+=\S*", word)]
                if words[0] == "torchrun":
                    words = ["python", *words[words.index("-m") :]]
                if words[0] in CHECKS:
                    try:
                        CHECKS[words[0]](words[1:])
                    except Exception as error:
                        pytest.fail(f"{page}: {line}\n{type(error).__name__}: {error}")


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if shell_blocks(text)])
def test_indented_blocks_are_commands(page: str) -> None:
    """What is no command stands in a fence that says what it is."""
    for block in shell_blocks(PAGES[page]):
        first = next(word for word in block.split() if not re.fullmatch(r"[A-Z_]+=\S*", word))
        assert first in PROGRAMS, block


@pytest.mark.parametrize("page", list(PAGES))
def test_commands_within_sentences(page: str) -> None:
    """Code in a sentence that begins with our command names one that there is, with options that it has."""
    command: Any = typer.main.get_command(app)
    for text in re.findall(r"(?<!`)`nni-plugins ([a-z-]+(?: [^`]*)?)`", FENCE.sub("", PAGES[page])):
        name, *rest = text.split()
        assert name in command.commands, text
        one = command.commands[name]
        known = {
            option
            for each in (one, *getattr(one, "commands", {}).values())
            for parameter in each.params
            for option in parameter.opts
        }
        unknown = {word for word in rest if word.startswith("--")} - known - {"--help"}
        assert not unknown, f"{text}: no {unknown}"


# -- Python ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if fences(text, "python")])
def test_python_snippets_name_what_exists(page: str) -> None:
    """They parse, every imported name is there, and none is used that no line of the page makes."""
    code = "\n".join(fences(PAGES[page], "python"))
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith(("kernelnet", "mm")):
            module = importlib.import_module(node.module)
            names = [alias.name for alias in node.names]
            missing = [name for name in names if not hasattr(module, name) and not submodule(module, name)]
            assert not missing, f"{node.module} has no {missing}"
        elif isinstance(node, ast.Constant) and node.value is ...:
            pytest.fail("an ellipsis stands for code that nobody can run")
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--quiet", "--select", "F821", "-"]
    done = subprocess.run(command, input=code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def submodule(package: Any, name: str) -> bool:
    return hasattr(package, "__path__") and importlib.util.find_spec(f"{package.__name__}.{name}") is not None


def expected_output(text: str) -> str:
    """What a page says that its snippets print, in order."""
    blocks = FENCE.findall(text)
    return "".join(
        body for (before, _), (name, body) in itertools.pairwise(blocks) if (before, name) == ("python", "text")
    )


@pytest.mark.parametrize("page", [*RUN, *(pytest.param(page, marks=pytest.mark.slow) for page in RUN_SLOWLY)])
def test_python_snippets_run(page: str, tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text("\n".join(fences(PAGES[page], "python")))
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    printed = done.stdout.split()
    missing = [line for line in expected_output(PAGES[page]).splitlines() if not contains(printed, line.split())]
    assert not missing, f"not printed: {missing}\n{done.stdout}"


def contains(words: list[str], part: list[str]) -> bool:
    return any(words[at : at + len(part)] == part for at in range(len(words) - len(part) + 1))


# -- YAML --------------------------------------------------------------------------------------------------------------
OTHERS = ("NAO", "Annealing")
"""Tuners of any trial command, and of a package that is not installed here."""


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if fences(text, "yaml")])
def test_yaml_fragments_are_settings(page: str) -> None:
    """Fragments of experiment files have keys and values that an experiment takes."""
    for text in fences(PAGES[page], "yaml"):
        content = yaml.safe_load(text)
        tuner = content.get("tuner", {})
        if "classArgs" in tuner and tuner["name"] not in OTHERS:
            load_experiment(tuner["name"], tuner["classArgs"])
        elif set(content) & {"policies", "report"}:
            load_experiment(
                "Compare",
                {"seeds": [0, 1], "evaluations": {"now": {"evaluator": "stand_alone", "data": {}}}, **content},
            )
        elif "data" in content and "training" in content:
            load_experiment("DARTS", content)
        elif set(content) & {"data", "evaluations", "limits"}:
            load_experiment("RLNAS", content)
