from .cann import CannConfig, CannIndex
from .data import load_dataset, load_ground_truth
from .embedding.mds import smacof
from .errors import InputError
from .evaluation import evaluate
from .pipeline.config import L2GConfig
from .pipeline.l2g import L2G
from .ranked import Ranked
from .ranking.rerank import superglobal_rerank
from .retriever import Retriever
from .similarity.chamfer import chamfer_similarity
from .version import __version__

__all__ = [
  "L2G",
  "CannConfig",
  "CannIndex",
  "InputError",
  "L2GConfig",
  "Ranked",
  "Retriever",
  "__version__",
  "chamfer_similarity",
  "evaluate",
  "load_dataset",
  "load_ground_truth",
  "smacof",
  "superglobal_rerank",
]
