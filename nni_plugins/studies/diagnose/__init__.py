"""``nni-plugins diagnose``: settings, files to start from, and what it runs. Importing this package imports no torch."""
