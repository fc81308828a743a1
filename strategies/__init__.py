"""How a search proceeds. Importing this package imports no torch; its names do when they are first used."""

from spaces.lazy import lazy

__getattr__, __dir__ = lazy(
    __name__,
    {
        "angle": ["VARIANTS", "AngleTable", "AngleVariant"],
        "evolution": ["EvolutionSettings", "Limits", "evolve"],
        "random_search": ["RandomSearch"],
        "ranking": ["Ranked"],
        "rlnas": ["RLNAS", "SearchResult"],
        "settings": ["RLNASSettings"],
    },
)
