"""What ``nni-plugins retrain ARCH`` means by ARCH: a name, an architecture, a file, or what a search found. Free of
torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nni_plugins.evaluators.backends import require
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.errors import SpaceError, closest, shown
from nni_plugins.spaces.images import ImageSpace
from nni_plugins.spaces.published import names, published
from nni_plugins.spaces.registered import SPACES

from ..experiment.settings import build_space
from . import results
from .experiments import experiment_folder

NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
"""Names of architectures and models, and ids of experiments; no native text of a space is a single word."""
ACCEPTED = "a published name, a name of timm's, an architecture as text or JSON, a file, the folder of a search or comparison, or an NNI experiment's id"


@dataclass(frozen=True)
class Origin:
    """``architecture`` of ``space``; both None for a model of timm's own, whose name is ``name``.

    ``name``: None where the architecture has none. ``about``: where it comes from, as JSON: ``kind`` (published, timm,
    text, file, retraining, search or comparison) and what belongs to it; of the last two ``means`` holds how well found
    and random architectures did on average.
    """

    name: str | None
    space: ImageSpace | None
    architecture: Architecture | None
    about: dict[str, Any] = field(hash=False)

    @property
    def text(self) -> str:
        """The name, or the architecture in its space's native text."""
        if self.architecture is None or self.space is None:
            return self.name or ""
        return self.name or self.space.to_string(self.architecture)


def origin(
    text: str,
    space: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    rank: int = 1,
    job: str | None = None,
) -> Origin:
    """The architecture that ``text`` means.

    Args:
        text: see :data:`ACCEPTED`. Of a search it is the best architecture that it found, by trained accuracy, or by
            score if none was trained.
        space: registered name, for native text; default: nasbench201.
        arguments: of the space, in which it differs from the default, what was published or what was searched.
        rank: of a search or comparison, the so manieth instead, from 1.
        job: of a search, this job's (``random-3``); of a comparison, this policy's best or this job's.

    Raises:
        ConfigError: no such name, file, experiment, rank or job; an unfinished search; a network that takes no images.
        SpaceError: no architecture of the space.
        MissingBackend: timm is not installed.
    """
    given = dict(arguments or {})
    named = None if NAME.fullmatch(text) is None else _named(text, space, given)
    if named is not None:
        _only_of_results(text, rank, job)
        return named
    path = _path(text)
    experiment: dict[str, Any] = {}
    if path is None and NAME.fullmatch(text) is not None:
        path, experiment = experiment_folder(text), {"experiment": text}
        if path is None:
            raise _unknown(text)
    if path is None:
        _only_of_results(text, rank, job)
        return _parsed(text, space, given, {"kind": "text"})
    file = results.file_in(path)
    content = _content(file)
    if results.is_search(content):
        found = results.of_search(content, file, rank, job)
    elif results.is_comparison(content):
        found = results.of_comparison(file, rank, job)
    elif results.is_retraining(content):
        _only_of_results(str(path), rank, job)
        trained = results.of_retraining(content, file)
        if isinstance(trained, str):
            return origin(trained, space, given)
        found = trained
    else:
        _only_of_results(str(path), rank, job)
        return _parsed(
            content if isinstance(content, str) else json.dumps(content),
            space,
            given,
            {"kind": "file", "file": str(file)},
        )
    if space is not None and space != found.space["name"]:
        raise ConfigError(
            f"{file} is of the space {found.space['name']!r}, but got --space {space}.", "Leave --space out."
        )
    built = _space({**found.space, **given}, str(file))
    return Origin(None, built, built.architecture(found.choices), {**experiment, **found.about})


def _named(name: str, space: str | None, arguments: dict[str, Any]) -> Origin | None:
    """A published architecture or a model of timm's; None if neither is called so."""
    if name in names():
        entry = published(name)
        if space not in (None, entry.space_name):
            raise ConfigError(
                f"{name} is an architecture of {entry.space_name!r}, but got --space {space}.", "Leave --space out."
            )
        built = _of_images(entry.space_with(**arguments), name)
        source = f"{entry.source.paper} {entry.source.year}; {entry.source.where}"
        return Origin(
            name, built, built.check(entry.architecture), {"kind": "published", "name": name, "source": source}
        )
    if name in {f"{known}_network" for known in SPACES}:
        known = name.removesuffix("_network")
        raise ConfigError(
            f"{name}: which architecture?", f"Pass its text: nni-plugins retrain ARCHITECTURE --space {known}"
        )
    if not require("timm.models", "timm").is_model(name):
        return None
    if space is not None or arguments:
        raise ConfigError(
            f"{name} is a model of timm's and has no space of ours.",
            "Leave --space and --argument out; arguments of timm.create_model: --set 'network.arguments={...}'.",
        )
    return Origin(name, None, None, {"kind": "timm", "name": name})


def _parsed(text: str, space: str | None, arguments: dict[str, Any], about: dict[str, Any]) -> Origin:
    """An architecture as JSON or native text."""
    if '"choices"' in text:
        named = Architecture.from_json(text).space
        if space not in (None, named):
            raise ConfigError(
                f"the architecture is of the space {named!r}, but got --space {space}.", "Leave --space out."
            )
        space = named
    name = space or "nasbench201"
    built = _space({"name": name, **arguments}, "the architecture")
    try:
        return Origin(None, built, built.parse(text), about)
    except SpaceError as error:
        if space is not None:
            raise
        raise ConfigError(
            f"{shown(text)} is no architecture of nasbench201: {error.problem}",
            f"Of another space: --space NAME. {error.remedy}",
        ) from None


def _space(arguments: dict[str, Any], what: str) -> ImageSpace:
    """``classes``, which searches do not ask for, is for those who count parameters."""
    classes = {"classes": arguments.pop("classes")} if "classes" in arguments else {}
    built = _of_images(build_space(arguments), what)
    return built.with_classes(**classes) if classes else built


def _of_images(space: SearchSpace, what: str) -> ImageSpace:
    if not isinstance(space, ImageSpace):
        raise ConfigError(
            f"{what} is of the space {space.name!r}, whose networks take no images; retraining is for classifiers of images.",
            "Language models: nni_plugins.evaluators.text.LanguageModel, see docs/language_models.md.",
        )
    return space


def _only_of_results(text: str, rank: int, job: str | None) -> None:
    if rank != 1 or job is not None:
        given = f"--job {job}" if job is not None else f"--rank {rank}"
        raise ConfigError(
            f"{shown(text)} is one architecture, but got {given}.",
            "--rank and --job choose from a search or a comparison.",
        )


def _path(text: str) -> Path | None:
    """The file or folder that ``text`` names; None if it looks like something else."""
    if len(text) > 1000 or any(sign in text for sign in "\0\n"):
        return None
    path = Path(text).expanduser()
    try:
        if path.exists():
            return path
    except OSError:  # such as a name that is too long
        return None
    if not any(sign in text for sign in "|{}()[]'\" ") and (
        "/" in text or path.suffix in (".json", ".yml", ".yaml", ".txt")
    ):
        raise ConfigError(
            f"{text}: no such file or folder.", "Check the path. A search leaves result.json in its --output folder."
        )
    return None


def _content(file: Path) -> Any:
    """JSON, or the text itself."""
    try:
        text = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"cannot read {file}: {reason}.", f"Pass {ACCEPTED}.") from None
    if file.suffix in (".yml", ".yaml"):
        raise ConfigError(
            f"{file} is a configuration, not an architecture.",
            f"Search first: nni-plugins search {file}; then pass its folder.",
        )
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        if file.suffix == ".json":
            raise ConfigError(f"{file} is no JSON file, or is damaged.", f"Pass {ACCEPTED}.") from None
        return text


def _unknown(name: str) -> ConfigError:
    matches = closest(name, [*names(), *require("timm.models", "timm").list_models()])
    matches = matches if matches.startswith("did you mean") else "nothing is called like that."
    return ConfigError(
        f"unknown architecture {shown(name)}; {matches}",
        f"Pass {ACCEPTED}. Names: nni-plugins list --architectures, timm.list_models(); experiments of this machine: nnictl experiment list --all.",
    )
