"""New architectures from the best known ones: uphill in the latent space, and what is done where that finds too few.

Imports torch only when there is a controller to be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.randomness import generator

from .codecs import Codec
from .settings import ProposalSettings
from .tokens import Rows

if TYPE_CHECKING:
    from .controller import Controller

ATTEMPTS = 100
"""How many batches of mutations or random draws are tried before a round makes do with fewer architectures."""

ORIGINS = ("gradient", "mutation", "random")


@dataclass(frozen=True)
class Proposals:
    """New architectures, none known before, no two alike.

    ``rows: (n, D)``; ``origins: (n,)``, each ``gradient``, ``mutation`` or ``random``; ``largest_step``: the last
    lambda that was tried, 0 for none; ``decoded``: how many architectures the decoder wrote, of which ``duplicates``
    were known and ``invalid`` none of the space.
    """

    rows: Rows
    origins: tuple[str, ...]
    largest_step: float = 0.0
    decoded: int = 0
    duplicates: int = 0
    invalid: int = 0

    def counts(self) -> dict[str, int]:
        """How many came from where."""
        return {origin: self.origins.count(origin) for origin in ORIGINS}


class _Collector:
    """Takes rows until there are enough, each class of twins once."""

    def __init__(self, codec: Codec, known: Collection[str], wanted: int) -> None:
        self.codec, self.known, self.wanted = codec, set(known), wanted
        self.rows: list[npt.NDArray[np.int64]] = []
        self.origins: list[str] = []
        self.duplicates = self.invalid = 0

    @property
    def full(self) -> bool:
        return len(self.rows) >= self.wanted or len(self.known) >= self.codec.size

    def add(self, rows: Rows, origin: str) -> None:
        valid = self.codec.valid(rows)
        self.invalid += int((~valid).sum())
        for row, key in zip(rows[valid], self.codec.keys(rows[valid]), strict=True):
            if self.full:
                return
            if key in self.known:
                self.duplicates += 1
                continue
            self.known.add(key)
            self.rows.append(row)
            self.origins.append(origin)

    def until_full(self, draw: Callable[[int], Rows], origin: str) -> None:
        for _ in range(ATTEMPTS):
            if self.full:
                return
            rows = draw(max(2 * (self.wanted - len(self.rows)), 16))
            if not len(rows):  # as far as random draws tell, nothing meets the limits
                return
            self.add(rows, origin)

    def array(self) -> Rows:
        rows: Rows = np.array(self.rows, dtype=np.int64).reshape(-1, self.codec.tokens.length)
        return rows


def random_rows(codec: Codec, known: Collection[str], n: int, rng: np.random.Generator) -> Proposals:
    """Up to ``n`` new architectures, uniform over those not ``known``; fewer where the space, as far as random draws
    tell, has no more.
    """
    collector = _Collector(codec, known, n)
    collector.until_full(lambda k: codec.sample(rng, k), "random")
    return Proposals(collector.array(), tuple(collector.origins))


def propose(
    codec: Codec,
    controller: Controller,
    seeds: Rows,
    known: Collection[str],
    settings: ProposalSettings,
    seed: int,
    step: int = 0,
) -> Proposals:
    """``settings.new`` architectures from ``seeds: (n, D)``, best first.

    All seeds are moved uphill by lambda, then again from where they were by a larger one, until there are enough that
    are neither ``known`` (keys of the codec) nor found before. Where the largest lambda leaves too few,
    ``settings.fill`` says what happens: seeds are mutated, and where that finds nothing new or is not wanted,
    architectures are drawn at random. The result counts them.

    Raises:
        ConfigError: no seeds.
    """
    if len(seeds) == 0:
        raise ConfigError("at least one architecture is needed to start from, but got none.")
    import torch

    collector = _Collector(codec, known, settings.new)
    outputs, gradient = controller.gradient(torch.from_numpy(codec.tokens.encode(seeds)))
    size, largest, decoded = settings.first_step, 0.0, 0
    while not collector.full and size <= settings.last_step * (1 + 1e-9):
        rows = codec.tokens.decode(controller.moved(outputs, gradient, size).numpy())
        collector.add(rows, "gradient")
        largest, size, decoded = size, size + settings.step, decoded + len(rows)
    duplicates, invalid = collector.duplicates, collector.invalid
    fill(collector, seeds, settings, seed, step)
    return Proposals(collector.array(), tuple(collector.origins), largest, decoded, duplicates, invalid)


def fill(collector: _Collector, seeds: Rows, settings: ProposalSettings, seed: int, step: int) -> None:
    """What :func:`propose` does after the gradient."""
    rng = generator(seed, "nao fill", step)
    if settings.fill == "mutation" and len(seeds):
        collector.until_full(
            lambda n: collector.codec.mutate(rng, seeds[rng.integers(0, len(seeds), size=n)]), "mutation"
        )
    if settings.fill != "none":
        collector.until_full(lambda n: collector.codec.sample(rng, n), "random")


def without_direction(
    codec: Codec, seeds: Rows, known: Collection[str], settings: ProposalSettings, seed: int, step: int = 0
) -> Proposals:
    """What a round does whose values are all equal: everything comes from ``settings.fill``, and is counted as such."""
    collector = _Collector(codec, known, settings.new)
    fill(collector, seeds, settings, seed, step)
    return Proposals(collector.array(), tuple(collector.origins))
