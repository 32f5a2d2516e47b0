"""Searches of the collection for a picture, or a part of it, as it is displayed."""

import dataclasses
import pathlib
import time
from collections.abc import Sequence

import numpy as np

from l2g_jax.data.images import read_size
from l2g_jax.errors import InputError
from l2g_jax.ranking.spatial import MIN_INLIERS
from l2g_jax.retriever.matched import Match, View, match_views
from l2g_jax.retriever.results import Result, Results
from l2g_jax.runtime.threads import in_threads
from l2g_jax.web.failures import BAD_REQUEST, DAMAGED, NOT_FOUND, UNAVAILABLE, Refusal
from l2g_jax.web.found import Picture
from l2g_jax.web.keeper import Keeper, State
from l2g_jax.web.memo import Memo
from l2g_jax.web.pictures import Pictures

# The most results of a search, as many as anybody pages through.
MOST_RESULTS = 1000
_SEARCHES_KEPT = 64

# x1, y1, x2, y2 in fractions of a picture's width and height.
Fractions = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class Query:
  """What is searched for.

  Attributes:
    picture: of the folder, or one that was sent.
    box: the part of it, in fractions of the picture as it is displayed; None = all of it.
    turn: how it is displayed: turned clockwise by 0, 90, 180 or 270 degrees,
    mirror: and then mirrored left to right.
  """

  picture: Picture
  box: Fractions | None = None
  turn: int = 0
  mirror: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Search:
  """A search that was done.

  Attributes:
    query: what was searched for.
    root: the folder that was searched.
    state: of the collection.
    results: best first, `MOST_RESULTS` at most.
    seconds: that it took.
    overlaps: of the query and images, by name, as far as they were asked for.
  """

  query: Query
  root: pathlib.Path
  state: State
  results: Results
  seconds: float
  overlaps: "Memo[str, Overlap]" = dataclasses.field(default_factory=lambda: Memo(MOST_RESULTS))


@dataclasses.dataclass(frozen=True)
class Overlap:
  """What the query and an image share; places are in fractions of the pictures as displayed.

  Attributes:
    lines: `[i, 4]`, x and y in the query, x and y in the image, of matched key points that agree.
    transform: `[3, 3]`, maps homogeneous x, y, 1 of the query to the image; None where fewer than
      `spatial.MIN_INLIERS` matches agree, as they do by chance in unrelated pictures.
    region: `[4, 2]`, the corners of the part that was searched for, as the transform maps them;
      None without a transform, or where one is mapped to infinity or beyond.
    query_size: height and width of the query in pixels.
    image_size: height and width of the image.
  """

  lines: np.ndarray
  transform: np.ndarray | None
  region: np.ndarray | None
  query_size: tuple[int, int]
  image_size: tuple[int, int]


class Searches:
  """Searches, the last of which are kept, so that paging and comparing are quick."""

  def __init__(self, keeper: Keeper, pictures: Pictures):
    """Searches what a keeper has ready."""
    self._keeper, self._pictures = keeper, pictures
    self._searches: Memo[tuple, Search] = Memo(_SEARCHES_KEPT)
    self._state: State | None = None

  def search(self, query: Query) -> Search:
    """Searches the last state of the collection.

    Raises:
      Refusal: there is nothing to search yet, or the picture can't be used.
    """
    state = self._keeper.state()
    if state is None:
      status = self._keeper.status()
      sentence = status.message or "The first photographs are being taken in; wait a little."
      raise Refusal(UNAVAILABLE, sentence)
    if state is not self._state:
      # A search holds its state, and with it all of the collection.
      self._searches.clear()
      self._state = state
    key = (id(state), query.picture.key, query.box, query.turn, query.mirror)
    return self._searches.get(key, lambda: self._search(state, query))

  def overlaps(self, search: Search, results: Sequence[Result]) -> list[Overlap | None]:
    """Matches some results with the query; None where the file of one is no longer there."""

    def match(result: Result) -> Overlap | None:
      try:
        return self.overlap(search, result.name)
      except Refusal:
        return None

    return in_threads(match, results)

  def overlap(self, search: Search, name: str) -> Overlap:
    """Matches an image of the collection with the query.

    Raises:
      Refusal: the image is not in the collection as it was searched, or its file is gone.
    """
    return search.overlaps.get(name, lambda: _overlap(search, name))

  def _search(self, state: State, query: Query) -> Search:
    start = time.perf_counter()
    file = self._pictures.file(query.picture, query.turn, mirror=query.mirror)
    try:
      box = None
      if query.box is not None:
        height, width = read_size(file)
        x1, y1, x2, y2 = query.box
        box = (x1 * width, y1 * height, x2 * width, y2 * height)
      results = state.retriever.search(file, box, MOST_RESULTS)
    except InputError as error:
      raise Refusal(DAMAGED, str(error).replace(str(file), query.picture.name)) from None
    root = self._keeper.collection.images
    return Search(query, root, state, results, time.perf_counter() - start)


def parse_box(text: str | None) -> Fractions | None:
  """Reads a box, `x1,y1,x2,y2` in fractions; what reaches beyond the picture is cut off.

  Returns:
    None where there is no text, or the box is all of the picture.

  Raises:
    Refusal: it is no box, or an empty one.
  """
  if not text:
    return None
  try:
    x1, y1, x2, y2 = (float(value) for value in text.split(","))
  except ValueError:
    raise Refusal(BAD_REQUEST, "A box is x1,y1,x2,y2 in fractions of the picture.") from None
  box = max(x1, 0.0), max(y1, 0.0), min(x2, 1.0), min(y2, 1.0)
  # A comparison with NaN is false.
  if not (box[0] < box[2] and box[1] < box[3]):
    raise Refusal(BAD_REQUEST, "The box is empty; it is x1,y1,x2,y2 with x1 < x2 and y1 < y2.")
  return None if box == (0.0, 0.0, 1.0, 1.0) else box


def _overlap(search: Search, name: str) -> Overlap:
  state, view = search.state, search.results.query
  number = state.numbers.get(name)
  if number is None:
    raise Refusal(NOT_FOUND, "This picture is not in the collection that was searched.")
  try:
    size = read_size(state.retriever.images.path(name))
  except InputError:
    raise Refusal(NOT_FOUND, "The file of this picture is no longer there.") from None
  image = View(state.described[number], size)
  match = match_views(view, image, state.retriever.options.features)
  return _in_fractions(match, view.size, size)


def _in_fractions(match: Match, query: tuple[int, int], image: tuple[int, int]) -> Overlap:
  start, end = np.array(query[::-1], np.float64), np.array(image[::-1], np.float64)
  lines = match.points / np.concatenate([start, end])
  if match.transform is None or len(lines) < MIN_INLIERS:
    return Overlap(lines, None, None, query, image)
  transform = np.diag([*(1 / end), 1.0]) @ match.transform @ np.diag([*start, 1.0])
  transform /= np.abs(transform).max()
  region = None if match.region is None else match.region / end
  return Overlap(lines, transform, region, query, image)
