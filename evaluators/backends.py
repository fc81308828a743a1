"""The one gate to optional back-ends: imported when they are needed, and a missing one names the line that installs it."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import MissingBackend


def require(module: str, extra: str) -> Any:
    """The imported ``module``, which comes with ``pip install "nni-plugins[extra]"``.

    Raises:
        MissingBackend: it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        missing = isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == package
        problem = f"{package} is not installed." if missing else f"{package} cannot be imported: {error}"
        raise MissingBackend(problem, f'Install it: pip install "nni-plugins[{extra}]"') from None
