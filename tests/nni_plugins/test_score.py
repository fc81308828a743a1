"""Architectures scored with the weights that a whole experiment left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nni_plugins.evaluators.errors import CheckpointError, ConfigError
from nni_plugins.experiment.kinds import load_experiment
from nni_plugins.experiment.runner import run_experiment
from nni_plugins.experiment.score import score_architectures
from nni_plugins.experiment.search import SearchExperiment
from nni_plugins.spaces import NASBench101
from nni_plugins.spaces.errors import SpaceError

NAO: dict[str, Any] = {
    "training": {"epochs": 1, "batch_size": 50, "accelerator": "cpu", "drop_path": 0},
    "search": {
        "iterations": 2,
        "initial": 8,
        "kept": 2,
        "final": None,
        "proposals": {"seeds": 2, "new": 4},
        "controller": {"epochs": 2, "embedding": 8, "hidden": 8},
    },
}


def experiment(name: str, **changes: Any) -> SearchExperiment:
    """Judged by the table of digits."""
    given = {
        "space": {"name": "nasbench201", "nodes": 3},
        "data": {"limit": 200},
        "evaluations": {"looked_up": {"evaluator": "table"}},
        "seeds": [3],
        "found": 3,
        "random": 1,
        **changes,
    }
    loaded = load_experiment(name, given)
    assert isinstance(loaded, SearchExperiment)
    return loaded


def test_scores_are_those_of_the_search(tmp_path: Path) -> None:
    """Of weights that were trained in cycles, the last one's; the seed is that of the weights."""
    searched = experiment("NAOV2", **NAO)
    rows = run_experiment(searched, tmp_path)["architectures"]
    assert [row["source"] for row in rows].count("found") == 3
    space, folder = searched.settings.search_space, tmp_path / "search-3"
    found = {row["architecture"]: row["score"] for row in rows if row["source"] == "found"}
    scored = score_architectures(searched, folder, [space.parse(text) for text in found])
    assert {row["architecture"]: row["one_shot_accuracy"] for row in scored} == found
    assert {tuple(row) for row in scored} == {("architecture", "one_shot_accuracy", "initial_sha256")}
    again = score_architectures(searched, folder / "cycle-1", [space.parse(text) for text in found])
    assert again == scored and len(scored[0]["initial_sha256"]) == 64
    first = score_architectures(searched, folder / "cycle-0", [space.parse(text) for text in found])
    assert first[0]["initial_sha256"] != scored[0]["initial_sha256"]
    with pytest.raises(CheckpointError, match="is a supernet of another space"):
        score_architectures(
            experiment("RandomNAS", space={"name": "nasbench201"}, evaluations={}, random=0), folder, []
        )
    with pytest.raises(CheckpointError, match="holds no supernet training"):
        score_architectures(searched, tmp_path, [])
    with pytest.raises(ConfigError, match="BestOfRandom leaves no weights"):
        score_architectures(experiment("BestOfRandom"), folder, [])
    with pytest.raises(SpaceError, match="nasbench101"):
        score_architectures(searched, folder, NASBench101().decode(NASBench101().sample(np.random.default_rng(0), 1)))
