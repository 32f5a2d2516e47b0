"""Settings of an index of landmarks."""

import dataclasses
from typing import Literal, get_args

from l2g_jax import settings

Selection = Literal["random", "farthest", "spread"]
Weighting = Literal["equal", "near"]

_MOST_POWER = 4.0


@dataclasses.dataclass(frozen=True)
class LandmarkConfig:
  """How an index is built.

  Attributes:
    num_landmarks: L, items to which every item and every query is compared, at least 2; a smaller
      collection has all its items as landmarks. More place better, and cost every item and query as
      many evaluations. 100 to 1000 are useful; 512 is a quarter of 2 % of 100,000 items.
    num_neighbors: R, items that seem near to an item and to which it is compared at the build, at
      least 0; they lead a search from one item to the next. More cost every item as many
      evaluations, and find more where the space alone misleads.
    num_dimensions: m, of the space. More hold more of the similarity, until they fit what is
      chance: a third of the landmarks is often best. None = chosen by held-out items.
    power: p of the dissimilarity 1 - u^p, above 0 and at most 4, where u is the similarity scaled
      to [0, 1]. Smaller ones spread what is hardly similar, larger ones what is very similar. None
      = chosen by held-out items.
    profile_weight: of the raw similarities to the landmarks beside the space when nearest items are
      sought, at least 0. Up to 2 helps where landmarks are few, such as 50, and costs memory for L
      numbers an item; 0 is best with hundreds. None = chosen by held-out items.
    weighting: of dissimilarities when an item is placed: `equal`, or `near`, which counts small
      ones more, by their inverse square. None = chosen by held-out items.
    selection: of landmarks. `random` costs nothing and is the default.
      `farthest` takes the candidate least similar to those chosen, `spread` draws candidates with
      odds by their squared dissimilarity to those chosen. Both evaluate 2 L candidates L times.
    part_size: items of one file, at least 1; an interrupted build goes on after the last one.
    batch_pairs: pairs that are evaluated in one call, about, at least 1; of no effect on the result
      but for rounding.
    seed: of all random choices, from 0 to 2^32 - 1.

  Raises:
    SettingError: a setting is out of its range.
  """

  num_landmarks: int = 512
  num_neighbors: int = 48
  num_dimensions: int | None = None
  power: float | None = None
  profile_weight: float | None = None
  weighting: Weighting | None = None
  selection: Selection = "random"
  part_size: int = 4096
  batch_pairs: int = 1 << 18
  seed: int = 0

  def __post_init__(self):
    least_of = {"num_landmarks": 2, "num_neighbors": 0, "part_size": 1, "batch_pairs": 1}
    for name, least in least_of.items():
      self._set(name, settings.integer(name, getattr(self, name), least=least))
    seed = settings.integer("seed", self.seed, least=0, most=settings.LARGEST_SEED)
    self._set("seed", seed)
    self._set("selection", settings.choice("selection", self.selection, get_args(Selection)))
    if self.num_dimensions is not None:
      self._set("num_dimensions", settings.integer("num_dimensions", self.num_dimensions, least=1))
    if self.power is not None:
      power = settings.real("power", self.power, above=0.0, most=_MOST_POWER)
      self._set("power", power)
    if self.profile_weight is not None:
      self._set("profile_weight", settings.real("profile_weight", self.profile_weight, least=0.0))
    if self.weighting is not None:
      self._set("weighting", settings.choice("weighting", self.weighting, get_args(Weighting)))

  def _set(self, name: str, value: object) -> None:
    object.__setattr__(self, name, value)
