"""The pool of one iteration of NAO-V2, and its file."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.errors import CheckpointError, ConfigChanged, TrainingError
from nni_plugins.evaluators.files import differences, write_json
from nni_plugins.evaluators.randomness import generator
from nni_plugins.evaluators.supernets.shared_weights import Draw
from nni_plugins.spaces.base import Indices, SearchSpace

SCHEMA = 1
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pool:
    """Architectures of one iteration, an entry of each list for each of them.

    Args:
        number: of the iteration, from 0.
        rows: index rows, (n, D).
        architectures: the same as the space writes them.
        origins: ``random``, ``given``, ``gradient`` or ``mutation`` where it came from, ``kept`` where it was in the
            pool before.
        probabilities: with which a step of the cycle trains it; 0: evaluated only.
        predictions: of the controller, 0 to 1, for those that are new; null for others.
        scores: by the shared weights after the cycle; None before.
        controller: numbers of the controller that proposed the new ones: ``epochs`` and ``loss``, where it was trained,
            and ``seeds``, ``largest_step``, ``decoded``, ``duplicates``, ``invalid``.
        curve: a row an epoch of the cycle.
    """

    number: int
    rows: list[list[int]]
    architectures: list[str]
    origins: list[str]
    probabilities: list[float]
    predictions: list[float | None]
    scores: list[float] | None = None
    controller: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)

    @property
    def indices(self) -> Indices:
        """(n, D) int8."""
        rows: Indices = np.array(self.rows, dtype=np.int8)
        return rows

    @property
    def trained(self) -> npt.NDArray[np.bool_]:
        """(n,): which the cycle trains."""
        mask: npt.NDArray[np.bool_] = np.array(self.probabilities) > 0
        return mask


def proportional_probabilities(space: SearchSpace, indices: Indices) -> Values:
    """(n,): each architecture's share of the parameters of all ``indices: (n, D)``, as stand-alone networks of
    ``space`` (NAO-V2, eq. 1).

    The supernet's space is meant, with the depth and width of the search. Of recurrent cells all are equal.
    """
    sizes = space.cost_table()(indices).parameters.astype(np.float64)
    probabilities: Values = sizes / sizes.sum()
    return probabilities


def pool_draw(indices: Indices, probabilities: Values, seed: int) -> Draw:
    """Draws each step's architecture from ``indices: (n, D)`` with ``probabilities: (n,)``, independently, a function
    of (seed, epoch).
    """

    def draw(epoch: int, steps: int) -> Indices:
        return indices[generator(seed, "pool paths", epoch).choice(len(indices), size=steps, p=probabilities)]

    return draw


class PoolFiles:
    """``pool-<number>.json`` in ``folder``, or nowhere if that is None. ``identity``: JSON-able, of the search that
    they belong to.
    """

    def __init__(self, folder: Path | None, space: SearchSpace, identity: dict[str, Any]) -> None:
        self.folder, self.space = folder, space
        self.identity: dict[str, Any] = json.loads(json.dumps(identity))

    def save(self, pool: Pool) -> None:
        """Write ``pool``, atomically; an earlier file of the same iteration is replaced."""
        if self.folder is not None:
            content = {"schema": SCHEMA, "search": self.identity, **asdict(pool)}
            write_json(self.folder / f"pool-{pool.number}.json", {**content, "sha256": _sha256(content)})

    def load(self, number: int) -> Pool | None:
        """The pool of an iteration, or None if it was not written.

        Raises:
            CheckpointError: it is damaged; ``ConfigChanged`` if it belongs to another search.
        """
        path = None if self.folder is None else self.folder / f"pool-{number}.json"
        if path is None or not path.exists():
            return None
        pool, identity = read_pool(path, self.space)
        changes = differences(identity, self.identity)
        if changes:
            raise ConfigChanged(
                f"{path} belongs to another search: {'; '.join(changes)}.",
                "Restore those settings to resume, or choose another folder to start over.",
            )
        if pool.number != number:
            raise CheckpointError(
                f"{path} holds the pool of iteration {pool.number}.", f"Delete {path} to compute it again."
            )
        return pool


def _sha256(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_pool(path: Path, space: SearchSpace) -> tuple[Pool, dict[str, Any]]:
    """The pool in a file, and the identity of the search that wrote it.

    Raises:
        CheckpointError: it is missing, damaged, of a newer schema, or of another space.
    """
    remedy = f"Delete {path} to compute it again, or choose another folder."
    try:
        content = json.loads(path.read_text())
        sha, schema = content.pop("sha256"), int(content.pop("schema"))
        intact = sha == _sha256({"schema": schema, **content})
        identity = content.pop("search")
        pool = Pool(**content)
        lengths = {
            len(values)
            for values in (pool.rows, pool.architectures, pool.origins, pool.probabilities, pool.predictions)
        }
        intact = intact and len(lengths) == 1 and (pool.scores is None or {len(pool.scores)} == lengths)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged or no pool ({type(error).__name__}).", remedy) from None
    if not intact:
        raise CheckpointError(
            f"{path} is damaged: its content does not have the hash that it was written with.", remedy
        )
    if schema > SCHEMA:
        raise CheckpointError(f"{path} has schema {schema}; this version reads up to {SCHEMA}.", "Upgrade nni-plugins.")
    counts = np.array([len(decision.values) for decision in space.decisions])
    rows = np.array(pool.rows, dtype=np.int64).reshape(len(pool.rows), -1)
    fits = rows.shape[1] == len(counts) and bool(((rows >= 0) & (rows < counts)).all())
    if not fits or [space.to_string(a) for a in space.decode(pool.indices)] != pool.architectures:
        raise CheckpointError(f"{path} holds architectures of another space than {space!r}.", remedy)
    return pool, identity


def check_scores(scores: Values, describe: Callable[[int], str]) -> list[float]:
    """``scores`` as a list.

    Raises:
        TrainingError: one is not finite; ``describe(i)`` names its architecture.
    """
    wrong = [i for i, score in enumerate(scores.tolist()) if not math.isfinite(score)]
    if wrong:
        raise TrainingError(
            f"{len(wrong)} of {len(scores)} scores are not finite: {describe(wrong[0])} has {scores[wrong[0]]}.",
            "Lower training.learning_rate.",
        )
    return [float(score) for score in scores]
