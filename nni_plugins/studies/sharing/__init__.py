"""``nni-plugins sharing-study``: settings, and running one in this process."""
