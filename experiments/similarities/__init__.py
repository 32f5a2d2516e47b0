"""An index for any similarity beside its peers: the parts of `experiments.any_similarity`."""
