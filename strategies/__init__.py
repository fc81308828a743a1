"""How a search proceeds. Importing this package imports no torch; its names do when they are first used."""

from spaces.lazy import lazy

__getattr__, __dir__ = lazy(
    __name__,
    {
        "angle": ["VARIANTS", "AngleTable", "AngleVariant"],
        "differentiable": ["DARTS", "PCDARTS", "RFDARTS", "RFPCDARTS"],
        "differentiable_evaluators": ["DifferentiableTraining"],
        "differentiable_search": ["DifferentiableResult", "Mixture"],
        "differentiable_settings": ["DifferentiableSettings", "PCDARTSSettings", "PCDARTSTraining", "RFDARTSSettings", "RFPCDARTSSettings"],
        "evolution": ["EvolutionSettings", "Limits", "evolve"],
        "random_search": ["RandomSearch"],
        "ranking": ["Ranked"],
        "rlnas": ["RLNAS", "SearchResult"],
        "settings": ["RLNASSettings"],
    },
)
