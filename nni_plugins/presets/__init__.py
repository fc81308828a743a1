"""Experiment files to start from: ``nni-plugins init`` writes them. Free of torch.

Each is a YAML file beside this one; a file ``X.grid.yml`` stands for as many as its grid has points.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.overrides import changed_values
from nni_plugins.evaluators.settings import Settings, read
from nni_plugins.spaces.errors import closest

from ..experiment.file import load_yaml, render

FOLDER = Path(__file__).parent
GRID = ".grid.yml"


class Preset(Settings):
    """What stands in a preset's file; the rest of an experiment file follows from it."""

    tuner: str
    comment: str = Field(description="stands above the experiment file; its beginning also in lists")
    concurrency: int = Field(1, ge=1, description="trials side by side")
    hours: int = Field(1, ge=1, description="after which NNI ends the experiment")
    gpus: int = Field(0, ge=0, description="of each trial")
    classArgs: dict[str, Any] = Field(description="the experiment's settings")


class Grid(Settings):
    """What a file of several presets has besides what they share.

    ``name`` and ``preset.comment`` have ``{AXIS}`` where the name of the point on that axis stands. ``grid``: axis ->
    name of a point -> its values by dotted keys of ``classArgs``.
    """

    name: str
    grid: dict[str, dict[str, dict[str, Any]]]
    preset: Preset

    def presets(self) -> dict[str, Preset]:
        """By name."""
        made = {}
        for points in product(*self.grid.values()):
            at = dict(zip(self.grid, points, strict=True))
            changes = {key: value for axis, point in at.items() for key, value in self.grid[axis][point].items()}
            arguments = changed_values(self.preset.classArgs, changes)
            comment = self.preset.comment.format(**at)
            made[self.name.format(**at)] = self.preset.model_copy(update={"comment": comment, "classArgs": arguments})
        return made


@cache
def _of_grids() -> dict[str, Preset]:
    grids = (read(Grid, load_yaml(path), f"{path.name}: ") for path in sorted(FOLDER.glob(f"*{GRID}")))
    return {name: one for grid in grids for name, one in grid.presets().items()}


def preset_names() -> tuple[str, ...]:
    """In alphabetical order."""
    single = (path.stem for path in FOLDER.glob("*.yml") if not path.name.endswith(GRID))
    return tuple(sorted([*single, *_of_grids()]))


def preset(name: str) -> Preset:
    """The preset called ``name``.

    Raises:
        ConfigError: there is none; the message has close matches.
    """
    if name not in preset_names():
        raise ConfigError(f"unknown preset {name!r}; {closest(name, preset_names())}")
    if name in _of_grids():
        return _of_grids()[name]
    return read(Preset, load_yaml(FOLDER / f"{name}.yml"), f"{name}.yml: ")


def render_preset(name: str) -> str:
    """The text of an experiment file, valid for ``nnictl create --config`` and the commands of this package.

    Raises:
        ConfigError: there is no such preset.
    """
    p = preset(name)
    return render(name, p.tuner, p.classArgs, p.comment, p.concurrency, p.hours, p.gpus)
