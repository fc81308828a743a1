"""What is meant by what a person writes for an architecture: names, texts, JSON, files. One answer for retraining,
backbones, baselines and every command. Importing this package imports no torch.
"""
