"""A text as sequences side by side, and the pieces in which they are read (AWD-LSTM, Merity et al., ICLR 2018, section
5; DARTS).
"""

from __future__ import annotations

import numpy as np
import torch

from ..errors import ConfigError
from .corpus import Tokens
from .settings import SequenceSettings

Piece = tuple[int, int]
"""(first step, steps): inputs are the rows from the first step on, targets the rows one step later."""

FEWEST_STEPS = 3
"""Steps that are needed: two to read, and the target of the second; a single step has no change that could be
penalised.
"""


def batchify(tokens: Tokens, batch: int, name: str) -> torch.Tensor:
    """``tokens: (n,)`` as ``batch`` sequences that follow each other: (n // batch, batch) int64; the rest is left out.

    Raises:
        ConfigError: the sequences are too short to be read.
    """
    steps = len(tokens) // batch
    if steps < FEWEST_STEPS:
        raise ConfigError(
            f"{name}: {len(tokens)} words in {batch} sequences are {steps} steps each, but {FEWEST_STEPS} are needed.",
            f"Use at most {max(1, len(tokens) // FEWEST_STEPS)} sequences, or more text.",
        )
    return torch.from_numpy(np.ascontiguousarray(tokens[: steps * batch].reshape(batch, steps).T))


def drawn_pieces(steps: int, settings: SequenceSettings, rng: np.random.Generator) -> list[Piece]:
    """One pass over ``steps`` steps: lengths are normal around ``bptt``, or half of it, so that pieces end elsewhere in
    every epoch.

    As in the official code, a last single step is left out.
    """
    pieces, first = [], 0
    while first < steps - 2:
        base = settings.bptt / 2 if rng.random() < settings.short_share else float(settings.bptt)
        drawn = int(rng.normal(base, settings.length_deviation)) if settings.length_deviation else int(base)
        length = min(
            max(drawn, min(settings.shortest, settings.bptt)), settings.bptt + settings.longest_extra, steps - 1 - first
        )
        pieces.append((first, length))
        first += length
    return pieces


def even_pieces(steps: int, length: int, single: bool) -> list[Piece]:
    """The same in pieces of ``length``; ``single`` says whether the last may be a single step."""
    return [(first, min(length, steps - 1 - first)) for first in range(0, steps - (1 if single else 2), length)]


def read_piece(stream: torch.Tensor, piece: Piece) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets, each (steps, batch)."""
    first, length = piece
    return stream[first : first + length], stream[first + 1 : first + 1 + length]
