"""The parts of `experiments.transfer`: sets of descriptors, and the tables."""
