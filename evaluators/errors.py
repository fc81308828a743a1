"""Typed errors of training, data, checkpoints and tables; see :class:`nni_plugins.spaces.errors.NNIPluginsError`."""

from __future__ import annotations

from nni_plugins.spaces.errors import ConfigError as ConfigError
from nni_plugins.spaces.errors import NNIPluginsError


class DataError(NNIPluginsError):
    """Images or labels that are missing, unreadable or do not fit."""


class LabelError(DataError):
    """Labels were asked of data that has none."""


class CheckpointError(NNIPluginsError):
    """A checkpoint that is damaged, foreign, newer than ours or locked by another process."""


class ConfigChanged(CheckpointError):
    """A run was resumed with a configuration that differs from the one that it was started with."""


class TrainingError(NNIPluginsError):
    """Training that cannot go on, such as a loss that is not finite."""

    exit_status = 3


class TableError(NNIPluginsError):
    """A table of results that cannot be read or lacks an architecture."""


class MissingBackend(NNIPluginsError):
    """An optional package that a function needs is not installed; the remedy is the line that installs it."""


class ExportError(NNIPluginsError):
    """A network that cannot be exported, or whose exported file answers differently."""
