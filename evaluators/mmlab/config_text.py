"""Configuration files of mmengine as Python text that people can read, and changes of their values by dotted keys."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ..overrides import changed_values

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
    variables = {name: value for _, values in sections for name, value in values.items()}
    new = changed_values(
        variables, changes, "Keys are those of the written file, such as train_dataloader.num_workers."
    )
    return [(comment, {name: new[name] for name in values}) for comment, values in sections]


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
