"""The application with all its commands: each module registers its own."""

from __future__ import annotations

from . import (
    auto,
    compare,
    diagnose,
    docs,
    export,
    latency,
    plugins,
    rank_study,
    retrain,
    sample_study,
    score,
    search,
    sharing_study,
    show,
    transfer,
)
from .console import app

__all__ = [
    "app",
    "auto",
    "compare",
    "diagnose",
    "docs",
    "export",
    "latency",
    "plugins",
    "rank_study",
    "retrain",
    "sample_study",
    "score",
    "search",
    "sharing_study",
    "show",
    "transfer",
]
