"""Benchmarks: speed and accuracy beside peers, as ratios of one run."""
