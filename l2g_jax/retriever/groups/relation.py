"""What two pictures are to each other, by what was measured of them."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from l2g_jax.retriever.groups.look import Facts
from l2g_jax.retriever.groups.measurement import Overlay, Sight
from l2g_jax.retriever.groups.options import GroupKind

RelationKind = Literal["same file", "same pixels", "duplicate", "part", "object"]
# Those of pictures with the same frame.
COPIES = ("same file", "same pixels", "duplicate")
Quad = list[list[float]]

# Frames that are shared to this share of their area are the same.
_WHOLE = 0.9
# A whole shows a part reduced where its scale is above, and the part has more to show by this.
_REDUCED, _FINER = 1.1, 1.2
_FRAME: Quad = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]


@dataclasses.dataclass(frozen=True)
class Relation:
  """What two pictures are to each other.

  Attributes:
    first: the name of one; of a part, of that of which less is shared, the whole.
    second: the name of the other; of a part, the part.
    kind: `same file`; `same pixels`; `duplicate`, the same frame encoded, scaled or turned anew;
      `part`, where the second lies within the first, or where both are parts of a third; `object`,
      another picture of the same thing.
    turn: clockwise degrees by which the first, mirrored if it is, becomes the second; 0, 90, 180 or
      270. Of an object 0.
    mirrored: whether they are mirror images.
    inliers: matches that the transform explains; 0 of equal files.
    score: in [0, 1], of pixels their correlation; of an object it grows with the inliers.
    region_first: corners of what they share in fractions of the first's width and height, in the
      order in which `region_second` has them; None = all of both.
    region_second: the same in the second, clockwise from its top left.
    is_inset: whether the first shows the second reduced, as a collage or a screenshot does.
    scale: of a part, its pixels that one pixel of the first shows, along a side.
    is_within: of a part, whether the second lies within the first; else both show a third's part.
  """

  first: str
  second: str
  kind: RelationKind
  turn: int = 0
  mirrored: bool = False
  inliers: int = 0
  score: float = 1.0
  region_first: Quad | None = None
  region_second: Quad | None = None
  is_inset: bool = False
  is_within: bool = True
  scale: float = 1.0

  @property
  def group_kind(self) -> GroupKind:
    """The narrowest kind of groups that has it."""
    if self.kind in COPIES:
      return "copies"
    if self.kind == "object":
      return "views"
    return "insets" if self.is_inset else "crops"

  def other(self, name: str) -> str:
    """Returns the other of the two pictures."""
    return self.first if name == self.second else self.second

  def describe(self, name: str) -> str:
    """Says what one of the two is to the other."""
    told: str = self.kind
    if self.kind == "part":
      told = "crop" if self.second == name else "shows it" if self.is_inset else "whole"
      if not self.is_within:
        told = "overlaps"
    return (
      told
      + (", mirrored" if self.mirrored else "")
      + (f", turned {self.turn}" if self.turn else "")
    )

  def to_json(self) -> dict[str, Any]:
    """Returns a JSON value."""
    return dataclasses.asdict(self)


def relate_pixels(
  names: tuple[str, str],
  facts: tuple[Facts, Facts],
  found: Overlay,
  *,
  is_mirrored: bool,
) -> Relation:
  """Tells what two pictures are to each other that agree pixel by pixel.

  Args:
    names: of both.
    facts: of both.
    found: how the first lies over the second.
    is_mirrored: whether the first is seen in the mirror.
  """
  transform = np.array(found.transform)
  quads = _shared(transform, facts[0].size, facts[1].size)
  shares = [_area(quad) for quad in quads]
  common = {"mirrored": is_mirrored, "inliers": found.inliers, "score": found.correlation}
  turn = 90 * found.turn
  if min(shares) >= _WHOLE:
    same = facts[0].pixels == facts[1].pixels and not turn and not is_mirrored
    kind = "same pixels" if same else "duplicate"
    return Relation(*names, kind, turn=turn, **common)
  # From the whole, the first, to the part.
  to_part = np.sqrt(np.abs(np.linalg.det(transform)))
  if shares[0] > shares[1]:
    names, facts, quads = (names[1], names[0]), (facts[1], facts[0]), quads[::-1]
    to_part = 1.0 / to_part
    # A turn of a mirror image is undone by itself.
    turn = turn if is_mirrored else -turn % 360
  height, width = facts[1].size
  shown = height * width / to_part**2
  return Relation(
    *names,
    "part",
    turn=turn,
    region_first=quads[0],
    region_second=quads[1],
    is_within=max(shares) >= _WHOLE,
    scale=float(to_part),
    is_inset=bool(to_part > _REDUCED and facts[1].detail > _FINER * shown),
    **common,
  )


def mark_insets(relations: Sequence[Relation]) -> list[Relation]:
  """Marks what known collages show reduced, though it be too pale to have more to show."""
  collages = {relation.first for relation in relations if relation.is_inset}
  return [
    dataclasses.replace(relation, is_inset=True)
    if relation.kind == "part" and relation.first in collages and relation.scale > _REDUCED
    else relation
    for relation in relations
  ]


def relate_objects(
  names: tuple[str, str], facts: tuple[Facts, Facts], found: Sight, *, usual: int
) -> Relation:
  """Tells of two pictures that they show the same thing.

  Args:
    names: of both.
    facts: of both.
    found: what they have in common.
    usual: inliers of the score 0.5.
  """
  regions = []
  for box, own in zip(found.boxes, facts, strict=True):
    height, width = (side / own.reduction for side in own.size)
    x1, y1, x2, y2 = box[0] / width, box[1] / height, box[2] / width, box[3] / height
    regions.append([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
  return Relation(
    *names,
    "object",
    inliers=found.inliers,
    score=found.inliers / (found.inliers + usual),
    region_first=regions[0],
    region_second=regions[1],
  )


def _shared(
  transform: np.ndarray, first: tuple[int, int], second: tuple[int, int]
) -> tuple[Quad, Quad]:
  """Returns the corners of what both frames show, in fractions of the first and of the second."""
  to_first, to_second = _to_fractions(first), _to_fractions(second)
  mapping = to_second @ transform @ np.linalg.inv(to_first)
  corners = np.array(_FRAME) @ mapping[:2, :2].T + mapping[:2, 2]
  left, top = np.clip(corners.min(axis=0), 0.0, 1.0)
  right, bottom = np.clip(corners.max(axis=0), 0.0, 1.0)
  quad = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
  back = np.linalg.inv(mapping)
  other = np.clip(quad @ back[:2, :2].T + back[:2, 2], 0.0, 1.0)
  return other.tolist(), quad.tolist()


def _to_fractions(size: tuple[int, int]) -> np.ndarray:
  """Returns the map from pixels, whose centres are whole, to fractions of a picture."""
  height, width = size
  return np.array([[1 / width, 0.0, 0.5 / width], [0.0, 1 / height, 0.5 / height], [0.0, 0.0, 1.0]])


def _area(quad: Quad) -> float:
  """Returns the area of a quadrangle."""
  x, y = np.array(quad).T
  return float(np.abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2.0)
