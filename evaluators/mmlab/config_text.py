"""Configuration files of mmengine as Python text that people can read, and changes of their values by dotted keys."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from keyword import iskeyword
from typing import Any

from nni_plugins.spaces.errors import shown

from ..errors import ConfigError
from ..overrides import changed_values

WIDTH = 120
NOTICE = "# A configuration file of mmengine's is Python code, which whoever opens it runs.\n#"
Section = tuple[str, dict[str, Any]]
"""A comment, and variables with their values."""


def text(heading: str, sections: Sequence[Section]) -> str:
    """The file: ``heading`` and the comment of each section as comments, each variable as an assignment.

    Whatever the values and comments are, Python and mmengine read back these values and run nothing of them.
    """
    parts = [f"{NOTICE}\n{_comment(heading)}"]
    for comment, variables in sections:
        lines = [f"{name} = {literal(value, len(name) + 3)}" for name, value in variables.items()]
        parts.append("\n".join([_comment(comment), *lines]))
    return "\n\n".join(parts) + "\n"


def literal(value: Any, used: int = 0, indent: int = 0) -> str:
    """``value`` as Python, in one line if it fits behind ``used`` characters, otherwise one entry a line."""
    entries, brackets = _entries(value)
    if entries is None:
        return _text(value) if isinstance(value, str) else _number(value)
    short = ", ".join(f"{key}{literal(entry, -(10**9))}" for key, entry in entries)
    closing = "," if isinstance(value, tuple) and len(value) == 1 else ""
    if used + indent + len(short) + 2 <= WIDTH:
        return f"{brackets[0]}{short}{closing}{brackets[1]}"
    inside = indent + 4
    if not isinstance(value, Mapping) and not any(isinstance(entry, Mapping | list | tuple) for _, entry in entries):
        filled = textwrap.fill(
            f"{short},",
            WIDTH,
            initial_indent=" " * inside,
            subsequent_indent=" " * inside,
            break_long_words=False,
            break_on_hyphens=False,
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
        if all(isinstance(key, str) and key.isascii() and key.isidentifier() and not iskeyword(key) for key in value):
            return [(f"{key}=", entry) for key, entry in value.items()], ("dict(", ")")
        return [(f"{literal(key)}: ", entry) for key, entry in value.items()], ("{", "}")
    if isinstance(value, list | tuple):
        return [("", entry) for entry in value], ("[", "]") if isinstance(value, list) else ("(", ")")
    return None, ("", "")


def _number(value: Any) -> str:
    """Also truth values and None."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    raise ConfigError(
        f"{shown(value)} has no place in a configuration file.", "Give numbers, texts, lists or mappings."
    )


def _text(value: str) -> str:
    """In double quotes where that needs no backslash. ASCII only, for whoever reads the file in another encoding; and
    mmengine, which fills in ``{{ ... }}`` wherever it stands, finds none.
    """
    given = ascii(value)
    quoted = given if '"' in value or given.startswith('"') else f'"{given[1:-1]}"'
    return without_templates(quoted)


def without_templates(code: str) -> str:
    """Python code whose texts mean what they meant, in which mmengine finds no ``{{``: outside of a text no code needs
    one.
    """
    return code.replace("{{", "{\\x7b")


def _comment(words: str) -> str:
    """No line break but those of :meth:`str.splitlines` ends a comment; what mmengine would fill in is taken apart, for
    its values may have line breaks.
    """
    plain = (line.encode("ascii", "backslashreplace").decode() for line in words.splitlines())
    return "\n".join(f"# {re.sub('{(?={)', '{ ', line)}".rstrip() for line in plain)
