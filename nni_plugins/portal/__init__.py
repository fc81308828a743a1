"""All that speaks to NNI: tuners, trials, its manager and its portal. Importing this package imports no torch."""
