"""Every test runs on one thread: tiny tensors are faster so, and bit-identical results are promised for equal thread
counts.
"""

from __future__ import annotations

import torch

torch.set_num_threads(1)
