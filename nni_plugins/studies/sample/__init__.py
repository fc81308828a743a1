"""UnNAS' sample-based experiment: settings, draw, trainings, result and report. Importing this package imports no
torch.
"""
