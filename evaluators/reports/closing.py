"""How every report of a study ends: the settings that it followed, and the versions that computed it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from .document import Block, Code, Heading


def closing(settings: Mapping[str, Any], versions: Mapping[str, str]) -> list[Block]:
    """Blocks of both."""
    plain = json.loads(json.dumps(settings))  # equal parts would become YAML's anchors
    setting = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
    lines = "\n".join(f"{name} {version}" for name, version in versions.items())
    return [Heading("Setting"), Code(setting), Heading("Versions"), Code(lines)]
