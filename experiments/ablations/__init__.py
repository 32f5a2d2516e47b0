"""The sweeps of `experiments.ablation`: what is varied, how a cell is measured, what is shown."""
