"""Rank agreement and tests of differences. Importing this package imports no torch."""
