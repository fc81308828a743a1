"""Scores of any architectures with what an earlier search left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nni_plugins.spaces.architecture import Architecture

from .search import SearchExperiment
from .searching import problem_of


def score_architectures(
    experiment: SearchExperiment, supernet: Path, architectures: Sequence[Architecture]
) -> list[dict[str, Any]]:
    """For each architecture: ``architecture`` (native string), its score by the key of the strategy's score and, where
    weights were trained, the hash of W0's file as ``initial_sha256``.

    Args:
        experiment: that trained the supernet, on data that are read again.
        supernet: the search's folder of checkpoints, such as ``runs/digits/search-0``; of one in cycles also that of one
            cycle, such as ``runs/digits/search-0/cycle-1``.

    Raises:
        CheckpointError: the folder holds no finished or interrupted training of this space.
        ConfigError: the strategy leaves no weights to score with. SpaceError: an architecture is of another space.
    """
    strategy, space = experiment.strategy, experiment.settings.search_space
    seed, more = strategy.left_by(supernet)
    problem = problem_of(experiment.settings, experiment.evaluations, seed, supernet, None)
    scores = strategy.scorer(problem)(space.encode(architectures))
    return [
        {
            "architecture": space.to_string(architecture),
            strategy.score.key: float(score),
            **more,
        }
        for architecture, score in zip(architectures, scores, strict=True)
    ]
