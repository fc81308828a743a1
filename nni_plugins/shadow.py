"""Our packages have general names, so a user's own folder ``spaces/`` beside an experiment could be imported instead of ours.

Checked before anything else of ours is imported; for that reason this module imports nothing of ours.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

PACKAGES = ("spaces", "strategies", "evaluators")


def shadowed(packages: tuple[str, ...] = PACKAGES) -> str | None:
    """A message that says which file is in the way of which package, or None."""
    home = Path(__file__).resolve().parent.parent
    for name in packages:
        spec = importlib.util.find_spec(name)
        origin = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
        if origin is None:
            return f"error: our package {name!r} is not installed.\nInstall all of it again: pip install -e {home} (or pip install nni-plugins)."
        if origin != home / name / "__init__.py":
            return (
                f"error: 'import {name}' finds {origin} instead of {home / name}: something of yours has our package's name.\n"
                f"Rename it, or start the experiment (trialCodeDirectory) in a folder without spaces/, strategies/ or evaluators/."
            )
    return None
