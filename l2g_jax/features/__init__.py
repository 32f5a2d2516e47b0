"""Extractors behind one protocol, and what is fitted on their descriptors."""
