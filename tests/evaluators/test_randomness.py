"""Streams are functions of (seed, purpose, step), and of nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from nni_plugins.evaluators.randomness import generator, torch_fork, torch_seed

STREAMS: list[tuple[Any, ...]] = [
    (0, "data order"),
    (1, "data order"),
    (0, "augmentation"),
    (0, "data order", 0),
    (0, "data order", 1),
    (0, "data order", 0, 1),
    (0, "data order", 1, 0),
    (2**40, "data order"),
]


def test_a_stream_is_a_function_of_its_name() -> None:
    drawn = [generator(*stream).integers(0, 2**62, 4).tolist() for stream in STREAMS]
    assert drawn == [generator(*stream).integers(0, 2**62, 4).tolist() for stream in STREAMS]
    assert len({tuple(numbers) for numbers in drawn}) == len(STREAMS)
    seeds = [torch_seed(*stream) for stream in STREAMS]
    assert len(set(seeds)) == len(STREAMS) and all(0 <= seed < 2**63 for seed in seeds)


def test_streams_of_two_purposes_are_uncorrelated() -> None:
    a, b = (generator(0, purpose, 3).standard_normal(10_000) for purpose in ("paths", "augmentation"))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05


def test_global_generators_are_left_alone() -> None:
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()
    with torch_fork(0, "initialisation"):
        inside = torch.rand(3)
    with pytest.raises(KeyError), torch_fork(1, "initialisation"):
        other = torch.rand(3)
        raise KeyError
    generator(0, "paths").random(3)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert all(np.array_equal(x, y) for x, y in zip(np.random.get_state(), numpy_before, strict=True))
    torch.rand(1)
    with torch_fork(0, "initialisation"):
        assert torch.equal(torch.rand(3), inside) and not torch.equal(inside, other)


def test_streams_do_not_depend_on_the_hash_seed() -> None:
    program = "from nni_plugins.evaluators.randomness import *; print(hash('x'), generator(5, 'paths', 2).integers(2**60), torch_seed(5, 'initialisation'))"
    hashes, drawn = set(), {(str(generator(5, "paths", 2).integers(2**60)), str(torch_seed(5, "initialisation")))}
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        hashed, *numbers = done.stdout.split()
        hashes.add(hashed)
        drawn.add((numbers[0], numbers[1]))
    assert len(hashes) == 2 and len(drawn) == 1
