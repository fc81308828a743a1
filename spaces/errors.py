"""The root of every error that this project raises on purpose.

An error says in one line what is wrong, with the values, and in one line what to do about it. Command-line entry points
print both and exit with :attr:`NNIPluginsError.exit_status`; a traceback is only ever a bug of ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class NNIPluginsError(Exception):
    """Base class: ``problem`` says what is wrong, ``remedy`` what to do (may be empty). Signs that a terminal would obey,
    such as those of keys and names in files, are written out.
    """

    exit_status: ClassVar[int] = 2

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem, self.remedy = printable(problem), printable(remedy)
        super().__init__(self.problem, self.remedy)

    def __str__(self) -> str:
        return f"{self.problem}\n{self.remedy}" if self.remedy else self.problem


class SpaceError(NNIPluginsError):
    """An architecture or a search space that does not hold together; the message names the place and the allowed
    values.
    """


class ConfigError(NNIPluginsError):
    """A configuration that cannot be used; all its problems are in one message."""


def shown(value: object, length: int = 80) -> str:
    """``repr(value)``, cut to about ``length`` characters: a message stays one line even where the value is a megabyte."""
    try:
        text = repr(value[: length + 1] if isinstance(value, str | bytes) else value)
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"
    return text if len(text) <= length else f"{text[:length]}..."


def printable(text: str) -> str:
    """``text`` for a terminal: control characters but line breaks, which may stand in names of files and classes, and
    what no encoding can write, as Python writes them in a string.
    """
    return "".join(
        sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape").decode() for sign in text
    )


def closest(name: str, options: Iterable[str]) -> str:
    """``name`` with its closest matches among ``options``: the second half of an error message."""
    known = sorted(options)
    matches = difflib.get_close_matches(str(name)[:100], known, n=3, cutoff=0.5)
    if matches:
        return "did you mean " + " or ".join(repr(m) for m in matches) + "?"
    return "known: " + ", ".join(known)
