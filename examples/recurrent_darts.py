"""DARTS on recurrent cells through NNI's own experiment class, then stand-alone training of what it found. About twenty
seconds on one core.

Usage: python examples/recurrent_darts.py FOLDER, which holds a training, a validation and a test text (``*train*.txt``
and so on).
"""

import sys

import torch
from nni.nas.experiment import NasExperiment

from nni_plugins.evaluators.text import (
    LanguageModelSettings,
    LanguageSearchSettings,
    StandAloneText,
    TextSettings,
    read_corpus,
)
from nni_plugins.spaces.recurrent import RecurrentCell
from nni_plugins.strategies import DARTS
from nni_plugins.strategies.recurrent.darts import RecurrentDifferentiable

torch.set_num_threads(1)  # tensors are so small that more threads only wait for each other
text = TextSettings(path=sys.argv[1], tokens="split", max_words=500, limit_tokens=20_000, limit_evaluation_tokens=8_000)
corpus = read_corpus(text)
small = {
    "learning_rate": 5,
    "dropout": 0.1,
    "dropouth": 0.1,
    "dropoutx": 0.1,
    "dropouti": 0,
    "dropoute": 0,
    "accelerator": "cpu",
}
space = RecurrentCell(nodes=3, hidden=32)
evaluator = RecurrentDifferentiable(corpus, LanguageSearchSettings(epochs=5, batch_size=40, **small), report=print)
experiment = NasExperiment(space.supernet(), evaluator, DARTS(top_k=3))
experiment.run()
best = experiment.export_top_models(1, formatter="dict")[0]
settings = LanguageModelSettings(epochs=5, batch_size=20, evaluation_batch=40, test_batch=40, **small)
result = StandAloneText(corpus, settings, space=space).train(space.architecture(best))
print(
    space.to_string(space.architecture(best)), f"perplexity {result.valid:.1f} (validation), {result.test:.1f} (test)"
)
