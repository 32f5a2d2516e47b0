"""Settings of an index."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

from l2g_jax import kernels
from l2g_jax.errors import InputError

Unreached = Literal["zero", "bound"]

# Of settings that grow with the index; chosen for a recall of the exact top 100 of 0.99 in
# collections of some thousand images, and of 0.95 in larger ones.
_LEAST_PROBES = 32
_LEAST_DEPTH = 500


@dataclasses.dataclass(frozen=True)
class CannConfig:
  """How an index is built, and how it is searched unless a search says otherwise.

  Attributes:
    kernel: f, of the cosine of a query descriptor's best match in an image.
    num_lists: about how many cells the coarse quantiser has; None = one for 800 descriptors.
    num_probes: cells that are scanned for each query descriptor; None = 0.35 times the square root
      of the images, at least 32.
    rescoring_depth: best images of the scan whose similarity is computed anew from all their
      descriptors; None = 7 times the square root of the images, at least 500.
    code_bytes: of a packed descriptor in the cells, a multiple of 4; fewer where fewer suffice.
    max_query_descriptors: the first descriptors of a query that are used; None = all.
    unreached: what an image counts for a query descriptor that met none of its descriptors: `zero`,
      or `bound`, the similarity to the farthest cell that was scanned.
    seed: of the quantiser.
  """

  kernel: kernels.Kernel = kernels.Power()
  num_lists: int | None = None
  num_probes: int | None = None
  rescoring_depth: int | None = None
  code_bytes: int = 32
  max_query_descriptors: int | None = None
  unreached: Unreached = "zero"
  seed: int = 0

  def __post_init__(self):
    counts = (self.num_lists, self.num_probes, self.max_query_descriptors, self.code_bytes)
    lowest = min(count for count in counts if count is not None)
    fits = self.code_bytes % 4 == 0 and (self.rescoring_depth or 0) >= 0
    if lowest < 1 or not fits or self.unreached not in get_args(Unreached):
      raise InputError(f"The settings of an index can't be used: {self}.")

  def probes(self, num_images: int) -> int:
    """Returns `num_probes` for an index of so many images."""
    return self.num_probes or max(_LEAST_PROBES, round(0.35 * num_images**0.5))

  def depth(self, num_images: int) -> int:
    """Returns `rescoring_depth` for an index of so many images."""
    if self.rescoring_depth is not None:
      return self.rescoring_depth
    return max(_LEAST_DEPTH, round(7.0 * num_images**0.5))

  def to_json(self) -> dict[str, Any]:
    """Returns the settings as a JSON object."""
    return {**dataclasses.asdict(self), "kernel": str(self.kernel)}

  @classmethod
  def from_json(cls, values: Mapping[str, Any]) -> "CannConfig":
    """Reads what `to_json` wrote."""
    return cls(**{**values, "kernel": kernels.parse(values["kernel"])})
