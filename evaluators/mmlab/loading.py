"""Checkpoints of mmengine's, read without trusting them: tensors, numbers, texts and containers of these, nothing else.

mmengine reads a file that holds anything more as an ordinary pickle, which runs whatever code the file names. The
functions here take the place of its reader, for every way in which it reads weights: ``resume``, ``load_from``,
``init_cfg``.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.pickles import ArrayType, PlainArray, reconstruct
from ..errors import CheckpointError
from .installation import require_mm

REMEDY = "If you trust it, save its state_dict alone: torch.save({'state_dict': ...}, FILE), in a process of your own."


class _History:
    """Stands in for mmengine's ``HistoryBuffer``, the record of one number over the iterations."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = dict(state)


def _attribute(_: object, name: str) -> str:
    """Stands in for ``getattr``, which checkpoints call for methods that every ``HistoryBuffer`` has anyway."""
    return str(name)


def _scalar(kind: ArrayType, raw: bytes | str) -> np.generic:
    """Stands in for NumPy's function of that name."""
    content = raw.encode("latin1") if isinstance(raw, str) else raw
    number: np.generic = np.frombuffer(content, kind.dtype, count=1)[0]
    return number


STAND_INS: dict[str, Any] = {
    "mmengine.logging.history_buffer.HistoryBuffer": _History,
    "builtins.getattr": _attribute,
    "numpy.ndarray": PlainArray,
    "numpy.dtype": ArrayType,
    **{f"numpy.{core}.multiarray._reconstruct": reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
}
"""What mmengine's checkpoints name beside tensors, and what is made of it: nothing that a file names is called."""


def load_plain(file: str | Path | io.BytesIO, map_location: Any = None, weights_only: bool | None = None) -> Any:
    """A checkpoint of mmengine's, or a state dictionary.

    The text of a configuration in it, which mmengine would run as Python on resume, is left out.

    Args:
        weights_only: not heeded: nothing else is ever loaded.

    Raises:
        CheckpointError: unreadable, damaged, or more than weights, numbers and texts.
    """
    del weights_only
    name = "the checkpoint" if isinstance(file, io.BytesIO) else str(file)
    return _checked(name, lambda: torch.load(file, map_location=map_location, weights_only=True))


def download_plain(url: str, model_dir: str | None = None, map_location: Any = None, **options: Any) -> Any:
    """The same of a file at an address, which torch keeps in its folder of models.

    Raises:
        CheckpointError: as :func:`load_plain`.
    """
    plain = {**options, "map_location": map_location, "weights_only": True}
    return _checked(url, lambda: torch.hub.load_state_dict_from_url(url, model_dir, **plain))


def _checked(name: str, load: Callable[[], Any]) -> Any:
    try:
        with torch.serialization.safe_globals([(value, key) for key, value in STAND_INS.items()]):
            content = load()
        content = _genuine(content, require_mm("mmengine.logging").HistoryBuffer)
    except OSError as error:
        raise CheckpointError(f"{name} cannot be read ({error.strerror or error}).") from None
    except Exception as error:  # what torch and zipfile raise on damaged bytes has no common type
        raise CheckpointError(
            f"{name}: refused, it is damaged or not a file of plain weights ({_reason(error)}).", REMEDY
        ) from None
    meta = content.get("meta") if isinstance(content, dict) else None
    if isinstance(meta, dict):
        meta.pop("config", None)
    return content


def _reason(error: Exception) -> str:
    """What torch says of the cause, without its advice to trust the file after all."""
    words = " ".join(str(error).split())
    cause = words.rpartition("WeightsUnpickler error: ")[2].partition(" was not an allowed")[0]
    return cause.partition(" Check the documentation")[0][:150] or type(error).__name__


def _genuine(value: Any, history: Any) -> Any:
    """``value`` with arrays and records for what stood in for them."""
    if isinstance(value, PlainArray):
        return value.array.copy()
    if isinstance(value, _History):
        state = {key: _genuine(part, history) for key, part in value.state.items()}
        return history(state["_log_history"], state["_count_history"], int(state["max_length"]))
    if isinstance(value, dict):
        for key, part in value.items():
            value[key] = _genuine(part, history)
        return value
    if isinstance(value, list):
        value[:] = [_genuine(part, history) for part in value]
        return value
    if type(value) is tuple:
        return tuple(_genuine(part, history) for part in value)
    if isinstance(value, ArrayType):
        raise TypeError("a type without an array")
    return value


class _Torch:
    """torch, whose ``load`` is :func:`load_plain`."""

    load = staticmethod(load_plain)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def protect() -> None:
    """From now on mmengine reads every checkpoint of this process by :func:`load_plain`.

    Raises:
        MissingBackend: mmengine is missing.
    """
    module = require_mm("mmengine.runner.checkpoint")
    module.torch = _Torch()  # of mmengine before it had a reader of its own
    module._safe_torch_load, module.load_url = load_plain, download_plain
