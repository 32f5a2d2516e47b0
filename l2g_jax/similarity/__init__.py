"""Similarity of sets of local descriptors: kernels, Chamfer similarity, and its exact scan."""
