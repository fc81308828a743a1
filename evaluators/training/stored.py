"""The weights that a training left on disk, for those who score with them later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..errors import CheckpointError
from ..files import read_json
from .checkpoint import CheckpointStore


@dataclass(frozen=True)
class StoredWeights:
    """``initial``: W0; ``final``: of the newest checkpoint; ``seed``: of the training."""

    folder: Path
    initial: Mapping[str, torch.Tensor]
    final: Mapping[str, torch.Tensor]
    initial_sha256: str
    seed: int

    def require(self, names: Iterable[str]) -> None:
        """
        Raises:
            CheckpointError: one of the weights ``names`` is missing.
        """
        missing = [name for name in names if name not in self.final]
        if missing:
            raise self._foreign(f"it lacks {missing[0]}")

    def load_into(self, network: nn.Module) -> None:
        """Give ``network`` the final weights.

        Raises:
            CheckpointError: they are of another network.
        """
        expected = network.state_dict()
        more = [name for name in self.final if name not in expected]
        if more:
            raise self._foreign(f"it has {more[0]}, too")
        self.copy_into(expected)

    @torch.no_grad()
    def copy_into(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Give ``weights``, some or all of a network's by their names, the final values.

        Raises:
            CheckpointError: they are of another network.
        """
        self.require(weights)
        for name, value in weights.items():
            if self.final[name].shape != value.shape:
                raise self._foreign(f"{name} is {tuple(self.final[name].shape)} instead of {tuple(value.shape)}")
        for name, value in weights.items():
            value.copy_(self.final[name])

    def _foreign(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self.folder} is a supernet of another space: {what}.", "Pass the configuration that trained it."
        )


def stored_weights(folder: Path | None) -> StoredWeights:
    """Of the training in ``folder``; of one in cycles (``cycle-0``, ``cycle-1``, ...) those of the last cycle.

    Raises:
        CheckpointError: there is no finished or interrupted training.
    """
    if folder is None:
        raise CheckpointError("there are no weights without a folder.", "Give the folder of a search.")
    cycles = sorted(folder.glob("cycle-*/initial.json"), key=lambda path: int(path.parent.name.removeprefix("cycle-")))
    if cycles:
        folder = cycles[-1].parent
    if not (folder / "initial.json").exists():
        raise CheckpointError(
            f"{folder} holds no supernet training.", "Pass the folder of a search, such as runs/digits/search-0."
        )
    store = CheckpointStore(folder, {})
    initial, found = store.keep_initial({}), store.load()
    if found is None:
        raise CheckpointError(
            f"{folder} holds initial weights but no checkpoint.",
            "Let the search run at least until its first checkpoint.",
        )
    run = folder / "run.json"
    try:
        seed = int(read_json(run, "")["config"]["seed"])
    except (CheckpointError, KeyError, TypeError, ValueError):
        raise CheckpointError(f"{run} is damaged.", "Restore it from a copy.") from None
    return StoredWeights(folder, initial, found[1]["model"], str(store.initial_sha256), seed)
