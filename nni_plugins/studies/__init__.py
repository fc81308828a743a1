"""Studies: jobs, an analysis and a report each. Importing this package imports no torch."""
