"""The command line ``nni-plugins``: thin over public functions. Exit status: 0 done, 2 wrong input, 3 failed training,
4 NNI trouble.
"""

from __future__ import annotations

import sys
import warnings


def main() -> None:
    """Entry point of the console script."""
    # NNI's own imports warn about pkg_resources and torch's Buffer; nobody who runs a command can do anything about it.
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    warnings.filterwarnings("ignore", message=".*is found to be not a nn.Module")
    from nni_plugins.spaces.errors import NNIPluginsError, printable

    from .app import app

    try:
        app(standalone_mode=True)
    except NNIPluginsError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(error.exit_status)
    except SystemExit as end:
        if end.code == 130:  # Ctrl-C, which typer turns into this status without a word
            print("stopped; run the same command again to continue.", file=sys.stderr)
        raise
