"""Work over the nodes of a Ray cluster: Ray schedules, files of ours are the state.

A driver plans; tasks write parts, which appear whole or not at all; the driver commits once. The
core knows nothing of this room, which needs the extra `ray`.
"""

from l2g_jax.cluster.nodes import Needs, connected, local_nodes
from l2g_jax.cluster.search import ClusterSearcher
from l2g_jax.cluster.stages import build_index, extract, make_lists

__all__ = [
  "ClusterSearcher",
  "Needs",
  "build_index",
  "connected",
  "extract",
  "local_nodes",
  "make_lists",
]
