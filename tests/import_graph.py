"""Who imports whom, read from the syntax trees of our packages."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FLOORS = ("spaces", "evaluators", "strategies", "nni_plugins")
"""Folders, from the ground up. The first three are also links in the last, so that they are imported as ``nni_plugins.spaces`` and so on."""


class Import(NamedTuple):
    """``at_once``: it runs when the module is imported; ``typing``: only type checkers see it."""

    target: str
    at_once: bool
    typing: bool


def files(floor: str) -> list[Path]:
    """All modules below one of :data:`FLOORS`; links are not followed."""
    return [path for path in sorted((ROOT / floor).rglob("*.py")) if not any(p.is_symlink() for p in path.parents)]


def module_of(path: Path) -> str:
    """The name under which the file is imported."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts if parts[0] == "nni_plugins" else ["nni_plugins", *parts])


def floor_of(module: str) -> str:
    """Which of :data:`FLOORS` a module of ours lies on; ``""``: it is none of ours."""
    parts = module.split(".")
    if parts[0] != "nni_plugins":
        return ""
    return parts[1] if len(parts) > 1 and parts[1] in FLOORS[:-1] else "nni_plugins"


def imports(source: str, package: str = "") -> Iterator[Import]:
    """Every import of ``source``, whose relative ones start from ``package``; of ``from a import b`` both a.b and a."""

    def visit(node: ast.AST, at_once: bool, typing: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, at_once, typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (Import(f"{module}.{alias.name}", at_once, typing) for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for child in node.body:
                yield from visit(child, False, True)
            for child in node.orelse:
                yield from visit(child, at_once, typing)
        else:
            inside = at_once and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, inside, typing)

    yield from visit(ast.parse(source), True, False)


@cache
def graph() -> dict[str, frozenset[str]]:
    """Module of ours -> modules of ours that it imports, inside functions and for type checkers too.

    A package imports nothing of what its lazy ``__init__`` offers, and ``from package import module`` imports the module.
    """
    sources = {module_of(path): path for floor in FLOORS for path in files(floor)}
    arrows = {}
    for module, path in sources.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        found = set()
        for target, _, _ in imports(path.read_text(), package):
            known = target if target in sources else target.rpartition(".")[0]
            if known in sources and known != module:
                found.add(known)
        arrows[module] = frozenset(found)
    return arrows


def circles(arrows: Mapping[str, frozenset[str]]) -> list[list[str]]:
    """Strongly connected groups of more than one module (Tarjan, without recursion)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups = []
    for root in arrows:
        if root in index:
            continue
        work = [(root, iter(sorted(arrows[root])))]
        index[root] = low[root] = len(index)
        stack.append(root)
        while work:
            node, rest = work[-1]
            for target in rest:
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    work.append((target, iter(sorted(arrows[target]))))
                    break
                if target in stack:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    group = []
                    while True:
                        group.append(stack.pop())
                        if group[-1] == node:
                            break
                    if len(group) > 1:
                        groups.append(sorted(group))
    return sorted(groups)
