"""Angles of given architectures on a supernet that was trained before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from evaluators.errors import CheckpointError
from evaluators.training.checkpoint import CheckpointStore
from spaces.supernet import Supernet
from strategies.angle import VARIANTS, AngleTable

from .settings import RLNASExperiment


def score(settings: RLNASExperiment, supernet: Path, texts: Sequence[str]) -> list[dict[str, Any]]:
    """For each architecture: ``architecture`` (native string) and ``angle`` in radians, with the hash of W0's file as ``initial_sha256``.

    Args:
        settings: of the search that trained the supernet.
        supernet: its folder of checkpoints, such as ``runs/digits/search-0``.
        texts: architectures in any form that the space reads.

    Raises:
        CheckpointError: the folder holds no finished or interrupted training of this space.
        SpaceError: an architecture that is none.
    """
    if not (supernet / "initial.json").exists():
        raise CheckpointError(f"{supernet} holds no supernet training.", "Pass the folder of a search, such as runs/digits/search-0.")
    space = settings.search_space
    architectures = [space.parse(text) for text in texts]
    store = CheckpointStore(supernet, {})
    initial, found = store.keep_initial({}), store.load()
    if found is None:
        raise CheckpointError(f"{supernet} holds initial weights but no checkpoint.", "Let the search run at least until its first checkpoint.")
    blocks = cast(Supernet, space.supernet()).weight_blocks()
    final = found[1]["model"]
    missing = [name for block in (blocks.fixed, *(b for row in blocks.choices for b in row)) for name, _ in block.parameters if name not in final]
    if missing:
        raise CheckpointError(f"{supernet} is a supernet of another space: it lacks {missing[0]}.", "Pass the configuration that trained it.")
    angles = AngleTable.build(space, blocks, initial, final, VARIANTS[settings.search.angle])(space.encode(architectures))
    sha = store.initial_sha256
    return [
        {"architecture": space.to_string(a), "angle": float(angle), "initial_sha256": sha} for a, angle in zip(architectures, angles, strict=True)
    ]
