"""Files that hold one architecture: its text or JSON, or the weights of a network with its description. Free of torch
until weights are read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nni_plugins.spaces.architecture import MAX_JSON_BYTES, Architecture

from ..errors import CheckpointError, ConfigError
from .subject import Subject
from .texts import Space, check_space, parsed_subject

WEIGHTS = (".pth", ".pt", ".tar", ".ckpt", ".safetensors")
"""Endings of files of weights."""
ENDINGS = (".json", ".txt", ".yml", ".yaml", *WEIGHTS)
"""A text that ends so names a file."""
NOT_IN_PATHS = "|{}()[]'\" "
"""Signs of native texts."""
ACCEPTED = "a name, an architecture as text or JSON, a file of either, or weights of nni-plugins retrain"


def path_in(text: str) -> Path | None:
    """The file or folder that ``text`` names; None if it says something else.

    Raises:
        ConfigError: it looks like a path, and nothing is there.
    """
    if not text or len(text) > 1000 or any(sign in text for sign in "\0\n"):
        return None
    path = Path(text).expanduser()
    try:
        if path.exists():
            return path
    except OSError:  # such as a name that is too long
        return None
    if not any(sign in text for sign in NOT_IN_PATHS) and ("/" in text or text.endswith(ENDINGS)):
        raise ConfigError(f"{text}: no such file or folder.", "Check the path.")
    return None


def is_weights(file: Path) -> bool:
    """Whether ``file`` is one of weights, by its ending or by how torch's files begin."""
    if file.name.endswith(WEIGHTS):
        return True
    try:
        with open(file, "rb") as opened:
            return opened.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def subject_in(file: Path, space: Space = None, arguments: Mapping[str, Any] | None = None) -> Subject:
    """What the file holds; ``space`` and ``arguments``: as :func:`nni_plugins.evaluators.subjects.texts.parsed_subject`.

    Raises:
        ConfigError: it cannot be read, or holds something else; CheckpointError: weights that do not say what they are
            of; and what ``parsed_subject`` raises.
    """
    if is_weights(file):
        return _subject_of_weights(file, space, dict(arguments or {}))
    content = read_content(file)
    if not isinstance(content, str | dict):
        raise ConfigError(f"{file} holds no architecture, but {type(content).__name__}.", f"Pass {ACCEPTED}.")
    return parsed_subject(content, space, arguments)


def read_content(file: Path) -> Any:
    """What a file of JSON holds, or the text of another one.

    Raises:
        ConfigError: it cannot be read, is no JSON though it is called so, or is a configuration.
    """
    if file.suffix in (".yml", ".yaml"):
        raise ConfigError(
            f"{file} is a configuration, not an architecture.",
            f"Search first: nni-plugins search {file}; then pass its folder.",
        )
    try:
        if file.suffix != ".json" and file.stat().st_size > MAX_JSON_BYTES:
            raise ConfigError(
                f"{file} has {file.stat().st_size:,} bytes, so it is no architecture.", f"Pass {ACCEPTED}."
            )
        text = file.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"cannot read {file}: {reason}.", f"Pass {ACCEPTED}.") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        if file.suffix == ".json":
            raise ConfigError(f"{file} is no JSON file, or is damaged.", f"Pass {ACCEPTED}.") from None
        return text


def _subject_of_weights(file: Path, space: Space, arguments: dict[str, Any]) -> Subject:
    """The network that a checkpoint of ours describes, with the weights in it."""
    from ..interchange.weights import BLOCK, read_weights

    block = read_weights(file).get(BLOCK)
    description = block.get("description") if isinstance(block, Mapping) else None
    if not isinstance(description, Mapping):
        raise CheckpointError(
            f"{file}: its network is not described; checkpoints of nni-plugins retrain describe theirs.",
            f"Name the architecture, and give {file} as its weights (export --weights, transfer --checkpoint, NASBackbone's checkpoint).",
        )
    return described_subject(description, file, space, arguments, file)


def described_subject(
    description: Mapping[str, Any], file: Path, space: Space, arguments: Mapping[str, Any], weights: Path | None
) -> Subject:
    """The network of a description that :func:`nni_plugins.evaluators.retraining.network.describe` made, in the size
    that it was trained in.

    Args:
        file: where the description stands, for messages.
        space: if one is said, it must be that space.
        arguments: of the space, or of ``timm.create_model``, where they differ.
        weights: the file of its weights.

    Raises:
        ConfigError: it is of another space; CheckpointError: it is damaged, or of a network that no name makes again.
    """
    try:
        if description["space"] is not None:
            name, config = description["space"]
            point = Architecture(str(name), tuple((str(k), str(v)) for k, v in description["architecture"].items()))
            one = parsed_subject(point, None, {**config, **arguments})
        elif description["timm"] is not None:
            name, trained = description["timm"]
            kept = {key: value for key, value in trained.items() if key not in ("num_classes", "in_chans")}
            one = Subject(str(name), None, None, {**kept, **arguments})
        else:
            raise CheckpointError(
                f"{file}: its network, a {description['name']}, was made by a program of its own, and nothing in the file makes it again."
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{file}: its description is damaged ({type(error).__name__}: {error}).", "Take another copy of it."
        ) from None
    check_space(f"the network of {file}", one.name, space)
    return replace(one, weights=weights)
