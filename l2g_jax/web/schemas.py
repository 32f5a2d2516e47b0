"""What the interface answers: the shapes of its JSON."""

import dataclasses
from typing import Literal

from l2g_jax.web.found import Picture
from l2g_jax.web.keeper import Work

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class StatusAnswer:
  """How the collection stands; see `keeper.Status`.

  Attributes:
    folder: that is searched.
    state: `preparing`, `ready` or `failed`.
    message: a sentence, or empty.
    num_images: that can be searched.
    num_found: in the folder now.
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
    images: of this page.
  """

  total: int
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
      its width and height; none where nothing is known of it.
    inliers: matched points that agree about it.
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
    num_images: of it.
    weight: w, of the embedding against the global feature.
    seconds: that the search took.
    remarks: sentences on how the order came about.
    total: results on all pages.
    results: of this page.
  """

  generation: int
  num_images: int
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
    transform: 3 x 3, maps x, y, 1 of the query to the image; none where there is none.
    region: see `ResultAnswer`.
    query: the size of the query.
    image: the size of the image.
  """

  inliers: int
  lines: list[tuple[float, float, float, float]]
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


def image_answer(picture: Picture) -> ImageAnswer:
  """Returns what is said of a picture in a list."""
  return ImageAnswer(picture.id, picture.name)
