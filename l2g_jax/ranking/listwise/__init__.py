"""List-wise re-ranking by a BiLSTM: every image is judged with the whole list before it.

The paper's table has a row "BiLSTM" without a description. This is a reading of it: a recurrent
network runs over the list in both directions, and an image is given by its affinities to the others
(Ouyang et al., Contextual Similarity Aggregation with Self-attention, NeurIPS 2021).
"""

from l2g_jax.ranking.listwise.config import ListwiseConfig
from l2g_jax.ranking.listwise.inputs import ListInputs, list_inputs
from l2g_jax.ranking.listwise.network import BiLstm
from l2g_jax.ranking.listwise.scoring import rank_by_network, score_lists

__all__ = [
  "BiLstm",
  "ListInputs",
  "ListwiseConfig",
  "list_inputs",
  "rank_by_network",
  "score_lists",
]
