"""Judging search policies against random ones over several seeds (Yu et al., ICLR 2020). Importing this package imports
no torch.
"""

from nni_plugins.spaces.lazy import lazy

__getattr__, __dir__ = lazy(
    __name__,
    {
        "analysis": ["Analysis", "analyse"],
        "difference": ["Difference", "Verdict"],
        "figures": ["curve_figure", "difference_figure", "distribution_figure"],
        "record": ["Baseline", "Comparison", "RealBest", "Run", "read_comparison"],
        "report": ["write_report"],
        "sentences": ["sentence"],
        "single_networks": ["Stability", "stability"],
        "standings": ["Standing", "standings"],
    },
)
