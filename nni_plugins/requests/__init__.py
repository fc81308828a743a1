"""Trainings as they are asked for: on the command line, or by the parameters of an NNI trial. Importing this package
imports no torch.
"""
