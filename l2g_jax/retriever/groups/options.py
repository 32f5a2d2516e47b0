"""Which pairs count as of one picture, and what is asked for."""

import dataclasses
from typing import Literal, get_args

from l2g_jax import settings
from l2g_jax.ranking import spatial

GroupKind = Literal["duplicates", "copies", "crops", "insets", "objects", "views"]


@dataclasses.dataclass(frozen=True)
class GroupOptions:
  """How groups are found.

  Defaults of numbers come from the sweep of `benchmarks.partial_duplicates`.

  Attributes:
    kind: `duplicates`, pictures that show the same pixels, all or a part of them; or `objects`,
      other photographs of the same thing as well. One relation alone: `copies`, of all pixels;
      `crops`; `insets`, in collages and screenshots; `views`, other photographs of the thing. Of
      these three, the copies of their pictures come along.
    mirrors: whether pictures are looked for in the mirror too, at a search an image.
    depth: neighbours of an image that are compared with it, at least 1; of equal files one counts.
      More find more crops of small parts, in time in proportion.
    mirror_depth: the same of an image in the mirror, whose counterpart is nearly always the first.
    min_inliers: matches that turn, scale and shift must explain before pixels are compared, at
      least 3. Fewer find smaller parts, and compare more pixels.
    min_correlation: of the pixels of what two pictures share, once one is laid over the other, from
      0 to 1: that makes them the same picture and not two of one thing. Below 0.95 other
      photographs from the same spot pass; above 0.99 strongly compressed ones are lost.
    min_object_inliers: matches that a homography explains in two pictures of the same thing, at
      least 8. Fewer find more, and take neighbours in the scene for the thing.
  """

  kind: GroupKind = "duplicates"
  mirrors: bool = False
  depth: int = 12
  mirror_depth: int = 5
  min_inliers: int = 4
  min_correlation: float = 0.97
  min_object_inliers: int = 15

  @property
  def finds_views(self) -> bool:
    """Whether other photographs of the same thing are looked for."""
    return self.kind in ("objects", "views")

  def __post_init__(self):
    settings.choice("kind", self.kind, get_args(GroupKind))
    settings.integer("depth", self.depth, least=1)
    settings.integer("mirror_depth", self.mirror_depth, least=1)
    settings.integer("min_inliers", self.min_inliers, least=3)
    settings.real("min_correlation", self.min_correlation, least=0.0, most=1.0)
    least = spatial.MIN_INLIERS
    settings.integer("min_object_inliers", self.min_object_inliers, least=least)
