"""The spaces of this package by the names under which experiment files know them. None is imported before it is built."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

from .base import SearchSpace
from .errors import SpaceError, closest, shown

SPACES = {
    "darts": "nni_plugins.spaces.cells:DARTS",
    "mobilenetlike": "nni_plugins.spaces.mobilenet:MobileNetLike",
    "nao": "nni_plugins.spaces.cells:NAO",
    "nasbench101": "nni_plugins.spaces.nasbench101:NASBench101",
    "nasbench201": "nni_plugins.spaces.nasbench201:NASBench201",
    "nasnet": "nni_plugins.spaces.cells:NASNet",
    "recurrent": "nni_plugins.spaces.recurrent:RecurrentCell",
    "robustdarts": "nni_plugins.spaces.cells:RobustDARTS",
}
"""The same as this distribution's entry points, for what may not look at those: ``spaces`` knows nothing of
``nni_plugins``.
"""


def check_name(name: object) -> str:
    """``name`` if there is such a space, otherwise a :class:`SpaceError` with close matches."""
    if not isinstance(name, str) or name not in SPACES:
        raise SpaceError(f"unknown space {shown(name)}; {closest(str(name), SPACES)}")
    return name


def build(name: str, arguments: Mapping[str, Any]) -> SearchSpace:
    """The space ``name`` with ``arguments``.

    Raises:
        SpaceError: no such space or argument, or a value that the space refuses.
    """
    module, _, attribute = SPACES[check_name(name)].partition(":")
    factory = getattr(import_module(module), attribute)
    known = list(inspect.signature(factory).parameters)
    for argument in arguments:
        if argument not in known:
            raise SpaceError(f"{shown(argument)}: no such argument of {name}; {closest(str(argument), known)}")
    return cast(SearchSpace, factory(**arguments))
