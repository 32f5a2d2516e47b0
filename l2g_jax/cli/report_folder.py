"""The flag --report: a folder with a page about a run, its pictures, and all figures as data."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from l2g_jax.cli.command import Group, Values
from l2g_jax.cli.report import Method
from l2g_jax.data.dataset import Dataset
from l2g_jax.features.extraction import ImageJob
from l2g_jax.pipeline.known import known_strengths
from l2g_jax.ranked import Ranked
from l2g_jax.report import plots
from l2g_jax.report.fingerprint import fingerprint
from l2g_jax.report.folder import check_folder
from l2g_jax.report.queries import KeyPoints, Stage
from l2g_jax.report.run import EMBEDDING, METHOD, Run
from l2g_jax.report.run_report import write_run
from l2g_jax.retriever import Rankings, Retriever, described
from l2g_jax.retriever import collection as collections

# That of the embedding alone, which tells whether it or the global features lose a query.
_EMBEDDING_WEIGHT = 1.0
_L2G_SCORE = "L2G score"
# Of a list, as many as a page may show.
_SCORED = 100


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_string(
    "report",
    None,
    "Folder of a page about the run, with its ranked lists; omitted: none. It needs Matplotlib.",
    flag_values=values,
  )


REPORT = Group("Page", _define)


def check(values: Values) -> None:
  """Refuses, before the work, a report that could not be written after it."""
  if values.report:
    check_folder(values.report)
    plots.require()


def weights_to_rank(values: Values, weights: Sequence[float]) -> list[float]:
  """Returns the weights of a run, and those that its page tells of too."""
  return list(dict.fromkeys([*weights, *([_EMBEDDING_WEIGHT] if values.report else [])]))


def write(
  values: Values,
  retriever: Retriever,
  dataset: Dataset,
  jobs: Sequence[ImageJob],
  *,
  methods: Sequence[Method],
  rankings: Rankings,
  search: str,
  figures: Mapping[str, Any],
) -> None:
  """Writes the page of a run.

  Args:
    values: the flags.
    retriever: of the data set.
    dataset: with its ground truth.
    jobs: its queries.
    methods: the rows of the report, in order; among them `global`, the search, and `l2g`.
    rankings: behind them, with the weights of `weights_to_rank`.
    search: the name of the search before L2G.
    figures: of `make_report`.
  """
  collection = retriever.collection
  candidates = rankings.candidates
  # Candidates have the scores of the similarity that was asked for, where one was.
  scored_search = search if rankings.by_similarity is None else values.similarity.partition(":")[0]
  scored = {"global": _by_cosine(retriever, jobs, rankings), scored_search: candidates}
  stages = []
  for method in methods:
    if method.weight is None:
      names = {"global": "cosine", scored_search: "similarity"}
      score_name = names.get(method.name, "score")
      stages.append(Stage(method.name, method.rankings, scored.get(method.name), score_name))
      continue
    if method.name == METHOD:
      alone = rankings.l2g[_EMBEDDING_WEIGHT]
      stages.append(
        Stage(EMBEDDING, alone.rankings, Ranked(candidates.ids, alone.scores), _L2G_SCORE)
      )
    scores = rankings.l2g[method.weight].scores
    scored_candidates = Ranked(candidates.ids, scores)
    stages.append(Stage(method.name, method.rankings, scored_candidates, _L2G_SCORE))
  run = Run(
    dataset,
    figures,
    stages,
    search,
    candidates,
    rankings.l2g[_EMBEDDING_WEIGHT].diagnostics,
    lambda q: known_strengths(
      candidates.ids[q], candidates.similarities[q], rankings.neighbor_lists, retriever.config
    ),
    KeyPoints(
      described.describe_queries(collection, jobs),
      described.describe_images(collection, retriever.images.jobs, on_error="raise"),
      collection.options.features,
    ),
  )
  # A weight that was not given is that of the features.
  weight = next(method.weight for method in methods if method.name == METHOD)
  made = fingerprint(dataset, retriever, settings={**figures["config"], "w": weight})
  write_run(values.report, run, fingerprint=made)
  print(f"\nThe page of this run: {values.report}/index.html")


def _by_cosine(retriever: Retriever, jobs: Sequence[ImageJob], rankings: Rankings) -> Ranked:
  """Returns the first images `[Q, c]` by global features, with their cosines."""
  described = collections.describe_queries(retriever.collection, jobs, retriever.watch)
  ids = rankings.by_global[:, :_SCORED]
  queries = _unit(described.global_features)
  images = _unit(retriever.collection.global_features[ids])
  return Ranked(ids, np.einsum("qd,qcd->qc", queries, images))


def _unit(vectors: np.ndarray) -> np.ndarray:
  lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
  return vectors / np.where(lengths > 0, lengths, 1)
