"""How NNI and people reach the searches: tuners, the trial, the command line, the registry of plugins."""

__version__ = "0.1.0"
