"""RLNAS: search by the angle of weights trained on random labels. Importing this package imports no torch."""
