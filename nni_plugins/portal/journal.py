"""NNI's own journal of an experiment, for the one thing that its REST interface does not tell."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

_logger = logging.getLogger(__name__)


def cancelled_by_user(experiment: Path, trial: str) -> bool:
    """Whether the user cancelled ``trial`` in the portal or with ``nnictl trial kill``.

    NNI 3.0 shows every trial that a signal ended as USER_CANCELED, also one that the kernel killed for want of memory,
    and one that answered the user's SIGINT with an exit status as FAILED.

    Args:
        experiment: NNI's folder of the experiment.
    """
    journal = experiment / "db" / "nni.sqlite"
    try:
        with closing(sqlite3.connect(f"{journal.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as database:
            query = "SELECT 1 FROM TrialJobEvent WHERE trialJobId = ? AND event = 'USER_TO_CANCEL'"
            return database.execute(query, (trial,)).fetchone() is not None
    except sqlite3.Error as error:
        _logger.warning("%s cannot be read (%s); trial %s is taken to have crashed", journal, error, trial)
        return False
