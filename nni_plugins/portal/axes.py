"""The search space and the number of trials that the YAML file must state, so that NNI's portal can draw the axes and
end the experiment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from ..experiment.settings import SampleStudyExperiment, SearchExperiment, StudySettings

WHOLE_SPACE = "all"
"""Stands on every axis of a search trial, which searches all values at once."""


def search_space(settings: StudySettings) -> dict[str, dict[str, Any]]:
    """One axis for the phase and one for each decision, with :data:`WHOLE_SPACE` where there are search trials."""
    searches = isinstance(settings, SearchExperiment)
    phases = (
        ["search", "found", "random", *settings.follow_ups] if isinstance(settings, SearchExperiment) else ["random"]
    )
    axes = {
        label: {**axis, "_value": [*axis["_value"], *([WHOLE_SPACE] if searches else [])]}
        for label, axis in settings.search_space.nni_search_space().items()
    }
    if isinstance(settings, SampleStudyExperiment):
        names = {"objective": {"_type": "choice", "_value": list(settings.objectives)}}
        return {"phase": {"_type": "choice", "_value": ["sample"]}, **names, **axes}
    return {"phase": {"_type": "choice", "_value": phases}, **axes}


def expected_trials(settings: StudySettings) -> int:
    """``maxTrialNumber``."""
    if isinstance(settings, SampleStudyExperiment):
        return settings.trials
    if not isinstance(settings, SearchExperiment):
        return settings.random
    found = settings.found if settings.stand_alone is not None else 0
    follow_ups = settings.follow_ups.values()
    later = sum(follow.found for follow in follow_ups)
    return len(settings.seeds) * (1 + found + later) + settings.random + sum(follow.random for follow in follow_ups)


def flow(value: Mapping[str, Any]) -> list[str]:
    """``value`` as lines of YAML, one a key where it is flat and not too long."""
    return yaml.safe_dump(dict(value), sort_keys=False, default_flow_style=None, width=130).splitlines()
