"""Experiment files to start from, one YAML file each beside this one: ``nni-plugins init`` writes them. Free of torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import Settings, read
from nni_plugins.spaces.errors import closest

from ..experiment.file import load_yaml, render

FOLDER = Path(__file__).parent


class Preset(Settings):
    """What stands in a preset's file; the rest of an experiment file follows from it."""

    tuner: str
    comment: str = Field(description="stands above the experiment file; its beginning also in lists")
    concurrency: int = Field(1, ge=1, description="trials side by side")
    hours: int = Field(1, ge=1, description="after which NNI ends the experiment")
    gpus: int = Field(0, ge=0, description="of each trial")
    classArgs: dict[str, Any] = Field(description="the experiment's settings")


def preset_names() -> tuple[str, ...]:
    """In alphabetical order."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yml")))


def preset(name: str) -> Preset:
    """The preset called ``name``.

    Raises:
        ConfigError: there is none; the message has close matches.
    """
    if name not in preset_names():
        raise ConfigError(f"unknown preset {name!r}; {closest(name, preset_names())}")
    return read(Preset, load_yaml(FOLDER / f"{name}.yml"), f"{name}.yml: ")


def render_preset(name: str) -> str:
    """The text of an experiment file, valid for ``nnictl create --config`` and the commands of this package.

    Raises:
        ConfigError: there is no such preset.
    """
    p = preset(name)
    return render(name, p.tuner, p.classArgs, p.comment, p.concurrency, p.hours, p.gpus)
