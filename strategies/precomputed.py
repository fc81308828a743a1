"""Architectures that were found elsewhere, as a strategy: what it "finds" stands in a file. Free of torch."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.files import parse_json
from nni_plugins.evaluators.settings import Settings
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.errors import SpaceError

from .base import Problem, SearchResult, Setup, StrategyPlugin, search_cost
from .ranking import Ranked
from .score import Score

GIVEN_ORDER = Score("given_order", "given order")
"""-1 of the first, -2 of the second, and so on."""


class PrecomputedSettings(Settings):
    """Which file."""

    file: str = Field(
        description="result.json of searches, or a JSON file with {seed: [architectures, best first]}, in any form that "
        "the space reads"
    )


class PrecomputedPlugin(StrategyPlugin):
    """``tuner.name: Precomputed``."""

    name = "Precomputed"
    about = "architectures that were found elsewhere, from a file"
    search_settings = PrecomputedSettings
    data = "none"
    objective = None
    score = GIVEN_ORDER

    def check_files(self, setup: Setup) -> None:
        """The file has what each seed needs.

        Raises:
            ConfigError: every seed that is missing or has too few; or the file cannot be read, or holds something that is
                no architecture of the space, stands there twice or is beyond the limits.
        """
        by_seed = _architectures_by_seed(setup.search.file)
        short = [str(seed) for seed in setup.seeds if len(by_seed.get(str(seed), [])) < setup.found]
        if short:
            needed = "an architecture" if setup.found == 1 else f"{setup.found} architectures"
            raise ConfigError(
                f"search.file: {setup.search.file} lacks {needed} of seed {', '.join(short)}; "
                f"it has seeds {', '.join(by_seed) or '(none)'}."
            )
        for seed in setup.seeds:
            _checked(setup, by_seed[str(seed)])

    def contents(self, setup: Setup) -> dict[str, Any]:
        """The file's."""
        return {"search.file": zlib.crc32(_content(setup.search.file))}

    def search(self, problem: Problem) -> SearchResult:
        """Read."""
        given = _architectures_by_seed(problem.search.file).get(str(problem.seed), [])
        ranked = [Ranked(one, -float(place)) for place, one in enumerate(_checked(problem, given), start=1)]
        return SearchResult(ranked, cost=search_cost())


def _content(file: str) -> bytes:
    path = Path(file).expanduser()
    if not path.is_absolute():
        raise ConfigError(f"search.file: must be an absolute path, but got {file!r}: trials run in other folders.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"search.file: cannot read {file}: {error.strerror}.", "Check the path.") from None


def _architectures_by_seed(file: str) -> dict[str, list[Any]]:
    """What stands in the file, unread, by its seeds."""
    try:
        content = parse_json(_content(file))
    except ValueError:
        raise ConfigError(f"search.file: {file} is no JSON file.") from None
    try:
        if "searches" in content:
            return {
                str(one["seed"]): [entry["choices"] for entry in one["result"]["found"]]
                for one in content["searches"]
                if "result" in one
            }
        return {str(seed): value if isinstance(value, list) else [value] for seed, value in content.items()}
    except (KeyError, TypeError, AttributeError):
        raise ConfigError(
            f"search.file: {file} is neither a search's result.json nor a mapping of seeds to architectures."
        ) from None


def _checked(setup: Setup, given: list[Any]) -> list[Architecture]:
    """The first ``found`` of what was given, read."""
    space, where = setup.space, f"search.file: {setup.search.file}"
    architectures: list[Architecture] = []
    for value in given[: setup.found]:
        if not isinstance(value, str | Mapping):
            raise ConfigError(f"{where}: an architecture is a string or a mapping, but got {value!r}.")
        try:
            architectures.append(space.parse(value))
        except SpaceError as error:
            raise ConfigError(f"{where}: {error.problem}", error.remedy) from None
    rows = space.encode(architectures)
    for architecture, within in zip(architectures, setup.limits.mask(space, rows), strict=True):
        if not within:
            raise ConfigError(f"{where}: {space.to_string(architecture)} is beyond the limits {setup.limits!r}.")
        if architectures.count(architecture) > 1:
            raise ConfigError(f"{where}: {space.to_string(architecture)} stands there twice for one seed.")
    return architectures
