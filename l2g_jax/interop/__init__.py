"""Files that others publish: local features, global features, and shortlists.

Every reader is a module of its own, so that a program loads only the libraries it uses.
"""
