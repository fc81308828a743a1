"""The scores that a search left in its folder: what a killed one goes on from, and what others are ranked among."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nni_plugins.evaluators.errors import CheckpointError, ConfigChanged
from nni_plugins.evaluators.files import atomic_write, differences

FILE = "scores.json"


class StoredScores:
    """``folder / scores.json``; None keeps nothing.

    ``values``: by column of the search's measures, what was computed; ``pool``: the candidates' index rows and values,
    once all are scored.

    Args:
        identity: all that the values depend on.

    Raises:
        CheckpointError: the file is damaged. ConfigChanged: it holds the scores of another search.
    """

    def __init__(self, folder: Path | None, identity: dict[str, Any]) -> None:
        self.folder, self.identity = folder, json.loads(json.dumps(identity))
        self.values: dict[str, dict[str, list[float]]] = {}
        self.pool: tuple[list[list[int]], list[list[float]]] | None = None
        if folder is not None and (folder / FILE).exists():
            content = read_scores(folder)
            changed = differences(content["identity"], self.identity)
            if changed:
                raise ConfigChanged(
                    f"{folder} holds scores of another search: {'; '.join(changed[:3])}.", "Use another folder."
                )
            self.values, self.pool = content["values"], content["pool"]

    def save(self) -> None:
        """Write it, whole or not at all."""
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            content = {"identity": self.identity, "values": self.values, "pool": self.pool}
            atomic_write(self.folder / FILE, json.dumps(content).encode())


def read_scores(folder: Path | None) -> dict[str, Any]:
    """``identity``, ``values`` and ``pool`` in ``folder``.

    Raises:
        CheckpointError: there are none, or they are damaged.
    """
    if folder is None:
        raise CheckpointError("there are no scores without a folder.", "Give the folder of a search.")
    path = folder / FILE
    if not path.exists():
        raise CheckpointError(
            f"{folder} holds no scores.", "Pass the folder of a search, such as runs/digits/search-0."
        )
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        if content.keys() != {"identity", "values", "pool"}:
            raise ValueError
    except (OSError, ValueError, AttributeError):
        raise CheckpointError(f"{path} is damaged.", f"Delete {folder} to start this search over.") from None
    return content


def finished_pool(folder: Path | None) -> tuple[list[list[int]], list[list[float]]]:
    """Index rows and values of the candidates of the finished search in ``folder``; none where scores are no ranks.

    Raises:
        CheckpointError: there is no finished search.
    """
    pool = read_scores(folder)["pool"]
    if pool is None:
        raise CheckpointError(f"the search in {folder} is not finished.", "Let it run to its end.")
    rows, values = pool
    return rows, values
