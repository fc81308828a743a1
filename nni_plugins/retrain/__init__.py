"""How people and NNI reach the retraining of :mod:`evaluators.retraining`. Nothing here imports torch before it is needed."""
