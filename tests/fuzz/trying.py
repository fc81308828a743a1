"""How often each property is tried, and what may come of it."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, configuration, settings

from nni_plugins.spaces.errors import NNIPluginsError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
configuration.set_hypothesis_home_dir(
    Path(tempfile.gettempdir()) / "nni-plugins-fuzz"
)  # nothing stays in the repository
T = TypeVar("T")
Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def fuzz(few: int) -> Decorator:
    """``few`` fixed examples, or as many new ones as the environment asks for."""
    return settings(
        max_examples=EXAMPLES or few,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def tried(call: Callable[[], T]) -> T | NNIPluginsError:
    """What ``call`` gives, or the error that it was refused with, which must be one for people."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call()
        except NNIPluginsError as error:
            assert error.problem and "Traceback" not in str(error) and "\0" not in str(error)
            return error
