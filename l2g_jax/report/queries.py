"""Ranked lists of a data set as pictures: labels, changes of rank, and matched key points."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from l2g_jax.data.dataset import Dataset
from l2g_jax.data.ground_truth import QueryJudgement
from l2g_jax.data.images import Box
from l2g_jax.ranked import Ranked
from l2g_jax.ranking.spatial import MIN_INLIERS
from l2g_jax.report.blocks import Browser, Fallen, Label, Matches, Query, Result
from l2g_jax.report.pictures import QUERY_SIDE, read_picture
from l2g_jax.retriever.described import DescribedImages
from l2g_jax.retriever.matched import View, match_views
from l2g_jax.retriever.options import Features
from l2g_jax.runtime.progress import track
from l2g_jax.runtime.threads import in_threads

_SHOWN = 12
_MATCHED = 10
# Of a pair; more lines hide the pictures.
_MOST_POINTS = 60


@dataclasses.dataclass(frozen=True)
class Stage:
  """The rankings of a stage for Q queries.

  Attributes:
    name: of the stage, such as `chamfer`.
    rankings: `[Q, N]` ids, best first.
    scored: `[Q, C]`, ids and what the stage ranks by, in any order; None = no scores are shown.
    score_name: what the scores are.
  """

  name: str
  rankings: np.ndarray
  scored: Ranked | None = None
  score_name: str = "score"


@dataclasses.dataclass(frozen=True)
class KeyPoints:
  """The local features behind the lists.

  Attributes:
    queries: of Q queries, cut to their boxes.
    images: of N images.
    features: the settings with which they were described.
  """

  queries: DescribedImages
  images: DescribedImages
  features: Features


def make_browser(
  dataset: Dataset,
  stages: Sequence[Stage],
  *,
  shown: Sequence[str],
  reference: str,
  facts: Sequence[Sequence[tuple[str, str]]],
  orders: Mapping[str, Sequence[int]],
  key_points: KeyPoints | None,
  fallen: Sequence[Mapping[int, tuple[str, Sequence[str]]]] | None = None,
  scales: Mapping[str, str] = MappingProxyType({}),
) -> Browser:
  """Returns the ranked lists of a data set as pictures.

  Args:
    dataset: with Q queries and N images.
    stages: of which the ranks of the positives are told.
    shown: the names of those whose lists are shown, side by side; key points are matched for the
      first results of the last.
    reference: the name of the stage against which changes of rank count.
    facts: of every query, see `Query`.
    orders: see `Browser`.
    key_points: None = none are shown.
    fallen: of every query the positives that the last list moves down most, worst first, each with
      its reason and facts, see `Fallen`; their key points are matched too. None = none are shown.
    scales: see `Browser`.
  """
  truth = dataset.ground_truth
  fallen = [{}] * len(truth.queries) if fallen is None else fallen
  columns = {stage.name: _Column(stage, _places(stage.rankings)) for stage in stages}
  wanted = _shown_images(dataset, [columns[name].stage for name in shown])
  numbers = {image: number for number, image in enumerate(wanted)}
  pictures = in_threads(
    lambda image: read_picture(truth.imlist[image], dataset.database_paths[image]), wanted
  )
  queries = []
  for row, judgement in enumerate(track(truth.queries, "ranked lists", unit="queries")):
    picture = read_picture(truth.qimlist[row], dataset.query_paths[row], side=QUERY_SIDE)
    matches = {}
    if key_points is not None:
      first = columns[shown[-1]].stage.rankings[row, :_MATCHED].tolist()
      matched = [*dict.fromkeys([*first, *fallen[row]])]
      sizes = [pictures[numbers[image]].size for image in matched]
      found = _match(key_points, row, picture.size, judgement.bbx, matched, sizes)
      matches = {numbers[image]: pair for image, pair in zip(matched, found, strict=True)}
    lists = {}
    for name in shown:
      first = columns[name].stage.rankings[row, :_SHOWN].tolist()
      lists[name] = _results(columns[name], columns[reference], row, judgement, numbers, first)
    positives: list[tuple[int, Label, list[int]]] = [
      (
        numbers[image],
        _label(judgement, image),
        [int(column.places[row, image]) + 1 for column in columns.values()],
      )
      for image in (*judgement.easy.tolist(), *judgement.hard.tolist())
    ]
    last = columns[shown[-1]]
    results = _results(last, columns[reference], row, judgement, numbers, [*fallen[row]])
    fell = [
      Fallen(result, int(last.places[row, image]) + 1, *told)
      for result, (image, told) in zip(results, fallen[row].items(), strict=True)
    ]
    queries.append(Query(picture, judgement.bbx, facts[row], lists, positives, matches, fell))
  return Browser(
    "Ranked lists",
    pictures,
    [*columns],
    reference,
    queries,
    orders,
    scores={stage.name: stage.score_name for stage in stages},
    scales=scales,
    least_matches=None if key_points is None else MIN_INLIERS,
  )


@dataclasses.dataclass(frozen=True)
class _Column:
  """A stage, and the places `[Q, N]` of all images in it, from 0."""

  stage: Stage
  places: np.ndarray


def _shown_images(dataset: Dataset, stages: Sequence[Stage]) -> list[int]:
  """Returns the images that some query shows, ascending: the first of its lists, and positives."""
  wanted: set[int] = set()
  for row, judgement in enumerate(dataset.ground_truth.queries):
    for stage in stages:
      wanted.update(stage.rankings[row, :_SHOWN].tolist())
    wanted.update(judgement.easy.tolist(), judgement.hard.tolist())
  return sorted(wanted)


def _results(
  column: _Column,
  reference: _Column,
  row: int,
  judgement: QueryJudgement,
  numbers: Mapping[int, int],
  images: Sequence[int],
) -> list[Result]:
  """Returns some images as results of a query in a stage."""
  scores = _scores(column.stage.scored, row)
  return [
    Result(
      numbers[image],
      _label(judgement, image),
      scores.get(image),
      None
      if column is reference
      else int(reference.places[row, image]) - int(column.places[row, image]),
    )
    for image in images
  ]


def _places(rankings: np.ndarray) -> np.ndarray:
  """Returns the places `[Q, N]` of all images, from 0."""
  places = np.empty_like(rankings)
  np.put_along_axis(places, rankings, np.arange(rankings.shape[1], dtype=rankings.dtype)[None], 1)
  return places


def _label(judgement: QueryJudgement, image: int) -> Label:
  if image in judgement.easy:
    return "easy"
  if image in judgement.hard:
    return "hard"
  return "junk" if image in judgement.junk else "negative"


def _scores(scored: Ranked | None, row: int) -> dict[int, float]:
  if scored is None:
    return {}
  return dict(zip(scored.ids[row].tolist(), scored.similarities[row].tolist(), strict=True))


def _match(
  key_points: KeyPoints,
  row: int,
  size: tuple[int, int],
  box: Box | None,
  images: Sequence[int],
  sizes: Sequence[tuple[int, int]],
) -> list[Matches]:
  """Returns the verified matches of a query and some images; sizes are heights and widths."""
  own = View(key_points.queries[row], size, box)
  thousandths = 1000 / np.array(size[::-1], np.float32)

  def match(pair: tuple[int, tuple[int, int]]) -> Matches:
    image, other_size = pair
    found = match_views(own, View(key_points.images[image], other_size), key_points.features)
    count = len(found.points)
    spread = np.linspace(0, count - 1, min(count, _MOST_POINTS)).astype(int)
    scale = np.concatenate([thousandths, 1000 / np.array(other_size[::-1], np.float32)])
    points = found.points[spread] * scale
    return Matches(count, np.clip(np.round(points), 0, 1000).astype(int))

  return in_threads(match, list(zip(images, sizes, strict=True)))
