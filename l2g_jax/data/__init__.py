"""Data sets: ground truth, images, feature stores, and the built-in benchmark."""
