"""RLNAS through NNI's own experiment class: our space, evaluator and strategy. About a minute on one core."""

from nni.nas.experiment import NasExperiment

from nni_plugins.evaluators import DataSettings, RandomLabels, SupernetSettings, SupernetTraining, load
from nni_plugins.spaces import NASBench201
from nni_plugins.strategies import RLNAS

images = load(DataSettings(source="digits")).train
evaluator = SupernetTraining(images, RandomLabels(classes=10), SupernetSettings(epochs=40, accelerator="cpu"))
experiment = NasExperiment(NASBench201(nodes=3, channels=8, cells_per_stage=1).supernet(), evaluator, RLNAS())
experiment.run()
print(experiment.export_top_models(3, formatter="dict"))
