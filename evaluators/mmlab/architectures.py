"""Which network a backbone is: from what can stand in an OpenMMLab configuration file, which knows texts, numbers,
lists and dictionaries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..subjects.resolver import image_subject
from ..subjects.subject import ImageSubject


def resolve(
    architecture: str | Mapping[str, Any], space: str | None = None, arguments: Mapping[str, Any] | None = None
) -> ImageSubject:
    """The network that a backbone's arguments mean, see :func:`nni_plugins.evaluators.subjects.resolver.image_subject`."""
    return image_subject(_plain(architecture), space, _plain(arguments or {}))


def _plain(value: Any) -> Any:
    """Without mmengine's kinds of dictionaries."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
