"""The recurrent cells that are searched on Penn Treebank, for any number of nodes."""

from .space import RecurrentCell

__all__ = ["RecurrentCell"]
