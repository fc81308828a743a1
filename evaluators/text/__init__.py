"""Text for language models: corpora, stand-alone training, many cells at once, shared weights, and differentiable
search.
"""

from nni_plugins.spaces.lazy import lazy

__getattr__, __dir__ = lazy(
    __name__,
    {
        "batched": ["CellsResult", "train_cells"],
        "bilevel": ["TextBilevel", "TextBilevelTraining"],
        "corpus": ["Corpus", "read_corpus"],
        "settings": ["LanguageModelSettings", "LanguageSearchSettings", "TextSettings"],
        "shared": ["SharedText"],
        "shared_settings": ["SharedTextSettings"],
        "stand_alone": ["StandAloneText"],
        "training": ["LanguageResult", "LanguageTraining"],
    },
)
