"""Settings of an index."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

from l2g_jax import kernels
from l2g_jax.errors import InputError

Unreached = Literal["zero", "bound"]


@dataclasses.dataclass(frozen=True)
class CannConfig:
  """How an index is built, and how it is searched unless a search says otherwise.

  Attributes:
    kernel: f, of the cosine of a query descriptor's best match in an image.
    num_lists: cells of the coarse quantiser; None = about the square root of the descriptors.
    num_probes: cells that are scanned for each query descriptor.
    rescoring_depth: best images of the scan whose similarity is computed anew from all their
      descriptors.
    max_query_descriptors: the first descriptors of a query that are used; None = all.
    unreached: what an image counts for a query descriptor that met none of its descriptors: `zero`,
      or `bound`, the similarity to the last cell that was scanned.
    seed: of the coarse quantiser.
  """

  kernel: kernels.Kernel = kernels.Power()
  num_lists: int | None = None
  num_probes: int = 16
  rescoring_depth: int = 100
  max_query_descriptors: int | None = None
  unreached: Unreached = "zero"
  seed: int = 0

  def __post_init__(self):
    counts = (self.num_lists, self.num_probes, self.max_query_descriptors)
    lowest = min(count for count in counts if count is not None)
    if lowest < 1 or self.rescoring_depth < 0 or self.unreached not in get_args(Unreached):
      raise InputError(f"The settings of an index can't be used: {self}.")

  def to_json(self) -> dict[str, Any]:
    """Returns the settings as a JSON object."""
    return {**dataclasses.asdict(self), "kernel": str(self.kernel)}

  @classmethod
  def from_json(cls, values: Mapping[str, Any]) -> "CannConfig":
    """Reads what `to_json` wrote."""
    return cls(**{**values, "kernel": kernels.parse(values["kernel"])})
