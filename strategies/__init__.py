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
        "enas": ["ENAS", "ENASResult"],
        "enas_settings": ["ENASSettings", "ENASTraining", "RecurrentENASSettings"],
        "evolution": ["EvolutionSettings", "Limits", "evolve"],
        "gdas": ["GDAS"],
        "nao": ["ControllerSettings", "NAOResult", "NAOSettings", "ProposalSettings"],
        "naov2": ["NAOV2", "NAOV2Result", "NAOWS"],
        "naov2_settings": ["NAOV2Settings", "NAOV2Training", "NAOWSSettings", "NAOWSTraining"],
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
