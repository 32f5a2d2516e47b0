"""The parts of `experiments.check`: forms of the experiments, and how figures are compared."""
