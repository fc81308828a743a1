"""Measurements that say why a differentiable search went as it went. Importing this package imports no torch."""

from nni_plugins.spaces.lazy import lazy

__getattr__, __dir__ = lazy(
    __name__,
    {
        "depth": ["DepthErrors", "depth_errors"],
        "curves": ["EtaCurve", "LambdaCurve"],
        "lambdas": ["lambda_curve"],
        "recorded": ["Recorded", "train_recorded"],
        "residual": ["ResidualNetwork", "freeze"],
        "search_record": ["SearchRecord", "read_search"],
        "settings": ["NetworkSettings", "Trainable"],
        "variance": [
            "eta_curve",
            "gradient_condition",
            "input_gradient_variances",
            "normalised_convolutions",
            "relative_variances",
            "weight_variances",
        ],
    },
)
