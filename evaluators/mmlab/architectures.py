"""Which network a backbone is: from what can stand in an OpenMMLab configuration file, which knows texts, numbers,
lists and dictionaries.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nni_plugins.spaces.architecture import MAX_JSON_BYTES, Architecture
from nni_plugins.spaces.errors import SpaceError, shown
from nni_plugins.spaces.images import ImageSpace
from nni_plugins.spaces.published import names, published
from nni_plugins.spaces.registered import build

from ..errors import CheckpointError, ConfigError
from ..interchange.weights import read_weights
from ..retraining.checkpoints import BLOCK
from ..retraining.subjects import Subject, subject

CHECKPOINTS = (".pth", ".pt", ".tar", ".ckpt")
"""Endings of files of weights."""


def resolve(
    architecture: str | Mapping[str, Any], space: str | None = None, arguments: Mapping[str, Any] | None = None
) -> Subject:
    """The network that a backbone's arguments mean.

    Args:
        architecture: a published name, the native text of ``space``, an architecture's JSON (as text, as a dictionary,
            or a file ``*.json`` that holds it), a checkpoint of ``nni-plugins retrain``, or the name of one of timm's
            own models.
        space: the registered name of the space; needed for a native text only, but that of NAS-Bench-201.
        arguments: of the space, where they differ from its default, from what was published or from what was trained;
            of ``timm.create_model`` for timm's own models.

    Raises:
        ConfigError: no such name, or an architecture whose networks take no images.
        SpaceError: no architecture or no argument of the space.
        CheckpointError: a checkpoint that does not say what it is of.
        MissingBackend: a name that may be timm's, where timm is not installed.
    """
    given = _plain(arguments or {})
    text: str | Mapping[str, Any] = architecture
    if isinstance(text, str) and text.endswith(CHECKPOINTS):
        return _of_checkpoint(Path(text), space, given)
    if isinstance(text, str) and text.endswith(".json"):
        text = _read(Path(text))
    if isinstance(text, Mapping) or '"choices"' in text:
        point = Architecture.from_json(text if isinstance(text, str) else _plain(text))
        if space not in (None, point.space):
            raise ConfigError(
                f"the architecture is one of {point.space}, but space is {shown(space)}.", "Leave space out."
            )
        return _in_space(point, point.space, given)
    if text in names():
        item = published(text)
        if space not in (None, item.space_name):
            raise ConfigError(
                f"{text} is an architecture of {item.space_name}, but space is {shown(space)}.", "Leave space out."
            )
        return _checked(subject(item.architecture, _images(item.space_with(**given))), text)
    if space is None and text.lstrip()[:1] == "|":
        space = "nasbench201"
    if space is not None:
        return _in_space(text, space, given)
    timms = subject(text)
    return Subject(timms.name, None, None, given)


def _in_space(architecture: str | Architecture, space: str, arguments: dict[str, Any]) -> Subject:
    return subject(architecture, _images(build(space, arguments)))


def _checked(one: Subject, name: str) -> Subject:
    return Subject(name, one.space, one.architecture, one.arguments)


def _images(space: Any) -> ImageSpace:
    if not isinstance(space, ImageSpace):
        raise ConfigError(
            f"networks of {space.name} have no feature maps, so they cannot be a backbone.",
            "Choose a space of image networks.",
        )
    return space


def _of_checkpoint(path: Path, space: str | None, arguments: dict[str, Any]) -> Subject:
    content = read_weights(path)
    description = (
        (content.get(BLOCK) or {}).get("description") if isinstance(content.get(BLOCK) or {}, Mapping) else None
    )
    if not isinstance(description, Mapping):
        raise CheckpointError(
            f"{path}: its network is not described; checkpoints of nni-plugins retrain describe theirs.",
            f"Name it: architecture=..., and checkpoint={str(path)!r} for the weights.",
        )
    try:
        if description["space"] is None:
            name, trained = description["timm"]
            kept = {key: value for key, value in trained.items() if key not in ("num_classes", "in_chans")}
            return Subject(str(name), None, None, {**kept, **arguments})
        name, config = description["space"]
        point = Architecture(str(name), tuple((str(k), str(v)) for k, v in description["architecture"].items()))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: its description is damaged ({type(error).__name__}: {error}).", "Take another copy of it."
        ) from None
    if space not in (None, name):
        raise ConfigError(f"{path} holds a network of {name}, but space is {shown(space)}.", "Leave space out.")
    return _in_space(point, str(name), {**config, **arguments})


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise SpaceError(f"{path} has {path.stat().st_size:,} bytes; at most {MAX_JSON_BYTES:,} are read.")
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"architecture: {path} cannot be read ({error}).", "Correct the path.") from None


def _plain(value: Any) -> Any:
    """Without mmengine's kinds of dictionaries."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
