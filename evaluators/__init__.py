"""How a thing is trained, scored and handed on. Importing this package imports no torch; its names do when they are
first used.
"""

from nni_plugins.spaces.lazy import lazy

__getattr__, __dir__ = lazy(
    __name__,
    {
        "data": ["Augmentation", "ImageData", "ImageSet", "load"],
        "errors": [
            "CheckpointError",
            "ConfigChanged",
            "ConfigError",
            "DataError",
            "LabelError",
            "TableError",
            "TrainingError",
        ],
        "objectives": [
            "Colorization",
            "Head",
            "Jigsaw",
            "Objective",
            "RandomLabels",
            "Rotation",
            "Segmentation",
            "Supervised",
            "fitted",
        ],
        "supernets.one_shot": ["one_shot_accuracy", "one_shot_measures"],
        "statistics.ranking": ["Agreement", "agreement", "kendall_tau", "true_ranks"],
        "base": ["EvaluationSettings", "EvaluatorPlugin", "Measured", "Metric"],
        "data.settings": ["DataSettings"],
        "training.settings": ["BilevelSettings", "StandAloneSettings", "SupernetSettings", "TrainingSettings"],
        "supernets.shared_images": ["SharedImages"],
        "stand_alone.training": ["StandAlone", "StandAloneResult"],
        "supernets.training": ["SupernetTraining"],
        "nni_evaluator": ["PluginEvaluator"],
        "retraining.evaluator": ["RetrainResult", "TimmRetrain"],
        "text": ["Corpus", "StandAloneText", "LanguageModelSettings", "TextSettings"],
        "tables.table": ["Table", "digits_table", "nasbench201_table", "read_table"],
        "training": ["Bilevel", "BilevelTraining", "Trained", "Training", "evaluate"],
    },
)
