"""Experiments: what they consist of, their jobs, and running them. Importing this package imports no torch."""
