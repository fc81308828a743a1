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
        "gdas": ["GDAS"],
        "nao": ["ControllerSettings", "NAOResult", "NAOSettings", "ProposalSettings"],
        "random_nas": ["RandomNAS", "RandomNASResult"],
        "random_search": ["RandomSearch"],
        "ranking": ["Ranked"],
        "recurrent_darts": ["RecurrentDifferentiable"],
        "rlnas": ["RLNAS", "SearchResult"],
        "sampling_settings": ["GDASSettings", "RandomNASSettings", "RandomNASTraining", "SETNSettings", "SETNTraining", "SampledTraining"],
        "setn": ["SETN", "SETNResult"],
        "settings": ["RLNASSettings"],
        "unnas": ["UnNASDARTS"],
        "unnas_settings": ["UnNASTraining"],
    },
)
