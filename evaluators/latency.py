"""Latency of networks: measured on a device into a table, and predicted from a table. Free of torch until it measures.

A table is a CSV file with the columns ``architecture`` and ``latency_ms``, made by :func:`measure_latencies` or by
anybody on any device. An architecture that is listed has its listed latency. All others have that of an additive model:
a constant, and for each part of the architecture what its value adds, none of it negative, by least squares over the
list. How good the model is says :func:`held_out_error`.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import Indices, SearchSpace

from .errors import ConfigError, TableError
from .files import write_csv
from .randomness import generator
from .settings import Settings
from .statistics.ranking import kendall_tau
from .tables.table import read_table

Floats = npt.NDArray[np.float64]
COLUMN = "latency_ms"
WARM_UP = 3
"""Runs of each network that are not timed."""
SAMPLE = 2000
"""Random architectures that say which values of parts there are: some that a part names are in no architecture."""
TIE = 9
"""Milliseconds that agree to so many decimals differ by rounding alone."""
FOLDS = 5
"""Of the cross-validation that says how good a model is."""


class Measurement(Settings):
    """How networks are run."""

    batch: int = Field(1, ge=1, description="images in a run")
    image_size: int = Field(32, ge=1, description="pixels a side")
    repeats: int = Field(20, ge=1, description="timed runs of each network, whose median counts")
    threads: int = Field(1, ge=1, le=1024, description="CPU threads")
    device: str = Field("cpu", description="as torch calls it: cpu, cuda, cuda:1, mps")


@dataclass(frozen=True)
class Additive:
    """``fixed``, and ``parts: (S, V)``, what value v of part s of the space adds, in milliseconds; NaN if nobody knows."""

    space: SearchSpace
    fixed: float
    parts: Floats

    def __call__(self, indices: Indices) -> Floats:
        """Latency of ``indices: (n, D)``: (n,), NaN where it is not known, which is within no limit."""
        structure = self.space.structure(indices)
        total: Floats = np.full(len(indices), self.fixed)
        for s in range(structure.shape[1]):  # as CostTable does
            total += self.parts[s, structure[:, s]]
        return total


@dataclass(frozen=True)
class Latency:
    """``listed``: by the bytes of index rows; ``model``: of all others, None where all are listed."""

    listed: dict[bytes, float]
    model: Additive | None

    def __call__(self, indices: Indices) -> Floats:
        """Latency of ``indices: (n, D)`` in milliseconds: (n,)."""
        known = [self.listed.get(row.tobytes()) for row in np.ascontiguousarray(indices)]
        if self.model is None:
            return np.array(known, dtype=np.float64)
        missing = np.array([value is None for value in known], dtype=bool)
        total = np.array([value or 0.0 for value in known])
        total[missing] = self.model(indices[missing])
        return total


@dataclass(frozen=True)
class Error:
    """Of predictions for networks that took no part in the fit: mean absolute error in ``milliseconds`` and in
    ``percent`` of the latency, and Kendall's ``tau`` of predictions against latencies.
    """

    milliseconds: float
    percent: float
    tau: float


def fitted_latency(space: SearchSpace, indices: Indices, latencies: Floats) -> Additive:
    """The additive model of ``indices: (n, D)`` with ``latencies: (n,)`` in milliseconds.

    Raises:
        ConfigError: a value of a part that random architectures have is in none of them, so nobody knows what it adds.
    """
    from scipy.optimize import nnls

    columns = _Columns(space)
    design = columns.design(indices)
    seen: npt.NDArray[np.bool_] = design.max(axis=0) > 0
    usual = columns.design(space.sample(generator(0, "latency"), SAMPLE)).max(axis=0) > 0
    unseen = np.flatnonzero(usual & ~seen)
    if len(unseen):
        raise ConfigError(
            f"nothing says what {columns.name(int(unseen[0]))} adds to the latency: it is in none of {len(indices)} "
            "architectures.",
            "List more architectures.",
        )
    coefficients, _ = nnls(design[:, seen], latencies)
    values = np.full(len(seen), np.nan)
    values[seen] = coefficients
    return Additive(space, float(values[0]), columns.table(values))


class _Columns:
    """One for the constant, and one for each value of each part."""

    def __init__(self, space: SearchSpace) -> None:
        self.space, self.counts = space, [len(part.values) for part in space.parts]
        self.offsets = np.concatenate([[1], 1 + np.cumsum(self.counts)])

    def design(self, indices: Indices) -> Floats:
        """(n, columns): 1 where an architecture has the value."""
        structure = self.space.structure(indices).astype(np.int64)
        design = np.zeros((len(indices), self.offsets[-1]))
        design[:, 0] = 1
        np.put_along_axis(design, structure + self.offsets[:-1], 1, axis=1)
        return design

    def table(self, values: Floats) -> Floats:
        """``values: (columns,)`` as (S, V)."""
        table = np.full((len(self.counts), max(self.counts)), np.nan)
        for s, n in enumerate(self.counts):
            table[s, :n] = values[self.offsets[s] : self.offsets[s] + n]
        return table

    def name(self, column: int) -> str:
        """Such as ``e_0_1=none``."""
        s = int(np.searchsorted(self.offsets, column, side="right")) - 1
        part = self.space.parts[s]
        return f"{part.label}={part.values[column - self.offsets[s]]}"


def held_out_error(space: SearchSpace, indices: Indices, latencies: Floats, seed: int = 0) -> Error:
    """Of the additive model, by cross-validation: each network is predicted from the other four fifths.

    Raises:
        ConfigError: there are too few networks.
    """
    fold = generator(seed, "latency folds").permutation(len(indices)) % FOLDS
    predicted = np.zeros(len(indices))
    for k in range(FOLDS):
        predicted[fold == k] = fitted_latency(space, indices[fold != k], latencies[fold != k])(indices[fold == k])
    errors = np.abs(predicted - latencies)
    return Error(
        float(errors.mean()),
        float(100 * (errors / latencies).mean()),
        kendall_tau(predicted.round(TIE).tolist(), latencies.round(TIE).tolist()),
    )


# -- tables -------------------------------------------------------------------------------------------------------------
def read_latencies(path: Path, space: SearchSpace) -> tuple[Indices, Floats]:
    """Index rows (n, D) and latencies (n,) in milliseconds.

    Raises:
        TableError: it cannot be read, is of another space, or has a latency that is none.
    """
    table = read_table(path, space)
    latencies = table.metric(COLUMN)
    wrong = np.flatnonzero(~(np.isfinite(latencies) & (latencies > 0)))
    if len(wrong):
        name = space.to_string(table.architectures[wrong[0]])
        raise TableError(f"{path}: the latency of {name} is {latencies[wrong[0]]}, but must be above 0.")
    return space.encode(table.architectures), latencies


def latency_of(path: str, space: SearchSpace) -> Latency:
    """What the table at ``path`` says of the latency of every architecture of ``space``; read once.

    Raises:
        ConfigError: the path is not absolute, or the table does not say what some part adds; TableError: it cannot be
            read.
    """
    return _latency_of(path, space, checksum(path))


def checksum(path: str) -> int:
    """Of the table at ``path``.

    Raises: as :func:`latency_of`.
    """
    file = Path(path).expanduser()
    if not file.is_absolute():
        raise ConfigError(f"latency_table: must be an absolute path, but got {path!r}: trials run in other folders.")
    try:
        state = file.stat()
    except OSError as error:
        remedy = "Check the path, or measure one: nni-plugins latency."
        raise TableError(f"latency_table: cannot read {path}: {error.strerror}.", remedy) from None
    return _checksum(file, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=8)
def _checksum(file: Path, changed: int, size: int) -> int:
    return zlib.crc32(file.read_bytes())


@lru_cache(maxsize=8)
def _latency_of(path: str, space: SearchSpace, content: int) -> Latency:
    indices, latencies = read_latencies(Path(path).expanduser(), space)
    listed = {row.tobytes(): value for row, value in zip(indices, latencies.tolist(), strict=True)}
    return Latency(listed, None if len(listed) == space.size else fitted_latency(space, indices, latencies))


# -- measuring ----------------------------------------------------------------------------------------------------------
def measure_latencies(
    space: SearchSpace,
    architectures: Sequence[Architecture],
    how: Measurement,
    report: Callable[[int], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Floats:
    """Latency of networks of ``space`` on this machine in milliseconds: (n,). Random weights, no gradients.

    Measure on an idle machine: whatever else it does is measured, too.

    Args:
        report: called with the number of networks that are done.
        clock: in seconds.

    Raises:
        ConfigError: the networks take no images, or torch does not know the device.
    """
    import torch

    if not space.takes_images:
        raise ConfigError(f"networks of {space.name} take no images, so their latency cannot be measured here.")
    threads = torch.get_num_threads()
    torch.set_num_threads(how.threads)
    try:
        device = torch.device(how.device)
        x = torch.randn(how.batch, 3, how.image_size, how.image_size, generator=torch.Generator().manual_seed(0))
        x, measured = x.to(device), []
        for architecture in architectures:
            measured.append(_median(space.network(architecture).eval().to(device), x, how.repeats, clock))
            if report is not None:
                report(len(measured))
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {how.device!r}: {str(error).splitlines()[0]}", "Choose another device.") from None
    finally:
        torch.set_num_threads(threads)
    return 1000 * np.array(measured, dtype=np.float64)


def _median(network: object, x: object, repeats: int, clock: Callable[[], float]) -> float:
    """Seconds of a run."""
    import torch
    from torch import nn

    assert isinstance(network, nn.Module) and isinstance(x, torch.Tensor)

    def wait() -> None:
        if x.device.type == "cuda":
            torch.cuda.synchronize(x.device)

    seconds = []
    with torch.inference_mode():
        for _ in range(WARM_UP):
            network(x)
        for _ in range(repeats):
            wait()
            started = clock()
            network(x)
            wait()
            seconds.append(clock() - started)
    return float(np.median(seconds))


def write_latencies(path: Path, space: SearchSpace, architectures: Sequence[Architecture], latencies: Floats) -> None:
    """The table of ``architectures`` with ``latencies: (n,)`` in milliseconds."""
    rows = zip(architectures, latencies.tolist(), strict=True)
    write_csv(path, [{"architecture": space.to_string(one), COLUMN: value} for one, value in rows])
