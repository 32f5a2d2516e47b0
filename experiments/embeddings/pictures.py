"""Pictures of a query's embedding: in two dimensions by SMACOF, and t-SNE of the m dimensions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.problems import problem_of
from experiments.shortlists import Shortlists
from l2g_jax.data.ground_truth import QueryJudgement
from l2g_jax.embedding import mds
from l2g_jax.errors import InputError
from l2g_jax.pipeline.config import L2GConfig
from l2g_jax.report import Cell, Column, Plot, Section, Table, plots
from l2g_jax.report.thumbnails import Thumbnail

_PERPLEXITY = 30.0
# Thumbnails of a picture: more hide the points. Of each label the nearest to the query are taken.
_SHOWN = {"query": 1, "easy": 8, "hard": 8, "junk": 3, "negative": 10}
_NOTE = "The nearest of each label are pictured; where they would overlap, a line leads to a point."

# Returns the JPEG of an image by its id, or of the query, -1.
ReadThumbnail = Callable[[int], bytes]


def choose(queries: Mapping[str, Any]) -> list[int]:
  """Returns the queries of the greatest gain over the search, the median and the least one.

  Args:
    queries: of `measure_queries`; the gain is of medium average precision.
  """
  gains = {
    number: after - before
    for number, (after, before) in enumerate(
      zip(queries["medium"], queries["search medium"], strict=True)
    )
    if after is not None
  }
  ordered = sorted(gains, key=lambda number: (-gains[number], number))
  return list(dict.fromkeys([*ordered[:1], *ordered[len(ordered) // 2 :][:1], *ordered[-1:]]))


def make_section(
  given: Shortlists,
  numbers: Sequence[int],
  config: L2GConfig,
  *,
  has_tsne: bool,
  read: Callable[[int], ReadThumbnail],
) -> Section:
  """Draws the embeddings of some queries.

  Args:
    given: shortlists with ground truth.
    numbers: of the queries.
    config: settings of the method.
    has_tsne: whether t-SNE of the m dimensions is drawn too, which needs scikit-learn.
    read: returns the reader of the thumbnails of a query.

  Raises:
    InputError: scikit-learn is not installed.
  """
  rows: list[list[Cell]] = []
  drawn: list[Plot] = []
  for number in numbers:
    name, judgement = given.truth.qimlist[number], given.truth.queries[number]
    ids, delta, weights = problem_of(given, number, config)
    options: dict[str, Any] = {
      "weights": weights,
      "max_iterations": config.max_iterations,
      "rtol": config.rtol,
      "method": config.method,
      "seed": config.seed,
    }
    flat = mds.smacof(delta, num_dimensions=2, **options)
    full = mds.smacof(delta, num_dimensions=config.num_dimensions, **options)
    groups, thumbnails = _groups(ids, judgement), read(number)

    def draw(points: np.ndarray, ids=ids, groups=groups, thumbnails=thumbnails) -> str:
      return _draw(points, groups, np.append(-1, ids[ids >= 0]), thumbnails)

    rows.append(
      [
        name,
        int(np.sum(ids >= 0)),
        len(groups["easy"]) + len(groups["hard"]),
        float(flat.normalized_stress),
        float(full.normalized_stress),
        str(flat.explain()),
      ]
    )
    note = f"Normalised stress {float(flat.normalized_stress):.3f}. {_NOTE}"
    valid = np.append(True, ids >= 0)
    drawn.append(Plot(f"{name}: SMACOF, m = 2", draw(np.asarray(flat.embedding)[valid]), note))
    if has_tsne:
      points = _tsne(np.asarray(full.embedding)[valid], config.seed)
      title = f"{name}: t-SNE of m = {config.num_dimensions}"
      drawn.append(Plot(title, draw(points), _NOTE))
  table = Table(
    "Pictured queries",
    [
      Column("query"),
      Column("candidates"),
      Column("positives", None, "easy and hard images among them"),
      Column("stress, m = 2", 3),
      Column(f"stress, m = {config.num_dimensions}", 3),
      Column("what smacof says, m = 2"),
    ],
    rows,
    note="Without --pictures, the queries of the greatest, the median and the least gain.",
  )
  return Section("Pictures of embeddings", [table, *drawn])


def require_tsne() -> None:
  """Refuses, before the work, to draw t-SNE without scikit-learn."""
  _sklearn_tsne()


def _groups(ids: np.ndarray, judgement: QueryJudgement) -> dict[str, list[int]]:
  """Returns the points of the valid candidates by label; point 0 is the query."""
  present = ids[ids >= 0]
  points = np.arange(1, len(present) + 1)
  named = {name: np.isin(present, getattr(judgement, name)) for name in ("hard", "easy", "junk")}
  is_negative = ~np.any([*named.values()], axis=0)
  labelled = {name: points[rows].tolist() for name, rows in named.items()}
  # In an order that gives hard, easy and negative the colours that they have in ranked lists.
  return {"negative": points[is_negative].tolist(), **labelled, "query": [0]}


def _draw(
  points: np.ndarray, groups: Mapping[str, Sequence[int]], ids: np.ndarray, read: ReadThumbnail
) -> str:
  """Draws points `[1 + n, 2]` with their ids, of which the first is the query, -1."""
  shown = {
    name: (points[rows, 0].tolist(), points[rows, 1].tolist()) for name, rows in groups.items()
  }
  distances = np.linalg.norm(points - points[0], axis=1)
  pictured = [
    Thumbnail(name, float(points[row, 0]), float(points[row, 1]), read(int(ids[row])))
    for name, most in _SHOWN.items()
    for row in sorted(groups[name], key=lambda row: float(distances[row]))[:most]
  ]
  return plots.scatter(shown, x="", y="", thumbnails=pictured)


def _tsne(points: np.ndarray, seed: int) -> np.ndarray:
  """Returns `[n, 2]`; fewer than 4 points are returned as they are."""
  if len(points) < 4:
    return points[:, :2]
  perplexity = min(_PERPLEXITY, (len(points) - 1) / 3)
  solver = _sklearn_tsne()(2, perplexity=perplexity, init="pca", random_state=seed)
  return solver.fit_transform(points)


def _sklearn_tsne() -> Any:
  try:
    from sklearn.manifold import TSNE
  except ImportError as error:
    raise InputError(
      't-SNE needs scikit-learn: pip install "l2g_jax[report]"; or leave it out by --notsne.'
    ) from error
  return TSNE
