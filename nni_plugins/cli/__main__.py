"""``python -m nni_plugins.cli``: the command line where a module is wanted, as by torchrun."""

from . import main

if __name__ == "__main__":
    main()
