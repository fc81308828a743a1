"""Differentiable search: DARTS, its relatives, and searches that sample the mixture. Importing this package imports no
torch.
"""
