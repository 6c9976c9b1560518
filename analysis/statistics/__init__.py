"""Estimates, intervals and tests: arrays in, arrays out, pure NumPy."""
