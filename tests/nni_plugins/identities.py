"""Every key of a study's settings changes what some job is, or which jobs there are, unless it is said to be
harmless.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from nni_plugins.evaluators.training.settings import MAY_CHANGE
from nni_plugins.experiment.base import Experiment
from nni_plugins.testing.changes import changed, leaves, with_another_value


def identities(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Of all jobs, by their names."""
    return {job.name: experiment.identity(job) for job in experiment.first_jobs()}


def variable(settings: BaseModel) -> Iterator[str]:
    """Dotted keys that a file may have, and that may have more than one value."""
    for key in leaves(settings):
        *path, last = key.split(".")
        holder: Any = settings
        for name in path:
            holder = getattr(holder, name)
        field = type(holder).model_fields[last]
        if not field.exclude and not (get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1):
            yield key


def check_every_key(experiment: Experiment, alternatives: Mapping[str, Any], impossible: tuple[str, ...] = ()) -> None:
    """Keys that change nothing must be those that are said to, no more and no less.

    Args:
        alternatives: other values of keys for which none can be guessed; they stand for all keys below them.
        impossible: keys that can have no other value beside the others.
    """
    settings, before, known = experiment.settings, identities(experiment), {*alternatives, *impossible}
    guessed = [key for key in variable(settings) if not any(f"{key}.".startswith(f"{one}.") for one in known)]
    for key in (*guessed, *alternatives):
        other = changed(settings, key, alternatives[key]) if key in alternatives else with_another_value(settings, key)
        harmless = key.split(".")[0] in experiment.harmless or key.split(".")[-1] in MAY_CHANGE
        assert (identities(type(experiment)(other)) == before) == harmless, key
