"""Benchmarks: each prints a ratio to a bound that it measures in the same run."""
