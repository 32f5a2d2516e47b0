"""Sizes of the network over lists."""

import dataclasses

from l2g_jax import settings


@dataclasses.dataclass(frozen=True)
class ListwiseConfig:
  """Sizes of the network; the defaults make 12 MB of weights.

  Attributes:
    length: how many images of a list are re-ranked, and to how many affinities are given; at least
      1. 512 as in contextual similarity aggregation.
    hidden_dim: width of a layer in each direction, at least 1.
    num_layers: layers, each in both directions; at least 1.
  """

  length: int = 512
  hidden_dim: int = 256
  num_layers: int = 2

  def __post_init__(self):
    for name in ("length", "hidden_dim", "num_layers"):
      object.__setattr__(self, name, settings.integer(name, getattr(self, name), least=1))
