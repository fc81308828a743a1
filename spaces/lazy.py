"""Public names that are imported when they are first used.

NNI gives a tuner ten seconds to connect, and importing torch takes several of them, so no package of ours imports torch
just because its name was mentioned. ``__getattr__, __dir__ = lazy(__name__, {"module": ["Name", ...]})`` in an
``__init__.py`` does that (PEP 562).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy(package: str, modules: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Module-level ``__getattr__`` and ``__dir__`` for ``package``; ``modules`` maps a submodule to its public names."""
    home = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{home[name]}"), name)

    def directory() -> list[str]:
        return sorted(home)

    return get, directory
