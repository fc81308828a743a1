"""Rules that keep the packages apart: who may import whom, what may be imported when, and what must stay free of torch."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "spaces": {"spaces"},
    "evaluators": {"spaces", "evaluators"},
    "strategies": {"spaces", "evaluators", "strategies"},
    "nni_plugins": {"spaces", "evaluators", "strategies", "nni_plugins"},
}
OURS = {*ALLOWED, "tests", "benchmarks", "examples"}
ONLY_WHEN_NEEDED = {"timm", "mmdet", "mmseg", "mmengine", "mmcv", "graphviz", "matplotlib"}
"""Optional back-ends, and what is slow to import: never at module level."""


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(source: str) -> Iterator[tuple[str, bool]]:
    """Top-level name of every absolute import, and whether it runs when the module is imported."""

    def visit(node: ast.AST, at_once: bool) -> Iterator[tuple[str, bool]]:
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").partition(".")[0], at_once
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for child in node.body:
                yield from visit(child, False)
            for child in node.orelse:
                yield from visit(child, at_once)
        else:
            inside = at_once and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, inside)

    yield from visit(ast.parse(source), True)


def test_the_reader_of_imports() -> None:
    source = """
import a.b, c
from d.e import f
from . import g
if TYPE_CHECKING:
    import h
else:
    import i
class K:
    import j
    def m(self):
        from k import l
"""
    assert list(imports(source)) == [("a", True), ("c", True), ("d", True), ("h", False), ("i", True), ("j", True), ("k", False)]


@pytest.mark.parametrize("package", list(ALLOWED))
def test_directions(package: str) -> None:
    assert files(package), f"{package} has no modules"
    wrong = {
        str(file.relative_to(ROOT)): sorted(found)
        for file in files(package)
        if (found := {name for name, _ in imports(file.read_text())} & OURS - ALLOWED[package])
    }
    assert not wrong, f"{package} may import only {sorted(ALLOWED[package])}"


@pytest.mark.parametrize("package", list(ALLOWED))
def test_back_ends_are_imported_when_they_are_needed(package: str) -> None:
    wrong = {
        str(file.relative_to(ROOT)): sorted(found)
        for file in files(package)
        if (found := {name for name, at_once in imports(file.read_text()) if at_once} & ONLY_WHEN_NEEDED)
    }
    assert not wrong, "import these inside the function that needs them"


@pytest.mark.parametrize(
    "statement",
    [
        "import spaces, evaluators, strategies",
        "import strategies.sampling, strategies.ranking, strategies.evolution, evaluators.settings, evaluators.randomness, evaluators.ranking",
        "from spaces import NASBench201; s = NASBench201(); s.cost_table()(s.enumerate()); s.parse(s.to_string(s.decode(s.enumerate()[:1])[0]))",
    ],
)
def test_torch_is_imported_when_it_is_needed(statement: str) -> None:
    """NNI gives a tuner ten seconds to connect."""
    code = f"{statement}\nimport sys\nprint(sorted({{'torch', 'nni', 'pytorch_lightning', 'sklearn'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (result.stdout.strip(), result.returncode) == ("[]", 0), result.stderr


@pytest.mark.parametrize("package", ["evaluators", "strategies"])
def test_public_names_exist(package: str) -> None:
    module = importlib.import_module(package)
    assert dir(module) and all(getattr(module, name) is not None for name in dir(module))
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Nothing'"):
        _ = module.Nothing


def test_our_strategies_leave_those_of_nni_usable() -> None:
    """NNI's two strategy modules import each other; in the wrong order its one-shot strategies are lost for the process."""
    code = "import strategies.rlnas, strategies.random_search; from nni.nas.strategy import DARTS; DARTS(); print('whole')"
    answer = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120)
    assert answer.stdout.strip() == "whole", answer.stderr
