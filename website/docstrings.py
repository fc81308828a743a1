"""For the API reference: late public names of packages, and docstrings as Markdown.

Some packages import their public names late (``nni_plugins.spaces.lazy``). Griffe reads source without running it, so it
knows nothing of a module-level ``__getattr__``. This extension reads ``lazy(__name__, {module: [names]})`` and gives the
package an alias, and an entry in ``__all__``, for each name.
"""

from __future__ import annotations

import ast
import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|file|exc):(?=`)")
CODE = re.compile(r"(``.+?``|`.+?`)", re.DOTALL)


def markdown(text: str) -> str:
    """A docstring with its roles as plain code, its blocks (``::``) as Markdown's, and no ``<`` that would begin a tag."""
    text = re.sub(r"::\n\n(?=    )", ":\n\n", ROLE.sub("", text))
    parts = CODE.split(text)
    return "".join(part if index % 2 else re.sub(r"<(?=[A-Za-z/])", "&lt;", part) for index, part in enumerate(parts))


def lazy_names(tree: ast.Module) -> dict[str, str]:
    """Of a package's source: each late name, and the submodule that has it."""
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "lazy":
            mapping = node.args[1]
            if isinstance(mapping, ast.Name):
                mapping = constants[mapping.id]
            names |= {name: module for module, found in ast.literal_eval(mapping).items() for name in found}
    return names


class Docstrings(griffe.Extension):
    """Adds late names to every package that has some, and makes docstrings Markdown."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for each object that was read."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)

    def on_module(self, *, mod: griffe.Module, **kwargs: Any) -> None:
        """Called for each module that was read."""
        if not mod.is_init_module or "lazy" not in mod.source:
            return
        names = lazy_names(ast.parse(mod.source))
        for name, module in names.items():
            if name not in mod.members:  # a submodule of the same name is documented by its own path
                mod.members[name] = griffe.Alias(name, f"{mod.path}.{module}.{name}", parent=mod)
        if names:
            mod.exports = sorted(names)
