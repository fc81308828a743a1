"""Text for language models: corpora, stand-alone training, and differentiable search of recurrent cells."""

from spaces.lazy import lazy

__getattr__, __dir__ = lazy(
    __name__,
    {
        "bilevel": ["TextBilevel", "TextBilevelTraining"],
        "corpus": ["Corpus", "read_corpus"],
        "settings": ["LanguageModelSettings", "LanguageSearchSettings", "TextSettings"],
        "stand_alone": ["LanguageModel"],
        "training": ["LanguageResult", "LanguageTraining"],
    },
)
