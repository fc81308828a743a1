"""Strategies that ask for the values of architectures, one by one. Free of torch."""
