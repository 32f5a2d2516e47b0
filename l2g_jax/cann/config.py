"""Settings of an index."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from l2g_jax import settings
from l2g_jax.errors import InputError, SettingError
from l2g_jax.similarity import kernels

Unreached = Literal["zero", "bound"]

# Of settings that grow with the index, see `CannConfig`.
_LEAST_PROBES = 32
# Cells that are read, as multiples of the square root of the images, where all descriptors of a
# query are scanned, and where a share of them is.
_PROBES = 0.35
_SHARE_PROBES = 0.5
_LEAST_DEPTH = 500
_LIST_PROBES = 32
# Images that are screened, as multiples of the square root of the images.
_SCREENED = 7.0
_SCREENED_FOR_LISTS = 2.0
_LARGE_SCREENED_FOR_LISTS = 3.0
# The least that a setting may be.
_LEAST = {
  "num_lists": 1,
  "num_probes": 1,
  "rescoring_depth": 0,
  "code_bytes": 4,
  "descriptor_bytes": 8,
  "max_query_descriptors": 1,
  "seed": 0,
}
_REQUIRED = ("code_bytes", "seed")


class Reach(NamedTuple):
  """How far a search looks.

  Attributes:
    num_probes: cells that are scanned for a descriptor.
    depth: best images whose similarity is computed exactly.
    screened: images of the scan, more than `depth`, that a share of the query's descriptors orders
      before; 0 = none.
    whole: whether all descriptors of the query are scanned, and not only a share.
  """

  num_probes: int
  depth: int
  screened: int
  whole: bool


def whole_number(request: str, value: Any, *, least: int, most: int | None = None) -> int:
  """Returns a whole number in a range as an `int`.

  Args:
    request: the start of an error's sentence, such as `A search needs k`.
    value: any integer, also one of NumPy.
    least: the smallest that fits.
    most: the largest that fits; None = any.

  Raises:
    InputError: it is no integer, or out of range.
  """
  if isinstance(value, bool) or not isinstance(value, int | np.integer):
    raise InputError(f"{request} as a whole number, not {value!r}.")
  if value < least:
    raise InputError(f"{request} of at least {least}, not {value}.")
  if most is not None and value > most:
    raise InputError(f"{request} of at most {most}, not {value}.")
  return int(value)


@dataclasses.dataclass(frozen=True)
class CannConfig:
  """How an index is built, and how it is searched unless a search says otherwise.

  Attributes:
    kernel: f, of the cosine of a query descriptor's best match in an image. A selective one, as the
      default power(alpha=7), counts good matches alone; see `kernels`.
    burst_power: how far descriptors of a query that are alike count as one, at least 0; see
      `similarity.bursts`. The smaller above 0, the more counts as alike. 0, the default, weighs all
      the same, as arXiv 2509.04351; a `Retriever` has another.
    num_lists: about how many cells the coarse quantiser has, at least 1. More cells make a scan
      shorter and building longer, and need more probes. None = one for 800 descriptors.
    num_probes: cells that are scanned for each query descriptor, at least 1. More find more of the
      true neighbours, in time in proportion; as many as there are cells read all. None = 0.35 times
      the square root of the images, or 0.5 times where images are screened, at least 32, chosen for
      a recall of the exact 100 best of 0.99 in collections of some thousand images, and of 0.95 in
      larger ones.
    rescoring_depth: best images of the scan whose similarity is computed anew, exactly, from all
      their descriptors; at least 0, which leaves the order to the scan. As many as there are images
      whose order matters, or a few times more, are useful. None = 1.75 times the square root of
      the images, at least 500, chosen as `num_probes` was; where 7 times the square root is more,
      so many images are screened before, of a scan of a share of the query's descriptors, see
      `scoring.screen`.
    code_bytes: of a packed descriptor in the cells, a multiple of 4; fewer where fewer suffice.
      More make the estimates of the scan better, and the index larger. The default leaves 2 bits
      to each of 128 dimensions; half to twice as much is useful.
    descriptor_bytes: of a descriptor as it is stored for exact similarities, with its cell, a
      multiple of 4, at least 8; fewer where fewer suffice. Similarities called exact are those to
      what is stored. 44 leave 2 to 3 bits to each of 128 dimensions. None, the default, keeps 8
      bits a dimension and a scale, 132 bytes of 128 dimensions.
    max_query_descriptors: the first descriptors of a query that are used, at least 1; extractors
      put the strongest first. Fewer make a search shorter, in proportion. None = all, the default.
    unreached: what an image counts for a query descriptor that met none of its descriptors: `zero`,
      or `bound`, the similarity to the farthest cell that was scanned. `bound` is for flat kernels,
      to which the rest counts too; with a selective kernel, as the default, it is next to 0.
    seed: of the sample and the start from which the quantiser is learned, from 0 to 2^32 - 1. The
      same seed gives the same files; another gives other cells, as good.
  """

  kernel: kernels.Kernel = kernels.DEFAULT
  burst_power: float = 0.0
  num_lists: int | None = None
  num_probes: int | None = None
  rescoring_depth: int | None = None
  code_bytes: int = 32
  descriptor_bytes: int | None = None
  max_query_descriptors: int | None = None
  unreached: Unreached = "zero"
  seed: int = 0

  def __post_init__(self):
    if not isinstance(self.kernel, kernels.Kernel):
      raise SettingError("kernel", "one of l2g_jax.kernels", self.kernel)
    object.__setattr__(
      self, "burst_power", settings.real("burst_power", self.burst_power, least=0.0)
    )
    settings.choice("unreached", self.unreached, get_args(Unreached))
    for name, least in _LEAST.items():
      value = getattr(self, name)
      if value is not None or name in _REQUIRED:
        # NumPy's integers become Python's, which JSON can hold.
        most = settings.LARGEST_SEED if name == "seed" else settings.LARGEST_INTEGER
        object.__setattr__(self, name, settings.integer(name, value, least=least, most=most))
    for name in ("code_bytes", "descriptor_bytes"):
      if (getattr(self, name) or 0) % 4:
        raise SettingError(name, "a multiple of 4", getattr(self, name))

  def probes(self, num_images: int, *, whole: bool = True) -> int:
    """Returns `num_probes` for an index of so many images, see `Reach`."""
    if self.num_probes is not None:
      return self.num_probes
    return max(_LEAST_PROBES, round((_PROBES if whole else _SHARE_PROBES) * num_images**0.5))

  def depth(self, num_images: int) -> int:
    """Returns `rescoring_depth` for an index of so many images."""
    if self.rescoring_depth is not None:
      return self.rescoring_depth
    return max(_LEAST_DEPTH, round(_SCREENED / 4.0 * num_images**0.5))

  def screened(self, num_images: int) -> int:
    """Returns how many images a search screens before it scores them exactly; 0 = none."""
    count = round(_SCREENED * num_images**0.5)
    return count if self.rescoring_depth is None and count > self.depth(num_images) else 0

  def reach(
    self, num_images: int, num_probes: int | None = None, rescoring_depth: int | None = None
  ) -> Reach:
    """Returns how far a search looks in an index of so many images, unless it is told otherwise."""
    screened = self.screened(num_images) if rescoring_depth is None else 0
    return Reach(
      self.probes(num_images, whole=not screened) if num_probes is None else num_probes,
      self.depth(num_images) if rescoring_depth is None else rescoring_depth,
      screened,
      whole=not screened,
    )

  def list_reach(self, num_images: int, depth: int) -> Reach:
    """Returns how far searches look that make neighbour lists, the first `depth` of them exact."""
    probes = _LIST_PROBES if self.num_probes is None else self.num_probes
    root = num_images**0.5
    # A share of the descriptors leaves a rough order, of which more is scored.
    if 0 < 4 * depth < (screened := round(_LARGE_SCREENED_FOR_LISTS * root)):
      return Reach(probes, 2 * depth, screened, whole=False)
    screened = round(_SCREENED_FOR_LISTS * root)
    return Reach(probes, depth, screened if 0 < depth < screened else 0, whole=True)

  def to_json(self) -> dict[str, Any]:
    """Returns the settings as a JSON object."""
    values = {**dataclasses.asdict(self), "kernel": str(self.kernel)}
    # Settings of earlier versions are without it, and weigh all the same.
    if not self.burst_power:
      del values["burst_power"]
    if self.descriptor_bytes is None:
      del values["descriptor_bytes"]
    return values

  @classmethod
  def from_json(cls, values: Mapping[str, Any]) -> "CannConfig":
    """Reads what `to_json` wrote; InputError where it is something else."""
    known = {field.name for field in dataclasses.fields(cls)}
    if not values.keys() <= known or not isinstance(values.get("kernel"), str):
      raise InputError(f"These are no settings of an index: {dict(values)}.")
    return cls(**{"burst_power": 0.0, **values, "kernel": kernels.parse(values["kernel"])})
