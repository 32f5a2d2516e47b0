"""The parts of `experiments.embedding`: what stress tells, what convergence buys, pictures."""
