"""The one thing that travels between strategies, trials, files and evaluators."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import SpaceError, shown

SCHEMA_VERSION = 1
MAX_JSON_BYTES = 1_000_000


@dataclass(frozen=True, order=True)
class Architecture:
    """A point of a search space: the space's name and one value for each of its decisions, in the space's order.

    Frozen, hashable and ordered (by space, then by choices), and free of weights and of torch. Build one with
    ``space.architecture({...})`` or ``space.parse("...")``, which check it; this class only holds it.
    """

    space: str
    choices: tuple[tuple[str, str], ...]

    def __getitem__(self, label: str) -> str:
        return self.as_dict()[label]

    def as_dict(self) -> dict[str, str]:
        """``{decision label: value}``: also the sample dictionary that NNI's strategies use."""
        return dict(self.choices)

    def to_json(self) -> str:
        """One line of JSON with a schema version; :meth:`from_json` reads it back."""
        return json.dumps({"schema": SCHEMA_VERSION, "space": self.space, "choices": self.as_dict()})

    @classmethod
    def from_json(cls, text: str | bytes | Mapping[str, Any]) -> Architecture:
        """Read :meth:`to_json`'s form, or the same as a dictionary.

        Only the form is checked here; ``space.check(architecture)`` checks the content.

        Raises:
            SpaceError: not JSON, too large, too deep, a missing or foreign key, or a schema newer than ours.
        """
        data: Any = text
        if isinstance(text, str | bytes):
            if len(text) > MAX_JSON_BYTES:
                raise SpaceError(f"architecture JSON has {len(text):,} bytes; at most {MAX_JSON_BYTES:,} are read.")
            try:
                data = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise SpaceError(f"architecture is not valid JSON: {type(error).__name__}: {str(error)[:80]}") from None
        if not isinstance(data, Mapping):
            raise SpaceError(f"architecture JSON must be an object, but got {type(data).__name__}.")
        missing, foreign = {"schema", "space", "choices"} - set(data), set(data) - {"schema", "space", "choices"}
        if missing or foreign:
            raise SpaceError(
                f"architecture JSON must have the keys schema, space and choices, but misses {sorted(missing)} "
                f"and has {shown(sorted(map(str, foreign)))}."
            )
        schema = data["schema"]
        if not isinstance(schema, int) or isinstance(schema, bool) or not 1 <= schema <= SCHEMA_VERSION:
            raise SpaceError(
                f"schema: architecture JSON has schema {shown(schema)}; this version reads 1 to {SCHEMA_VERSION}.",
                "Upgrade nni-plugins, or export the architecture again with this version.",
            )
        if not isinstance(data["space"], str):
            raise SpaceError(f"space: must be a string, but got {type(data['space']).__name__}.")
        choices = data["choices"]
        if not isinstance(choices, Mapping) or not all(isinstance(v, str) for item in choices.items() for v in item):
            raise SpaceError("choices: must be an object of strings, such as {'e_0_1': 'nor_conv_3x3'}.")
        return cls(data["space"], tuple(choices.items()))
