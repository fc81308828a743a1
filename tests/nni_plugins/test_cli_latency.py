"""``nni-plugins latency``, and a search within the limit that its table sets."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from nni_plugins.evaluators import latency
from nni_plugins.experiment.file import read_experiment, render
from nni_plugins.spaces import NASBench201
from nni_plugins.strategies.limits import Limits

from .small import Cli

SPACE = NASBench201(nodes=3, channels=4, cells_per_stage=1)


def arguments(**changes: Any) -> dict[str, Any]:
    """Four questions to the table of digits."""
    return {
        "space": {"name": "nasbench201", "nodes": 3},
        "search": {"queries": 6},
        "found": 2,
        "random": 2,
        "evaluations": {"table": {"evaluator": "table"}},
        **changes,
    }


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "search.yml"
    file.write_text(render("latency", "BestOfRandom", arguments()))
    return file


def test_a_table_is_measured_once(config: Path, tmp_path: Path, run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(space: Any, architectures: Any, how: Any, report: Any) -> Any:
        """A millisecond for each operation that is not ``none``."""
        seen.append(how)
        report(len(architectures))
        return (space.encode(architectures) > 0).sum(axis=1) + 0.5

    seen: list[Any] = []
    monkeypatch.setattr(latency, "measure_latencies", measure)
    table = tmp_path / "latency.csv"
    words = ("--networks", 60, "--batch", 2, "--repeats", 3, "--image-size", 8, "--json")
    answer = run("latency", config, table, *words).json
    assert answer["networks"] == 60 and answer["table"] == str(table) and answer["smallest_ms"] >= 0.5
    assert answer["held_out_error_ms"] < 1e-9 and answer["held_out_kendall_tau"] > 0.99
    assert [how.model_dump() for how in seen] == [
        {"batch": 2, "image_size": 8, "repeats": 3, "threads": 1, "device": "cpu"}
    ]
    again = run("latency", config, table)
    assert again.status == 0 and "60, " in again.out and "max_latency" in again.out and len(seen) == 1
    with open(table, newline="") as file:
        assert len(list(csv.DictReader(file))) == 60


def test_a_search_within_a_latency(config: Path, tmp_path: Path, run: Cli) -> None:
    space = read_experiment(config).settings.search_space
    cells = space.decode(space.enumerate())
    latency.write_latencies(tmp_path / "latency.csv", space, cells, (space.encode(cells) > 2).sum(axis=1) + 1.0)
    content = yaml.safe_load(config.read_text())
    content["tuner"]["classArgs"]["limits"] = {"max_latency": 2.0, "latency_table": "latency.csv"}
    config.write_text(yaml.safe_dump(content))
    result = run("search", config, "--output", tmp_path / "run", "--json").json
    limits = Limits(max_latency=2.0, latency_table=str(tmp_path / "latency.csv"))
    rows = [space.architecture(row["choices"]) for row in result["architectures"]]
    assert len(rows) == 5 and limits.mask(space, space.encode(rows)).all()
    stored = json.loads((tmp_path / "run" / "jobs" / "search-0.json").read_text())
    assert stored["identity"]["contents"] == limits.contents()
    latency.write_latencies(tmp_path / "latency.csv", space, cells, (space.encode(cells) > 2).sum(axis=1) + 1.1)
    refused = run("search", config, "--output", tmp_path / "run")
    assert refused.status == 2 and "limits.latency_table" in refused.err


def test_what_is_refused(config: Path, tmp_path: Path, run: Cli) -> None:
    (tmp_path / "x.yml").write_text("tuner: {name: RLNAS}\n")
    answer = run("latency", tmp_path / "x.yml", tmp_path / "latency.csv")
    assert answer.status == 2 and "has no tuner.classArgs" in answer.err
    (tmp_path / "latency.csv").write_text("architecture,latency_ms\nx,1\n")
    answer = run("latency", config, tmp_path / "latency.csv")
    assert answer.status == 2 and str(tmp_path / "latency.csv") in answer.err


def test_a_table_that_is_missing_is_said_before_anything_runs(config: Path, run: Cli) -> None:
    content = yaml.safe_load(config.read_text())
    content["tuner"]["classArgs"] |= {"limits": {"max_latency": 2.0, "latency_table": "no.csv"}, "baselines": []}
    config.write_text(yaml.safe_dump(content))
    answer = run("search", config)
    assert answer.status == 2 and "latency_table: cannot read" in answer.err
