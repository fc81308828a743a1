"""The one gate to optional back-ends: imported when they are needed, and a missing one names the line that installs it."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import shlex
from pathlib import Path
from typing import Any

from .errors import MissingBackend

DISTRIBUTION = "nni-plugins"
_CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"


def require(module: str, extra: str) -> Any:
    """The imported ``module``, which comes with the extra of that name.

    Raises:
        MissingBackend: it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        missing = isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == package
        problem = f"{package} is not installed." if missing else f"{package} cannot be imported: {error}"
        raise MissingBackend(problem, f"Install it: {install_line(extra)}") from None


def install_line(extra: str | None = None, only: str | None = None) -> str:
    """What to type to install the packages of ``extra``, or of the requirements of everything ``only`` the one of that name.

    It names what is needed instead of this package, which no index has, so it holds in a clone and beside a wheel. In a
    clone it takes the versions that were tested.
    """
    wanted = []
    for line in importlib.metadata.requires(DISTRIBUTION) or ():
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        belongs = re.search(r"""extra == ['"]([\w-]+)['"]""", marker)
        name = re.match(r"[\w.-]+", requirement)
        if (belongs[1] if belongs else None) == extra and (only is None or (name and name[0] == only)):
            wanted.append(shlex.quote(requirement))
    constraint = f" --constraint {shlex.quote(str(_CONSTRAINTS))}" if _CONSTRAINTS.is_file() else ""
    return f"pip install {' '.join(wanted)}{constraint}"
