"""Training networks to the end by recipes, with timm's parts."""

from nni_plugins.spaces.lazy import lazy

__getattr__, __dir__ = lazy(
    __name__,
    {
        "evaluator": ["RetrainResult", "TimmRetrain"],
        "pictures": ["PictureData", "Pictures", "open_pictures"],
        "recipes": ["changed", "names", "recipe"],
        "settings": ["PictureSettings", "Recipe"],
    },
)
