"""Readers of published files: local features, global features, shortlists and weights.

Each reader is a module of its own, so that a program loads only the libraries it uses.
"""
