"""From what a person names to a network: :mod:`nni_plugins.evaluators.subjects`, and results of runs besides. Importing
this package imports no torch.
"""
