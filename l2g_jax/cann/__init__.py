"""Colored nearest-neighbour index on the host."""
