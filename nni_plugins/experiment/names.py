"""Names that people give, and messages on one line. Free of torch."""

from __future__ import annotations

import re

from nni_plugins.spaces.errors import NNIPluginsError

NAME = re.compile(r"[a-z][a-z0-9_]*")
"""Of evaluations: they stand on the portal's axes and in file names."""
LABEL = re.compile(r"[A-Za-z0-9][\w.+-]*")
"""Of policies: files are named after them."""
REAL_BEST, EVERY = "real-best", "every"
"""Of trainings of all architectures of a space: whose they are, and where their architectures come from."""
JOB = re.compile(r"[A-Za-z0-9][\w.+#@-]{0,199}")
"""Of jobs: files and folders are named after them."""
RUN = "#"
"""Stands between a policy's name and the number of one of its runs; in no name that a person may give."""


def one_line(error: NNIPluginsError, remedy: bool = True) -> str:
    """Problem and remedy of ``error`` without line breaks or a full stop."""
    return (str(error) if remedy else error.problem).replace("\n", " ").removesuffix(".")
