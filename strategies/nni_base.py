"""NNI's one-shot base class, imported so that NNI's own strategies keep working.

``nni.nas.strategy`` and ``nni.nas.oneshot.pytorch.strategy`` import each other; if the second is imported first, ``nni.nas.strategy.DARTS``
and its siblings raise an ImportError for the rest of the process.
"""

from __future__ import annotations

import nni.nas.strategy  # noqa: F401 - must come first
from nni.nas.oneshot.pytorch.strategy import OneShotStrategy

__all__ = ["OneShotStrategy"]
