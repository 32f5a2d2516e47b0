"""A collection made ready for queries, and kept so."""
