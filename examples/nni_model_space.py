"""RLNAS on MobileNetV3Space of NNI's hub, on a folder of images without using their labels, then training of the best.

Usage: python examples/nni_model_space.py FOLDER, which holds one folder of images for each class. Without training, in
place of RLNAS: ``PluginStrategy("NASWOT", search={"candidates": 100})``.
"""

import sys

from nni.nas.experiment import NasExperiment

from nni_plugins.evaluators import DataSettings, PluginEvaluator, RandomLabels, SupernetSettings, SupernetTraining, load
from nni_plugins.spaces import NNISpace
from nni_plugins.strategies import RLNAS

data = {"source": "folder", "path": sys.argv[1]}
space = NNISpace("nni.nas.hub.pytorch.MobileNetV3Space", {"stride": [1, 1, 2, 1, 2, 1, 2, 1, 1]})
images = load(DataSettings(image_size=32, **data)).train
experiment = NasExperiment(
    space.supernet(), SupernetTraining(images, RandomLabels(classes=10), SupernetSettings(epochs=50)), RLNAS()
)
experiment.run()
best = space.architecture(experiment.export_top_models(1, formatter="dict")[0])
print(space.to_string(best))
print(PluginEvaluator("retrain", {"recipe": "modern_small", "data": data}, space=space).evaluate(best), "% top-1")
