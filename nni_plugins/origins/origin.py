"""Which network is meant: a name, an architecture, a file, or what a run found, trained or transferred. All commands ask
here. Free of torch until weights are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.subjects.files import is_weights, path_in, read_content, subject_in
from nni_plugins.evaluators.subjects.subject import Subject
from nni_plugins.evaluators.subjects.texts import WORD, named_subject, parsed_subject
from nni_plugins.spaces.published import published

from .experiments import experiment_folder
from .results import only_one, result_file, subject_of_result


@dataclass(frozen=True)
class Origin:
    """``subject``: the network; ``about``: where it comes from, as JSON: ``kind`` (published, timm, text, file, weights,
    search, comparison, retraining or transfer) and what belongs to it.
    """

    subject: Subject
    about: dict[str, Any] = field(hash=False)


def origin(
    text: str,
    space: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    rank: int = 1,
    job: str | None = None,
) -> Origin:
    """The network that ``text`` means.

    Args:
        text: whatever :func:`nni_plugins.evaluators.subjects.resolver.subject` takes, the folder or ``result.json`` of a
            search, a comparison, a retraining or a transfer, or the id of an NNI experiment. Of a search it is the best
            architecture that it found, by the first evaluation, or by score if there is none; of a comparison the best
            of all policies.
        space: registered name, for native text; default: nasbench201.
        arguments: of the space, in which it differs from the default, from what was published, searched or trained.
        rank: of a search or comparison, the place of the architecture in its list; 1 is best.
        job: of a search, the one of this evaluation's job (``stand_alone-found-0-1``) or the best of a source
            (``random``, or a baseline's name); of a comparison, the same or a policy's.

    Raises:
        ConfigError: no such name, file, experiment, rank or job; an unfinished run; arguments for a model of timm's.
        SpaceError: no architecture of the space.
        CheckpointError: weights that do not say what they are of.
        MissingBackend: a name that may be timm's, where timm is not installed.
    """
    given = dict(arguments or {})
    found = _origin(text.strip(), space, given, rank, job)
    if found.subject.space is None and given:
        raise ConfigError(
            f"{found.subject.name} is a model of timm's and has no space of ours.",
            "Leave --space-argument out; arguments of timm.create_model are --set 'network.arguments={...}' of a recipe.",
        )
    return found


def _origin(text: str, space: str | None, arguments: dict[str, Any], rank: int, job: str | None) -> Origin:
    named = named_subject(text, space, arguments) if WORD.fullmatch(text) else None
    if named is not None:
        only_one(text, rank, job)
        return Origin(named, _about_name(named))
    path, experiment = path_in(text), dict[str, Any]()
    if path is None and WORD.fullmatch(text):
        path, experiment = experiment_folder(text), {"experiment": text}
    if path is None:
        only_one(text, rank, job)
        return Origin(parsed_subject(text, space, arguments), {"kind": "text"})
    file = result_file(path)
    if is_weights(file):
        only_one(text, rank, job)
        return Origin(subject_in(file, space, arguments), {"kind": "weights", "file": str(file)})
    meant = subject_of_result(read_content(file), file, space, arguments, rank, job)
    if meant is not None:
        return Origin(meant[0], {**experiment, **meant[1]})
    only_one(text, rank, job)
    return Origin(subject_in(file, space, arguments), {"kind": "file", "file": str(file)})


def _about_name(named: Subject) -> dict[str, Any]:
    if named.space is None:
        return {"kind": "timm", "name": named.name}
    source = published(named.name).source
    return {"kind": "published", "name": named.name, "source": f"{source.paper} {source.year}; {source.where}"}
