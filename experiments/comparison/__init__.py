"""Every system that the paper compares with: the parts of `experiments.compare`."""
