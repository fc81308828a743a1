"""Stand-alone training: one architecture, its own weights."""
