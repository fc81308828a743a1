"""From what a person names to an architecture: results, experiments, files. Importing this package imports no torch."""
