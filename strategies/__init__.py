"""How a search proceeds. Importing this package imports no torch; its names do when they are first used."""

from nni_plugins.spaces.lazy import lazy

__getattr__, __dir__ = lazy(
    __name__,
    {
        "rlnas.angle": ["VARIANTS", "AngleTable", "AngleVariant"],
        "differentiable.strategies": ["DARTS", "PCDARTS", "RFDARTS", "RFPCDARTS"],
        "differentiable.evaluators": ["DifferentiableTraining"],
        "differentiable.search": ["DifferentiableResult", "Mixture"],
        "differentiable.settings": [
            "DifferentiableSettings",
            "PCDARTSSettings",
            "PCDARTSTraining",
            "RFDARTSSettings",
            "RFPCDARTSSettings",
        ],
        "enas.search": ["ENAS", "ENASResult"],
        "enas.settings": ["ENASSettings", "ENASTraining", "RecurrentENASSettings"],
        "evolution": ["EvolutionSettings", "evolve"],
        "base": ["Problem", "SearchResult", "Setup", "StrategyPlugin"],
        "limits": ["Limits"],
        "nni_plugin": ["PluginStrategy"],
        "score": ["Score"],
        "differentiable.gdas": ["GDAS"],
        "nao": ["ControllerSettings", "NAOResult", "NAOSettings", "ProposalSettings"],
        "naov2.search": ["NAOV2", "NAOV2Result", "NAOWS"],
        "naov2.settings": ["NAOV2Settings", "NAOV2Training", "NAOWSSettings", "NAOWSTraining"],
        "random.random_nas": ["RandomNAS", "RandomNASResult"],
        "random.random_search": ["RandomSearch"],
        "ranking": ["Ranked"],
        "recurrent.darts": ["RecurrentDifferentiable"],
        "rlnas.search": ["RLNAS", "RLNASResult"],
        "differentiable.sampled_settings": ["GDASSettings", "SETNSettings", "SETNTraining", "SampledTraining"],
        "random.settings": ["RandomNASSettings", "RandomNASTraining"],
        "differentiable.setn": ["SETN", "SETNResult"],
        "rlnas.settings": ["RLNASSettings"],
        "differentiable.unnas": ["UnNASDARTS"],
        "differentiable.unnas_settings": ["UnNASTraining"],
    },
)
