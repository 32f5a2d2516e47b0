"""Speed against peers, printed as ratios of one run."""
