"""Mixed supernets: every operation at once, weighted by architecture parameters that learn."""

from ..lazy import lazy
from .options import MixedOptions
from .sampled_options import GumbelOptions, SampledOptions

__all__ = [
    "GumbelOptions",
    "GumbelSupernet",
    "MixedOptions",
    "MixedSupernet",
    "SampledOptions",
    "SampledSupernet",
    "UniformSupernet",
]

__getattr__, __dir__ = lazy(
    __name__, {"network": ["MixedSupernet"], "sampled": ["GumbelSupernet", "SampledSupernet", "UniformSupernet"]}
)
