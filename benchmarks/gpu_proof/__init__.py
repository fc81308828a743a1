"""The sections of ``benchmarks/gpu.py``, and what runs and records them."""
