"""The cell space of NAS-Bench-201 (Dong & Yang, ICLR 2020), for any number of nodes."""

from .space import NASBench201

__all__ = ["NASBench201"]
