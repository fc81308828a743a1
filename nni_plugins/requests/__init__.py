"""Single trainings as people and NNI ask for them: retraining and transfer. Importing this package imports no torch."""
