"""The search space and the number of trials that the YAML file must state, so that NNI's portal can draw the axes and end the experiment."""

from __future__ import annotations

from typing import Any

from .settings import RLNASExperiment, StudySettings

WHOLE_SPACE = "all"
"""Stands on every axis of a search trial, which searches all values at once."""


def search_space(settings: StudySettings) -> dict[str, dict[str, Any]]:
    """One axis for the phase and one for each decision, with :data:`WHOLE_SPACE` where there are search trials."""
    searches = isinstance(settings, RLNASExperiment)
    phases = ["search", "found", "random"] if searches else ["random"]
    axes = {
        label: {**axis, "_value": [*axis["_value"], *([WHOLE_SPACE] if searches else [])]}
        for label, axis in settings.search_space.nni_search_space().items()
    }
    return {"phase": {"_type": "choice", "_value": phases}, **axes}


def expected_trials(settings: StudySettings) -> int:
    """``maxTrialNumber``."""
    searches = len(settings.seeds) * (1 + settings.found) if isinstance(settings, RLNASExperiment) else 0
    return searches + settings.random
