"""Random search: with a training for each architecture, and with shared weights. Importing this package imports no
torch.
"""
