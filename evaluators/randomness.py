"""Random numbers as a function of (seed, purpose, step): what makes an interrupted run end exactly like an undisturbed
one.

Nothing here or in any caller touches a global generator. Two purposes or two steps never share a stream (NumPy's
``SeedSequence``).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def sequence(seed: int, purpose: str, *step: int) -> np.random.SeedSequence:
    """The root of the stream for ``purpose`` (such as ``"data order"``) at ``step`` (such as an epoch)."""
    return np.random.SeedSequence(entropy=seed, spawn_key=(zlib.crc32(purpose.encode()), *step))


def generator(seed: int, purpose: str, *step: int) -> np.random.Generator:
    """A NumPy generator for that stream."""
    return np.random.Generator(np.random.PCG64(sequence(seed, purpose, *step)))


def torch_seed(seed: int, purpose: str, *step: int) -> int:
    """A 63-bit seed for torch from that stream."""
    return int(sequence(seed, purpose, *step).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def torch_fork(seed: int, purpose: str, *step: int) -> Iterator[None]:
    """Within the block torch's global generators are seeded for (seed, purpose, step); afterwards they are as they were
    before.
    """
    import torch

    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if torch.cuda.is_available() else []):
        torch.manual_seed(torch_seed(seed, purpose, *step))
        yield
