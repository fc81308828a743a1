"""Configuration files of mmengine as Python text that people can read, and changes of their values by dotted keys."""

from __future__ import annotations

import copy
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from nni_plugins.spaces.errors import closest

from ..errors import ConfigError

WIDTH = 120
Section = tuple[str, dict[str, Any]]
"""A comment, and variables with their values."""


def text(heading: str, sections: Sequence[Section]) -> str:
    """The file: ``heading`` and the comment of each section as comments, each variable as an assignment."""
    parts = [_comment(heading)]
    for comment, variables in sections:
        lines = [f"{name} = {literal(value, len(name) + 3)}" for name, value in variables.items()]
        parts.append("\n".join([_comment(comment), *lines]))
    return "\n\n".join(parts) + "\n"


def literal(value: Any, used: int = 0, indent: int = 0) -> str:
    """``value`` as Python, in one line if it fits behind ``used`` characters, otherwise one entry a line."""
    entries, brackets = _entries(value)
    if entries is None:
        return _text(value) if isinstance(value, str) else repr(value)
    short = ", ".join(f"{key}{literal(entry, -(10**9))}" for key, entry in entries)
    closing = "," if isinstance(value, tuple) and len(value) == 1 else ""
    if used + indent + len(short) + 2 <= WIDTH:
        return f"{brackets[0]}{short}{closing}{brackets[1]}"
    inside = indent + 4
    if not isinstance(value, Mapping) and not any(isinstance(entry, Mapping | list | tuple) for _, entry in entries):
        filled = textwrap.fill(
            f"{short},", WIDTH, initial_indent=" " * inside, subsequent_indent=" " * inside, break_long_words=False
        )
        if all(" " not in entry for _, entry in entries if isinstance(entry, str)):  # which would be broken
            return f"{brackets[0]}\n{filled}\n{' ' * indent}{brackets[1]}"
    lines = [f"{' ' * inside}{key}{literal(entry, len(key) + 1, inside)}," for key, entry in entries]
    return "\n".join([brackets[0], *lines, f"{' ' * indent}{brackets[1]}"])


def changed(sections: Sequence[Section], changes: Mapping[str, Any]) -> list[Section]:
    """``sections`` with other values, by keys such as ``train_dataloader.num_workers`` or ``param_scheduler.0.end``.

    The last part of a key may be new, as mmengine's classes have many arguments that no file lists.

    Raises:
        ConfigError: keys whose other parts do not exist; all of them at once.
    """
    new = [(comment, copy.deepcopy(variables)) for comment, variables in sections]
    variables = {name: values for _, values in new for name in values}
    problems = []
    for key, value in changes.items():
        first, *rest = key.split(".")
        if first not in variables:
            problems.append(f"{key}: the file has no {first}; {closest(first, variables)}")
            continue
        *path, last = [first, *rest]
        place: Any = variables[first]
        for part in path:
            if not _has(place, part):
                problems.append(f"{key}: no {part}; {closest(part, _names(place))}")
                break
            place = place[int(part)] if isinstance(place, list) else place[part]
        else:
            if isinstance(place, list) and _has(place, last):
                place[int(last)] = value
            elif isinstance(place, dict):
                place[last] = value
            else:
                problems.append(f"{key}: {'.'.join(path)} has no place called {last}")
    if problems:
        raise ConfigError(
            "; ".join(problems), "Keys are those of the written file, such as train_dataloader.num_workers."
        )
    return new


def _has(place: Any, part: str) -> bool:
    return (
        part in place
        if isinstance(place, dict)
        else isinstance(place, list) and part.isdigit() and int(part) < len(place)
    )


def _names(place: Any) -> list[str]:
    return (
        list(place)
        if isinstance(place, dict)
        else [str(i) for i in range(len(place))]
        if isinstance(place, list)
        else ["(none)"]
    )


def _entries(value: Any) -> tuple[list[tuple[str, Any]] | None, tuple[str, str]]:
    """What stands before each entry, and the entries; None for a value that has none."""
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and key.isidentifier() for key in value):
            return [(f"{key}=", entry) for key, entry in value.items()], ("dict(", ")")
        return [(f"{literal(key)}: ", entry) for key, entry in value.items()], ("{", "}")
    if isinstance(value, list | tuple):
        return [("", entry) for entry in value], ("[", "]") if isinstance(value, list) else ("(", ")")
    return None, ("", "")


def _text(value: str) -> str:
    shown = repr(value)
    return shown if '"' in value or shown.startswith('"') else f'"{shown[1:-1]}"'.replace("\\'", "'")


def _comment(words: str) -> str:
    return "\n".join(f"# {line}".rstrip() for line in words.splitlines())
