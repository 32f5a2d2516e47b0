"""Groups of pictures that show the same: duplicates, parts of each other, views of one thing."""

from l2g_jax.retriever.groups.finding import find_groups, find_pairs
from l2g_jax.retriever.groups.group import Group, Groups, Member
from l2g_jax.retriever.groups.options import GroupOptions
from l2g_jax.retriever.groups.relation import Relation

__all__ = ["Group", "GroupOptions", "Groups", "Member", "Relation", "find_groups", "find_pairs"]
