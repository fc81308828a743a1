"""``nni-plugins compare`` and the tuner ``Compare``: search policies against random architectures, over several seeds.

Yu et al., "Evaluating the Search Phase of Neural Architecture Search", ICLR 2020. What is judged with which statistics
stands in :mod:`nni_plugins.evaluators.reports.comparison`; here is what is run.
"""
