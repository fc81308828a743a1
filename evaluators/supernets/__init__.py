"""Single-path supernets: training them, and measuring architectures with their weights."""
