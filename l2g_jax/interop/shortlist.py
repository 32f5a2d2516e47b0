"""The images that a search found for queries."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Shortlist:
  """The images that a search found for Q queries, best first.

  Attributes:
    ids: `[Q, k]` int64, places in the collection; -1 pads.
    similarities: `[Q, k]` float32, descending; 0 beside -1.
  """

  ids: np.ndarray
  similarities: np.ndarray
