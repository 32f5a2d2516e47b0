"""Distractors beside a data set, and what they cost: the parts of `experiments.scaling`."""
