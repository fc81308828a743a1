"""Rules that keep the packages apart: who may import whom, what may be imported when, and what must stay free of torch."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from .import_graph import FLOORS, ROOT, Import, circles, files, floor_of, graph, imports, module_of

ONLY_WHEN_NEEDED = {"timm", "mmdet", "mmseg", "mmengine", "mmcv", "graphviz", "matplotlib"}
"""Optional back-ends, and what is slow to import: never at module level."""


def test_the_reader_of_imports() -> None:
    source = """
import a.b, c
from d.e import f
from . import g
from ..h import i
if TYPE_CHECKING:
    import j
else:
    import k
class K:
    import l
    def m(self):
        from n import o
"""
    assert list(imports(source, "x.y.z")) == [
        Import("a.b", True, False),
        Import("c", True, False),
        Import("d.e.f", True, False),
        Import("x.y.z.g", True, False),
        Import("x.y.h.i", True, False),
        Import("j", False, True),
        Import("k", True, False),
        Import("l", True, False),
        Import("n.o", False, False),
    ]


def test_the_finder_of_circles() -> None:
    arrows = {
        name: frozenset(to.split())
        for name, to in {"a": "b", "b": "c", "c": "b", "d": "a e", "e": "f", "f": "d"}.items()
    }
    assert circles(arrows) == [["b", "c"], ["d", "e", "f"]]
    assert circles({"a": frozenset("b"), "b": frozenset()}) == []


@pytest.mark.parametrize("floor", FLOORS)
def test_directions(floor: str) -> None:
    assert files(floor), f"{floor} has no modules"
    allowed = {"", *FLOORS[: FLOORS.index(floor) + 1]}
    wrong = {}
    for path in files(floor):
        package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
        names = [one.target for one in imports(path.read_text(), package)]
        above = [name for name in names if floor_of(name) not in allowed]
        outside = [
            name for name in names if name.partition(".")[0] in {*FLOORS[:-1], "tests", "benchmarks", "examples"}
        ]
        if above or outside:
            wrong[str(path.relative_to(ROOT))] = above + outside
    assert not wrong, f"{floor} may import only {sorted(allowed - {''})}, as nni_plugins.*"


def test_circles_of_imports() -> None:
    """Only inside one space: the description builds its networks, and they know what they were built from."""
    assert len(graph()) > 300
    assert [group for group in circles(graph()) if not _of_one_space(group)] == []


def _of_one_space(group: list[str]) -> bool:
    return len({name.rpartition(".")[0] for name in group}) == 1 and group[0].startswith("nni_plugins.spaces.")


@pytest.mark.parametrize("floor", FLOORS)
def test_back_ends_are_imported_when_they_are_needed(floor: str) -> None:
    wrong = {}
    for path in files(floor):
        at_once = {one.target.partition(".")[0] for one in imports(path.read_text(), "x") if one.at_once}
        if at_once & ONLY_WHEN_NEEDED:
            wrong[str(path.relative_to(ROOT))] = sorted(at_once & ONLY_WHEN_NEEDED)
    assert not wrong, "import these inside the function that needs them"


@pytest.mark.parametrize(
    "statement",
    [
        "import nni_plugins.spaces, nni_plugins.evaluators, nni_plugins.strategies",
        "from nni_plugins.strategies import drawing, ranking, evolution",
        "from nni_plugins.evaluators import settings, randomness; from nni_plugins.evaluators.statistics import ranking",
        "from nni_plugins.spaces import NASBench201; s = NASBench201(); s.cost_table()(s.enumerate()); s.parse(s.to_string(s.decode(s.enumerate()[:1])[0]))",
    ],
)
def test_torch_is_imported_when_it_is_needed(statement: str) -> None:
    """NNI gives a tuner ten seconds to connect."""
    code = (
        f"{statement}\nimport sys\nprint(sorted({{'torch', 'nni', 'pytorch_lightning', 'sklearn'}} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (result.stdout.strip(), result.returncode) == ("[]", 0), result.stderr


@pytest.mark.parametrize("package", ["evaluators", "strategies"])
def test_public_names_exist(package: str) -> None:
    module = importlib.import_module(f"nni_plugins.{package}")
    assert dir(module) and all(getattr(module, name) is not None for name in dir(module))
    with pytest.raises(AttributeError, match=f"module 'nni_plugins.{package}' has no attribute 'Nothing'"):
        _ = module.Nothing


def test_our_strategies_leave_those_of_nni_usable() -> None:
    """NNI's two strategy modules import each other; in the wrong order its one-shot strategies are lost for the
    process.
    """
    ours = "import nni_plugins.strategies.rlnas.search, nni_plugins.strategies.random.random_search"
    code = f"{ours}; from nni.nas.strategy import DARTS; DARTS(); print('whole')"
    answer = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120)
    assert answer.stdout.strip() == "whole", answer.stderr
