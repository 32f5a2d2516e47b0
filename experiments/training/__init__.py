"""Training of similarities of our own: material, losses and the loop."""
