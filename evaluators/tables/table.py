"""Look-up of tabulated results instead of training: any CSV or NPZ of architectures and metrics, and readers for known
tables.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.errors import SpaceError, closest
from nni_plugins.spaces.nasbench201 import NASBench201

from ..errors import ConfigError, TableError
from ..files import cell_text

ARCHITECTURE_COLUMNS = ("architecture", "arch_str")
FORM_COLUMN = "canonical"
"""Of tables with a row for each distinct architecture: ``space.canonical``, for NAS-Bench-101 the benchmark's own hash."""
IMAGES_COLUMN = "images"
MAX_BYTES = 2**28
"""A longer text is no table of anybody's."""
NASBENCH201_METRICS = {
    "cifar10": "cifar10_test_200",
    "cifar100": "cifar100_test_200",
    "imagenet16-120": "imagenet16_test_200",
}
"""Test accuracy in percent after 200 epochs, mean over the benchmark's seeds, by data set."""


@dataclass(frozen=True)
class Table:
    """``architectures`` and, for each metric, as many values (NaN where the table has none). A table of distinct
    architectures has instead their canonical ``forms``, and no architectures: symmetric twins have one value. ``images``:
    the data set that they were measured on, where the table says so.
    """

    name: str
    space: SearchSpace
    architectures: tuple[Architecture, ...]
    metrics: Mapping[str, npt.NDArray[np.float64]]
    forms: tuple[str, ...] = ()
    images: str | None = None

    @cached_property
    def _rows(self) -> dict[Architecture | str, int]:
        keys: tuple[Architecture | str, ...] = self.forms or self.architectures
        return {key: row for row, key in enumerate(keys)}

    def metric(self, name: str) -> npt.NDArray[np.float64]:
        """(n,) float64 in the order of ``architectures``.

        Raises:
            TableError: no such metric.
        """
        if name not in self.metrics:
            raise TableError(f"{self.name} has no metric {name!r}; {closest(name, self.metrics)}")
        return self.metrics[name]

    def check_whole(self, metric: str) -> None:
        """Refuse gaps before anything is looked up, instead of in the middle of a search.

        Raises:
            TableError: no such metric, or an architecture without a value.
        """
        gaps = np.flatnonzero(np.isnan(self.metric(metric)))
        if len(gaps):
            more = f" and {len(gaps) - 1:,} more" if len(gaps) > 1 else ""
            first = self.forms[gaps[0]] if self.forms else self.space.to_string(self.architectures[gaps[0]])
            raise TableError(
                f"{self.name} has no {metric} for {first}{more}.",
                "Use another metric, or leave these architectures out.",
            )

    def value(self, architecture: Architecture, metric: str) -> float:
        """One architecture's metric.

        Raises:
            TableError: no such architecture, metric, or value.
        """
        values = self.metric(metric)
        known = self.space.check(architecture)
        row = self._rows.get(self.space.canonical(known) if self.forms else known)
        if row is None or math.isnan(values[row]):
            raise TableError(
                f"{self.name} has no {metric} for {self.space.to_string(architecture)}.",
                "Train it stand-alone, or use another metric.",
            )
        return float(values[row])

    def values(self, architectures: Iterable[Architecture], metric: str) -> npt.NDArray[np.float64]:
        """:meth:`value` of many: (n,)."""
        return np.array([self.value(architecture, metric) for architecture in architectures])


def read_table(path: str | Path, space: SearchSpace, forms: bool = False) -> Table:
    """Read a CSV (``.csv``, ``.csv.gz``) with one row an architecture, or an NPZ with equally long arrays.

    The column (or array) ``architecture`` or ``arch_str`` holds the space's native string; every numeric one is a
    metric. A value may be missing (an empty cell, or NaN), but not be infinite. The column ``images``, if there is one,
    names the data set that all of it was measured on.

    Args:
        forms: a table without such a column may have ``canonical`` in its place, the forms of distinct architectures.

    Raises:
        TableError: unreadable, damaged, wants to run code, an unknown architecture, no metric, or an infinite value.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror or error}.", "Check the path.") from None
    try:
        columns = _npz(content) if path.suffix == ".npz" else _csv(content, path.suffix == ".gz")
        return _table(path.name, space, columns, forms)
    except SpaceError as error:
        raise TableError(f"{path}: {error.problem}", error.remedy) from None
    except Exception as error:  # what csv, gzip, zipfile and NumPy raise on damaged bytes has no common type
        raise TableError(
            f"{path}: refused, it is not a plain table ({str(error)[:100]}).",
            "Use a CSV file, or an NPZ file without pickled objects.",
        ) from None


def open_table(name: str, space: SearchSpace, key: str, forms: bool = False) -> Table:
    """The table ``digits``, or that in a file; ``key``: what stands before the message if it is of another space;
    ``forms``: as :func:`read_table` takes it.

    Raises:
        TableError: it cannot be read; ConfigError: it is of another space.
    """
    table = digits_table() if name == "digits" else read_table(Path(name).expanduser(), space, forms)
    if (table.space.name, table.space.decisions) != (space.name, space.decisions):
        raise ConfigError(f"{key}: {table.name} is of {table.space!r}, but the experiment searches {space!r}.")
    return table


def digits_table() -> Table:
    """Our own ground truth, made by ``benchmarks/make_digits_table.py``: 125 three-node cells; ``accuracy`` is the mean
    of five seeds.
    """
    space = NASBench201(nodes=3, channels=8, cells_per_stage=1)
    content = files("nni_plugins.evaluators").joinpath("tables/digits_3nodes.csv").read_bytes()
    return replace(_table("digits_3nodes.csv", space, _csv(content, False)), images="digits")


def check_images(table: Table, data: Any, key: str, other_images: bool) -> None:
    """Refuse results on other images than ``data``, settings of images or None, unless ``other_images`` are meant.

    Raises:
        ConfigError: the table names other ones; ``key`` stands before the message.
    """
    source = getattr(data, "source", None)
    if None in (table.images, source) or table.images == source or other_images:
        return
    place = f" {data.path}" if data.path is not None else ""
    raise ConfigError(
        f"{key}: {table.name} has results on {table.images}, but the images here are {source}{place}.",
        "Take a table of these images, or none; other_images: true beside it takes this one all the same.",
    )


def nasbench201_table(path: str | Path) -> Table:
    """All 15,625 cells, laid out with one column a metric (see :data:`NASBENCH201_METRICS`); ``path`` is the file or
    its folder.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "nb201_table.csv.gz"
    table = read_table(path, NASBench201())
    missing = [column for column in NASBENCH201_METRICS.values() if column not in table.metrics]
    if missing or len(table.architectures) != table.space.size:
        raise TableError(
            f"{path}: {len(table.architectures):,} of {table.space.size:,} architectures, missing columns {missing}.",
            "Use the full table.",
        )
    return table


def _csv(content: bytes, compressed: bool) -> dict[str, list[str]]:
    text = (_decompressed(content) if compressed else content).decode("utf-8-sig")
    reader = csv.DictReader(io.StringIO(text), strict=True)
    rows = list(reader)
    if not rows or any(None in row or None in row.values() for row in rows):
        raise ValueError("no rows" if not rows else "rows of different lengths")
    return {cell_text(column): [cell_text(row[column]) for row in rows] for column in reader.fieldnames or ()}


def _decompressed(content: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise ValueError(f"it is more than {MAX_BYTES:,} bytes long")
    return text


def _npz(content: bytes) -> dict[str, list[str]]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: [str(value) for value in arrays[name].tolist()] for name in arrays.files}


UNKNOWN = frozenset({"", "na", "n/a", "nan", "none", "null", "-", "?"})
"""How people write that a value is not known."""
DECIMAL_COMMA = re.compile(r"[+-]?\d+,(?:\d{1,2}|\d{4,})")
"""Three digits behind a comma may be thousands, and are refused."""


def _number(text: str) -> float:
    """Also of ``91.5%`` and ``91,5``."""
    text = text.strip().removesuffix("%").strip()
    if text.lower() in UNKNOWN:
        return math.nan
    return float(text.replace(",", ".") if DECIMAL_COMMA.fullmatch(text) else text)


def _numbers(column: str, rows: list[str], values: list[str]) -> npt.NDArray[np.float64] | None:
    """(n,); None of a column of texts, such as comments.

    Raises:
        ValueError: most are numbers, and one is none.
    """
    numbers, wrong = [], []
    for row, text in zip(rows, values, strict=True):
        try:
            numbers.append(_number(text))
        except ValueError:
            wrong.append((row, text))
    known = len(numbers) - sum(map(math.isnan, numbers))
    if wrong and known > len(wrong):
        row, text = wrong[0]
        raise ValueError(f"{column} of {row} is {text[:40]!r}, which is no number")
    return None if wrong else np.array(numbers)


def _table(name: str, space: SearchSpace, columns: Mapping[str, list[str]], forms: bool = False) -> Table:
    keys = (*ARCHITECTURE_COLUMNS, *[FORM_COLUMN] * forms)
    key = next((column for column in keys if column in columns), None)
    if key is None or len({len(values) for values in columns.values()}) != 1:
        raise ValueError(
            f"needs a column {' or '.join(keys)} and equally long columns, but has {', '.join(columns) or 'none'}"
        )
    metrics = {}
    images = set(columns.get(IMAGES_COLUMN, ()))
    if len(images) > 1:
        raise ValueError(f"{IMAGES_COLUMN} must be the same in all rows, but is {', '.join(sorted(images))[:60]}")
    for column, values in columns.items():
        if column in (key, IMAGES_COLUMN):
            continue
        numbers = _numbers(column, columns[key], values)
        if numbers is not None:
            metrics[column] = numbers
    if not metrics:
        raise ValueError("no numeric column")
    rows = tuple(columns[key]) if key == FORM_COLUMN else ()
    architectures = () if rows else tuple(space.parse(text) for text in columns[key])
    for column, given in metrics.items():
        if np.isinf(given).any():
            row = int(np.flatnonzero(np.isinf(given))[0])
            raise ValueError(f"{column} of {columns[key][row]} is {given[row]}")
    twice = len(columns[key]) - len(set(rows or architectures))
    if twice:
        raise ValueError(f"{twice} architectures stand in it twice")
    return Table(name, space, architectures, metrics, rows, next(iter(images), None))
