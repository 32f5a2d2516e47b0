"""What the interface answers: the shapes of its JSON."""

import dataclasses
from typing import Literal

from l2g_jax.retriever.groups.relation import RelationKind
from l2g_jax.web.keeper import Work

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class StatusAnswer:
  """How the collection stands; see `keeper.Status`.

  Attributes:
    folder: that is searched.
    state: `preparing`, `ready` or `failed`.
    message: a sentence, or empty.
    num_images: that can be searched, those that can't be read left out.
    num_found: in the folder now.
    num_expected: of these, that can be searched once all are taken in: those that are known to be
      unreadable are left out.
    generation: grows with each new state.
    work: what goes on, if anything does.
    num_left_out: files that are not searched.
    version: of the library.
    upload_bytes: the most bytes of an upload.
    upload_pixels: the most pixels of an upload.
  """

  folder: str
  state: Literal["preparing", "ready", "failed"]
  message: str
  num_images: int
  num_found: int
  num_expected: int
  generation: int
  work: Work | None
  num_left_out: int
  version: str
  upload_bytes: int
  upload_pixels: int


@dataclasses.dataclass(frozen=True)
class ImageAnswer:
  """An image of the folder.

  Attributes:
    id: by which it is asked for.
    name: its path below the folder.
  """

  id: str
  name: str


@dataclasses.dataclass(frozen=True)
class ImagesAnswer:
  """A page of the images in the folder.

  Attributes:
    total: on all pages.
    num_unreadable: of these, that could not be read.
    images: of this page.
  """

  total: int
  num_unreadable: int
  images: list[ImageAnswer]


@dataclasses.dataclass(frozen=True)
class FactsAnswer:
  """What is known of a picture.

  Attributes:
    id: by which it is asked for.
    name: its path below the folder, or as the client called it.
    width: in pixels, turned by EXIF.
    height: likewise.
    bytes: of its file.
    notes: sentences on how it was read.
  """

  id: str
  name: str
  width: int
  height: int
  bytes: int
  notes: list[str]


@dataclasses.dataclass(frozen=True)
class ResultAnswer:
  """An image that a search found; see `retriever.Result`.

  Attributes:
    id: by which it is asked for.
    name: its path below the folder.
    rank: from 1.
    score: of the re-ranking; none where it was not re-ranked.
    similarity: to the query, in [0, 1].
    ranks: in the other stages: `global` and `chamfer`.
    copy: `the same file` or `the same pixels`, of an exact copy.
    region: where the part that was searched for lies in this image: four corners, in fractions of
      its width and height; none where fewer than 8 points agree, as they do by chance.
    inliers: matched points that agree on one position.
  """

  id: str
  name: str
  rank: int
  score: float | None
  similarity: float
  ranks: dict[str, int]
  copy: str | None
  region: list[Point] | None
  inliers: int


@dataclasses.dataclass(frozen=True)
class SearchAnswer:
  """A page of the results of a search.

  Attributes:
    generation: of the collection that was searched.
    num_images: of it, that could be read.
    num_expected: see `StatusAnswer`; more than `num_images` while the folder is being taken in.
    weight: w, of the embedding against the global feature.
    seconds: that the search took.
    remarks: sentences on how the order came about.
    total: results on all pages.
    results: of this page.
  """

  generation: int
  num_images: int
  num_expected: int
  weight: float
  seconds: float
  remarks: list[str]
  total: int
  results: list[ResultAnswer]


@dataclasses.dataclass(frozen=True)
class SizeAnswer:
  """The size of a picture as it is displayed, in pixels of its file.

  Attributes:
    width: of it.
    height: of it.
  """

  width: int
  height: int


@dataclasses.dataclass(frozen=True)
class CompareAnswer:
  """What the query and an image share, in fractions of the pictures as they are displayed.

  Attributes:
    inliers: matched points that agree.
    lines: of the matches, 200 at most: x and y in the query, x and y in the image.
    transform: 3 x 3, maps x, y, 1 of the query to the image; none where fewer than 8 points agree.
    region: see `ResultAnswer`.
    query: the size of the query.
    image: the size of the image.
  """

  inliers: int
  lines: list[list[float]]
  transform: list[list[float]] | None
  region: list[Point] | None
  query: SizeAnswer
  image: SizeAnswer


@dataclasses.dataclass(frozen=True)
class LeftOutFile:
  """A file that is not searched.

  Attributes:
    name: its path below the folder.
    reason: why it is left out.
  """

  name: str
  reason: str


@dataclasses.dataclass(frozen=True)
class LeftOutAnswer:
  """The files that are not searched.

  Attributes:
    files: by name.
  """

  files: list[LeftOutFile]


@dataclasses.dataclass(frozen=True)
class MapPoint:
  """A picture on the map.

  Attributes:
    id: of the image; none of the query.
    name: of the picture.
    x: from -1 to 1, to the right.
    y: from -1 to 1.
    rank: in the search, from 1; 0 of the query.
  """

  id: str | None
  name: str
  x: float
  y: float
  rank: int


@dataclasses.dataclass(frozen=True)
class MapAnswer:
  """The query and its best results as a map: what is alike lies together.

  Attributes:
    points: the query, then the results in their order.
    normalized_stress: how far distances differ from dissimilarities, from 0.
    sentence: the same in words.
  """

  points: list[MapPoint]
  normalized_stress: float
  sentence: str


@dataclasses.dataclass(frozen=True)
class MemberAnswer:
  """A picture of a group.

  Attributes:
    id: by which it is asked for.
    name: its path below the folder.
    width: in pixels.
    height: in pixels.
    bytes: of its file.
    sharpness: the more, the sharper.
    is_best: whether it is the one to keep.
  """

  id: str
  name: str
  width: int
  height: int
  bytes: int
  sharpness: float
  is_best: bool


@dataclasses.dataclass(frozen=True)
class RelationAnswer:
  """What two pictures of a group have in common.

  Attributes:
    first: identifier of one.
    second: identifier of the other.
    kind: `same file`, `same pixels`, `duplicate`, `part` or `object`.
    turn: by which the second is turned against the first, clockwise in degrees.
    mirrored: whether it is mirrored.
    is_inset: of a part, whether the first shows it reduced, as a collage or a screenshot does.
    is_within: of a part, whether it lies within the first; else both show a part of a third.
    inliers: matched points that agree.
    region_first: four corners of what they share, in fractions of the first; none if unknown.
    region_second: the same in the second.
  """

  first: str
  second: str
  kind: RelationKind
  turn: int
  mirrored: bool
  is_inset: bool
  is_within: bool
  inliers: int
  region_first: list[Point] | None
  region_second: list[Point] | None


@dataclasses.dataclass(frozen=True)
class GroupAnswer:
  """Pictures that belong together.

  Attributes:
    kind: the loosest of the relations that hold them together.
    members: best first.
    relations: of pairs of them.
  """

  kind: RelationKind
  members: list[MemberAnswer]
  relations: list[RelationAnswer]


@dataclasses.dataclass(frozen=True)
class GroupsAnswer:
  """A page of the groups, or how far the search for them is.

  Attributes:
    state: `ready`; or `working`, with which nothing but `work` is told.
    generation: of the collection in which they were found.
    total: groups on all pages.
    groups: of this page, largest first.
    work: what goes on, if anything does.
  """

  state: Literal["ready", "working"]
  generation: int = 0
  total: int = 0
  groups: list[GroupAnswer] = dataclasses.field(default_factory=list)
  work: Work | None = None
