"""Extractors behind one protocol, and models fitted on their descriptors.

Each extractor is a module of its own, so that a program loads only the libraries it uses.
"""

from l2g_jax.features.protocol import GlobalExtractor, LocalExtractor, LocalFeatures

__all__ = ["GlobalExtractor", "LocalExtractor", "LocalFeatures"]
