"""NNI's own database of an experiment, for what neither its REST interface nor its files tell. Free of torch."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from nni_plugins.evaluators.files import parse_json

_logger = logging.getLogger(__name__)
DATABASE = Path("db/nni.sqlite")
"""In NNI's folder of an experiment."""


def cancelled_by_user(experiment: Path, trial: str) -> bool:
    """Whether the user cancelled ``trial`` in the portal or with ``nnictl trial kill``.

    NNI 3.0 shows every trial that a signal ended as USER_CANCELED, also one that the kernel killed for want of memory,
    and one that answered the user's SIGINT with an exit status as FAILED.

    Args:
        experiment: NNI's folder of the experiment.
    """
    query = "SELECT 1 FROM TrialJobEvent WHERE trialJobId = ? AND event = 'USER_TO_CANCEL'"
    try:
        return _first_row(experiment, query, trial) is not None
    except sqlite3.Error as error:
        _logger.warning(
            "%s cannot be read (%s); trial %s is taken to have crashed", experiment / DATABASE, error, trial
        )
        return False


def tuner_arguments(experiment: Path, identifier: str) -> dict[str, Any]:
    """The tuner's ``classArgs`` of the experiment ``identifier``; {} where there is no such record.

    Args:
        experiment: NNI's folder of the experiment.
    """
    query = "SELECT params FROM ExperimentProfile WHERE id = ? ORDER BY revision DESC LIMIT 1"
    try:
        row = _first_row(experiment, query, identifier)
        arguments = parse_json(row[0])["tuner"]["classArgs"] if row else {}
    except (sqlite3.Error, ValueError, KeyError, TypeError):
        return {}
    return arguments if isinstance(arguments, dict) else {}


def _first_row(experiment: Path, query: str, value: str) -> tuple[Any, ...] | None:
    """Of the answer to ``query`` with ``value``; the database is only read.

    Raises:
        sqlite3.Error: it is missing, locked or damaged.
    """
    address = f"{(experiment / DATABASE).resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=5)) as database:
        row: tuple[Any, ...] | None = database.execute(query, (value,)).fetchone()
    return row
