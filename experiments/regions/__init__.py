"""Where results match their query, and how well that agrees with the truth."""
