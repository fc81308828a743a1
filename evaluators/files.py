"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import csv
import errno
import glob
import io
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from nni_plugins.spaces.errors import shown

from .errors import CheckpointError, ConfigError

MAX_YAML_BYTES = 1_000_000
"""Longer files are no settings of anybody's."""
MAX_YAML_NODES, MAX_YAML_DEPTH = 20_000, 50
"""Nor are those with more values, or with more brackets in one another."""


def atomic_write(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` so that a crash at any instant leaves the old file or the new one.

    Raises:
        CheckpointError: the disk is full or read-only; the old file is intact.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):  # of a read-only disk, which must not hide the cause
            temporary.unlink()
        raise cannot_write(path, error) from None


def cannot_write(path: Path, error: OSError) -> CheckpointError:
    """What to tell a person of ``error``."""
    known = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the quota is used up",
        errno.EROFS: "the disk is read-only",
    }
    what = known.get(error.errno or 0, str(error.strerror))
    return CheckpointError(
        f"cannot write {path}: {what}.", "Make room or choose another folder, then run the same command again."
    )


UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO})


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Within, whatever cannot be written is a :class:`CheckpointError`, also where other packages write into ``folder``."""
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise cannot_write(Path(os.fsdecode(error.filename)) if error.filename else folder, error) from None


def _sweep(path: Path) -> None:
    """Remove what killed processes left of earlier writings of ``path``."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        number = left.name.removesuffix(".tmp").rpartition(".")[2]
        if number.isdecimal() and not _alive(int(number)):
            with contextlib.suppress(OSError):
                left.unlink()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # of somebody else, or no number of a process
        return True
    return True


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add ``row`` as a line of JSON.

    Raises:
        CheckpointError: the disk is full or read-only.
    """
    try:
        with open(path, "a") as file:
            file.write(json.dumps(row) + "\n")
    except OSError as error:
        raise cannot_write(path, error) from None


def csv_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """``rows`` with a header of all their keys, in the order in which they first come; what is missing, None or not
    finite is an empty cell.
    """
    given, buffer = list(rows), io.StringIO()
    names = list(dict.fromkeys(key for row in given for key in row))
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writerow({name: _cell(name) for name in names})
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in given)
    return buffer.getvalue()


FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How texts begin that spreadsheets take for formulas."""


def cell_text(cell: str) -> str:
    """The text that a cell of :func:`csv_text` was made of."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def _cell(value: Any) -> Any:
    """With an apostrophe before what would be a formula."""
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return "" if _empty(value) else value


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """:func:`csv_text` of ``rows``, atomically."""
    atomic_write(path, csv_text(rows).encode())


def write_json(path: Path, value: Any) -> None:
    """``value`` as indented JSON, atomically."""
    atomic_write(path, (json.dumps(value, indent=2) + "\n").encode())


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is no JSON, or is nested so deeply that no file of ours can be meant.
    """
    try:
        return json.loads(text.removeprefix("\ufeff") if isinstance(text, str) else text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path, remedy: str, schema: int | None = None) -> dict[str, Any]:
    """The content of a file of ours.

    Args:
        remedy: of a damaged file.
        schema: the newest that is read; None: the file has none.

    Raises:
        CheckpointError: it cannot be read, is no JSON object, or is of a newer schema.
    """
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError):
        raise CheckpointError(f"{path} is damaged.", remedy) from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is damaged: it holds no object.", remedy)
    if schema is not None:
        check_schema(path, content.get("schema"), schema, remedy)
    return content


def check_schema(path: Path, found: Any, newest: int, remedy: str) -> None:
    """
    Raises:
        CheckpointError: ``found`` is no schema, or one newer than ``newest``.
    """
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise CheckpointError(f"{path} is damaged: it has no schema.", remedy)
    if found > newest:
        raise CheckpointError(
            f"{path} has schema {found}; this version reads up to {newest}.", "Upgrade nni-plugins to use this file."
        )


WITHIN = re.compile(r"(?<![\w.:/~-])~?(?:/[^/\s'\"`,;:()\[\]{}<>|]+)+/([^/\s'\"`,;:()\[\]{}<>|]+)/?")
"""Absolute paths within a text, but not what stands behind the ``://`` of an address."""


def shareable(value: Any, root: Path | None = None) -> Any:
    """``value`` without absolute paths, for they tell the names of users and machines, and mean nothing elsewhere. A path
    below ``root`` is written from there; of another one only the name stays.
    """
    if isinstance(value, Mapping):
        return {key: shareable(part, root) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [shareable(part, root) for part in value]
    if not isinstance(value, str) or "/" not in value:
        return value
    if value.startswith(("/", "~/")) and "\n" not in value:
        path = Path(value)
        return str(path.relative_to(root)) if root is not None and root in path.parents else path.name
    return WITHIN.sub(r"\1", value)


def write_shareable(path: Path, value: Any) -> None:
    """``value`` as JSON that can be given to others, see :func:`shareable`; atomically."""
    write_json(path, shareable(value, path.parent))


def json_able(value: Any) -> Any:
    """``value`` with text as keys, lists for tuples, and null for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): json_able(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [json_able(part) for part in value]
    return None if _empty(value) else value


def delete_weights(folder: Path) -> None:
    """Remove the checkpoints below ``folder`` of finished trainings whose results are kept; their curves stay."""
    for path in [*folder.rglob("step-*"), *folder.rglob("initial.*")]:
        with contextlib.suppress(OSError):
            path.unlink()


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """Where two JSON values differ, one ``key: old -> new`` a line."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key in sorted({*old, *new})
            for line in differences(old.get(key), new.get(key), f"{place}.{key}" if place else key)
        ]
    return [] if old == new else [f"{place}: {old!r} -> {new!r}"]


def read_yaml(path: Path, what: str, remedy: str = "") -> dict[str, Any]:
    """The mapping in a YAML file.

    Args:
        what: such a file is, with its article, such as ``a recipe``.
        remedy: how to come by one.

    Raises:
        ConfigError: it cannot be read, is too long, is not YAML, or holds no mapping of names.
    """
    try:
        size = path.stat().st_size
        if size > MAX_YAML_BYTES:
            raise ConfigError(f"{path}: {size:,} bytes; at most {MAX_YAML_BYTES:,} are read.", f"Is this {what}?")
        content = parse_yaml(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}.", remedy or "Check the path.") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())[:200]}.", remedy) from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: {what} is a mapping, but this is {type(content).__name__}.", remedy)
    foreign = [shown(key) for key in content if not isinstance(key, str)]
    if foreign:
        raise ConfigError(f"{path}: keys must be names, but got {', '.join(foreign)}.", remedy)
    return content


def parse_yaml(text: str) -> Any:
    """The value of a YAML text: plain data, whatever it asks for, and no more of it than :data:`MAX_YAML_NODES`.

    Raises:
        ValueError: it is not YAML, has values that cannot be, such as a 13th month, or repeats itself by anchors until
            it is too large.
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _nodes(node, {}, set()) > MAX_YAML_NODES:
            raise ValueError(f"with its anchors it has more than {MAX_YAML_NODES:,} values")
        return loader.construct_document(node)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (yaml.YAMLError, LookupError, AttributeError, TypeError, OverflowError) as error:
        raise ValueError(str(error) or "a value that cannot be read") from None
    finally:
        if loader is not None:
            loader.dispose()


class _Loader(yaml.SafeLoader):
    """Stops as soon as a limit is passed: PyYAML needs seconds for every hundred kilobytes."""

    composed = 0

    def fetch_flow_collection_start(self, token: Any) -> None:
        if self.flow_level >= MAX_YAML_DEPTH:
            raise ValueError("it is nested too deeply")
        super().fetch_flow_collection_start(token)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Of a key that stands twice YAML's readers take the last, and do not say so."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise ValueError(f"line {key.start_mark.line + 1}: the key {shown(key.value)} stands twice")
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.composed += 1
        if self.composed > MAX_YAML_NODES:
            raise ValueError(f"it has more than {MAX_YAML_NODES:,} values")
        return super().compose_node(parent, index)


def _nodes(node: yaml.Node, known: dict[int, int], open_: set[int]) -> int:
    """How many values ``node`` has, those that anchors repeat each time."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in open_:
        raise ValueError("an anchor repeats what it is in itself")
    if id(node) not in known:
        open_.add(id(node))
        inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_nodes(part, known, open_) for part in inner)
        open_.remove(id(node))
    return known[id(node)]
