"""Latency: additive models of known latencies, tables, and measuring by a clock of ours."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from nni_plugins.evaluators import latency as module
from nni_plugins.evaluators.errors import ConfigError, TableError
from nni_plugins.evaluators.latency import (
    WARM_UP,
    Measurement,
    checksum,
    fitted_latency,
    held_out_error,
    latency_of,
    measure_latencies,
    read_latencies,
    write_latencies,
)
from nni_plugins.spaces import DARTS, MobileNetLike, NASBench101, NASBench201, RecurrentCell, SearchSpace

SPACE = NASBench201(nodes=3, channels=4, cells_per_stage=1)
BIG: dict[str, SearchSpace] = {
    "nasbench201": NASBench201(),
    "nasbench101": NASBench101(),
    "darts": DARTS(channels=4, cells=3),
    "mobilenetlike": MobileNetLike(),
}
Floats = npt.NDArray[np.float64]


def additive(space: SearchSpace, rows: Any, seed: int = 0) -> Floats:
    """Latencies that are a constant and a random number for each value of each part."""
    rng, structure = np.random.default_rng(seed), space.structure(rows)
    total = np.full(len(rows), 0.7)
    for s, part in enumerate(space.parts):
        total += rng.uniform(0, 1, len(part.values))[structure[:, s]]
    return total


@pytest.mark.parametrize("name", BIG)
def test_additive_latencies_are_recovered(name: str) -> None:
    space = BIG[name]
    rows = space.sample(np.random.default_rng(0), 600)
    model = fitted_latency(space, rows[:400], additive(space, rows[:400]))
    assert np.allclose(model(rows[400:]), additive(space, rows[400:]), atol=1e-6)
    assert model.fixed >= 0 and np.nanmin(model.parts) >= 0
    error = held_out_error(space, rows, additive(space, rows))
    assert error.milliseconds < 1e-6 and error.percent < 1e-4 and error.tau == pytest.approx(1)


def test_what_is_not_additive_shows_in_the_error() -> None:
    rows = SPACE.enumerate()
    noise = np.random.default_rng(1).uniform(1, 2, len(rows))
    error = held_out_error(SPACE, rows, noise)
    assert 0.2 < error.milliseconds < 0.35 and 10 < error.percent < 30 and abs(error.tau) < 0.3
    assert held_out_error(SPACE, rows, noise) == error


def test_a_part_that_nobody_has_seen() -> None:
    rows = SPACE.enumerate()
    rows = rows[rows[:, 1] != 3]
    with pytest.raises(ConfigError, match=r"nothing says what e_0_2=nor_conv_3x3 adds to the latency") as caught:
        fitted_latency(SPACE, rows, additive(SPACE, rows))
    assert "100 architectures" in caught.value.problem


def test_what_nobody_has_seen_is_within_no_limit() -> None:
    """Values that random architectures hardly ever have."""
    rows = SPACE.enumerate()
    model = fitted_latency(SPACE, rows, additive(SPACE, rows))
    model.parts[1, 3] = np.nan
    assert np.array_equal(model(rows) <= 100, rows[:, 1] != 3)


# -- tables -------------------------------------------------------------------------------------------------------------
def test_a_table_of_all_architectures_is_looked_up(tmp_path: Path) -> None:
    rows, values = SPACE.enumerate(), np.random.default_rng(0).uniform(1, 2, 125)
    write_latencies(tmp_path / "a.csv", SPACE, SPACE.decode(rows), values)
    latency = latency_of(str(tmp_path / "a.csv"), SPACE)
    assert latency.model is None and np.array_equal(latency(rows), values)
    assert np.array_equal(latency(rows[[7, 7, 3]]), values[[7, 7, 3]]) and latency(rows[:0]).shape == (0,)
    again, read = read_latencies(tmp_path / "a.csv", SPACE)
    assert np.array_equal(again, rows) and np.array_equal(read, values)


def test_what_a_table_lacks_is_predicted(tmp_path: Path) -> None:
    rows = SPACE.enumerate()
    given = np.random.default_rng(0).permutation(125)[:60]
    values = additive(SPACE, rows)
    values[given[0]] += 5  # a listed architecture keeps its own latency, whatever the others say
    write_latencies(tmp_path / "a.csv", SPACE, SPACE.decode(rows[given]), values[given])
    latency = latency_of(str(tmp_path / "a.csv"), SPACE.with_classes(3))
    assert np.allclose(latency(rows[given]), values[given])
    expected = fitted_latency(SPACE, rows[given], values[given])
    others = np.setdiff1d(np.arange(125), given)
    assert np.allclose(latency(rows[others]), expected(rows[others]))
    mixed = rows[[given[0], others[0]]]
    assert latency(mixed).tolist() == pytest.approx([values[given[0]], expected(rows[others[:1]])[0]])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("architecture,milliseconds\n|none~0|+|none~0|none~1|,1\n", "has no metric 'latency_ms'"),
        ("architecture,latency_ms\n|none~0|+|none~0|none~1|,0\n", "is 0.0, but must be above 0"),
        ("architecture,latency_ms\n|none~0|+|none~0|none~1|,\n", "is nan, but must be above 0"),
        ("architecture,latency_ms\n|non~0|+|none~0|none~1|,1\n", "did you mean 'none'"),
    ],
)
def test_wrong_tables(tmp_path: Path, lines: str, said: str) -> None:
    (tmp_path / "a.csv").write_text(lines)
    with pytest.raises(TableError) as caught:
        latency_of(str(tmp_path / "a.csv"), SPACE)
    assert said in str(caught.value)


def test_tables_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"latency_table: cannot read(.|\n)*nni-plugins latency"):
        checksum(str(tmp_path / "a.csv"))
    with pytest.raises(ConfigError, match="latency_table: must be an absolute path"):
        latency_of("a.csv", SPACE)


# -- measuring ----------------------------------------------------------------------------------------------------------
class Clock:
    """Seconds that stand still but for what networks take."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Fake(torch.nn.Module):
    """Takes so many milliseconds, and ten times as many in its first runs and once in between."""

    def __init__(self, clock: Clock, milliseconds: float, seen: list[Any]) -> None:
        super().__init__()
        self.clock, self.milliseconds, self.seen, self.runs = clock, milliseconds, seen, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.runs += 1
        odd = self.runs <= WARM_UP or self.runs == WARM_UP + 2
        self.clock.now += self.milliseconds / 1000 * (10 if odd else 1)
        self.seen.append((tuple(x.shape), self.training, torch.is_grad_enabled(), torch.get_num_threads()))
        return x


def test_the_median_of_timed_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, seen, done = Clock(), list[Any](), list[int]()
    cells = SPACE.decode(SPACE.enumerate()[:3])
    monkeypatch.setattr(
        type(SPACE), "network", lambda self, architecture: Fake(clock, 1.0 + cells.index(architecture), seen)
    )
    threads = torch.get_num_threads()
    how = Measurement(batch=2, image_size=5, repeats=7, threads=1)
    assert measure_latencies(SPACE, cells, how, done.append, clock).tolist() == pytest.approx([1.0, 2.0, 3.0])
    assert set(seen) == {((2, 3, 5, 5), False, False, 1)} and len(seen) == 3 * (WARM_UP + 7)
    assert done == [1, 2, 3] and torch.get_num_threads() == threads


def test_real_networks_and_their_table(tmp_path: Path) -> None:
    cells = SPACE.decode(SPACE.enumerate()[::30])
    measured = measure_latencies(SPACE, cells, Measurement(image_size=8, repeats=2))
    assert measured.shape == (5,) and (measured > 0).all()
    write_latencies(tmp_path / "a.csv", SPACE, cells, measured)
    with open(tmp_path / "a.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["architecture"] for row in rows] == [SPACE.to_string(cell) for cell in cells]
    assert [float(row["latency_ms"]) for row in rows] == measured.tolist()


def test_what_cannot_be_measured() -> None:
    with pytest.raises(ConfigError, match="networks of recurrent take no images"):
        measure_latencies(RecurrentCell(nodes=2), [], Measurement())
    with pytest.raises(ConfigError, match=r"device 'nothing': "):
        measure_latencies(SPACE, SPACE.decode(SPACE.enumerate()[:1]), Measurement(device="nothing"))


def test_the_module_needs_no_torch_to_predict() -> None:
    import subprocess
    import sys

    code = f"import sys; sys.path[:0] = {sys.path!r}; import {module.__name__}; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
