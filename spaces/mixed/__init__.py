"""Mixed supernets: every operation at once, weighted by architecture parameters that learn."""

from ..lazy import lazy
from .options import MixedOptions

__all__ = ["MixedOptions", "MixedSupernet"]

__getattr__, __dir__ = lazy(__name__, {"network": ["MixedSupernet"]})
