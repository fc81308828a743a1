"""Every test runs on one thread: tiny tensors are faster so, and bit-identical results are promised for equal thread
counts.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture
def plain_convolutions() -> Iterator[None]:
    """Without oneDNN, whose kernels for networks of one or two channels corrupt the heap on some AMD processors."""
    with torch.backends.mkldnn.flags(enabled=False):
        yield
