"""Architectures that were found elsewhere, from ``result.json`` of a search or a file by seed. Free of torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.errors import SpaceError

from .settings import CompareSettings


def read_file(settings: CompareSettings, name: str, file: str) -> dict[int, list[dict[str, str]]]:
    """For each seed of the comparison ``per_search`` architectures, best first.

    Raises:
        ConfigError: the file cannot be read, a seed is missing or has too few, or something is no architecture of the
            space.
    """
    path, where = Path(file).expanduser(), f"policies.{name}.file"
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{where}: cannot read {path}: {error.strerror}.", "Check the path.") from None
    except ValueError:
        raise ConfigError(f"{where}: {path} is no JSON file.") from None
    by_seed = _by_seed(content)
    if by_seed is None:
        raise ConfigError(f"{where}: {path} is neither a search's result.json nor a mapping of seeds to architectures.")
    missing = [str(seed) for seed in settings.seeds if len(by_seed.get(str(seed), [])) < settings.per_search]
    if missing:
        needed = "an architecture" if settings.per_search == 1 else f"{settings.per_search} architectures"
        raise ConfigError(
            f"{where}: {path} lacks {needed} of seed {', '.join(missing)}; it has seeds {', '.join(by_seed) or '(none)'}."
        )
    try:
        return {
            seed: [_choices(settings.search_space, a) for a in by_seed[str(seed)][: settings.per_search]]
            for seed in settings.seeds
        }
    except SpaceError as error:
        raise ConfigError(f"{where}: {path}: {error.problem}", error.remedy) from None


def _by_seed(content: Any) -> dict[str, list[Any]] | None:
    if not isinstance(content, Mapping):
        return None
    if isinstance(content.get("searches"), list):
        try:
            return {
                str(one["seed"]): [entry["choices"] for entry in one["result"]["found"]]
                for one in content["searches"]
                if "result" in one
            }
        except (KeyError, TypeError):
            return None
    return {str(seed): value if isinstance(value, list) else [value] for seed, value in content.items()}


def _choices(space: SearchSpace, value: Any) -> dict[str, str]:
    if not isinstance(value, str | Mapping):
        raise SpaceError(f"an architecture is a string or a mapping, but got {value!r}.")
    return space.parse(value).as_dict()
