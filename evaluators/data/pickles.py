"""Pickles of arrays, read without trusting them: nothing that a file names is imported."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError


class ArrayType:
    """Stands in for ``numpy.dtype``. NumPy's own takes flags from the file, by which raw bytes can pass for pointers."""

    def __init__(self, code: str | bytes, *_: object) -> None:
        self.dtype = np.dtype(code.decode() if isinstance(code, bytes) else code)
        if self.dtype.kind not in "iufb":
            raise pickle.UnpicklingError(f"arrays of {self.dtype} have no place here")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class PlainArray:
    """Stands in for ``numpy.ndarray``."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, raw = state
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        self.array = np.frombuffer(raw, kind.dtype).reshape(shape, order="F" if fortran else "C")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1" if encoding in ("latin1", "latin-1") else "ascii")


def reconstruct(*_: object) -> PlainArray:
    """Stands in for NumPy's function of that name, which begins an array."""
    return PlainArray()


ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): reconstruct,
    ("numpy", "ndarray"): PlainArray,
    ("numpy", "dtype"): ArrayType,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    """Admits arrays of numbers and plain containers; nothing that a file names is imported."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise _Refused(f"{module}.{name}")
        return ADMITTED[module, name]


class _Refused(Exception):
    pass


def unpickle(file: Path) -> dict[str, Any]:
    """The dictionary in ``file``, its keys as text and its arrays as arrays, whichever Python wrote it.

    Raises:
        DataError: damaged, something else than a dictionary, or a file that wants to import something.
    """
    try:
        with open(file, "rb") as stream:
            content = _Unpickler(stream, encoding="latin1").load()
        if not isinstance(content, dict):
            raise TypeError(f"a dictionary was expected, not {type(content).__name__}")
        plain = {key.decode() if isinstance(key, bytes) else key: value for key, value in content.items()}
        return {key: value.array if isinstance(value, PlainArray) else value for key, value in plain.items()}
    except _Refused as refused:
        raise DataError(
            f"{file}: refused, because it wants to import {refused}.",
            "Arrays need no such thing; download it again.",
        ) from None
    except Exception as error:
        raise DataError(
            f"{file}: truncated or damaged ({str(error) or type(error).__name__}).", "Download it again."
        ) from None
