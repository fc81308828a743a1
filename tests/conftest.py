"""Every test runs on one thread: tiny tensors are faster so, and bit-identical results are promised for equal thread
counts.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)

FIRST = ("tests/simulated", "tests/faults", "tests/nni_plugins/test_third_party", "tests/evaluators/test_mmlab_run")
"""Few tests that take long: begun last, they would keep one process busy while the others have nothing left."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """:data:`FIRST` goes first; pytest-xdist hands out files in this order, with ``--no-loadscope-reorder``."""
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))


def pytest_collection_finish() -> None:
    """What is imported by now stays for good: Python's collector need not look at its two million objects again and
    again.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def plain_convolutions() -> Iterator[None]:
    """Without oneDNN, whose kernels for networks of one or two channels corrupt the heap on some AMD processors."""
    with torch.backends.mkldnn.flags(enabled=False):
        yield
