"""How many positives of ranked lists are located: where verification says that they match."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.regions import measure
from l2g_jax.data.dataset import Dataset
from l2g_jax.data.images import Box, read_photograph
from l2g_jax.retriever.described import Described, DescribedImages
from l2g_jax.retriever.similarities import verify_pair
from l2g_jax.runtime.progress import track
from l2g_jax.runtime.threads import in_threads

# Intersection over union from which on a positive is located.
LEAST_OVERLAP = 0.5
ANSWERS = ("mapped box", "matched points", "whole image")
_LABELS = ("easy", "hard")

# True boxes by query and image.
Regions = Mapping[str, Mapping[str, Box]]
# The features of images, by number.
_Features = Sequence[Described] | DescribedImages


@dataclasses.dataclass(frozen=True)
class _Located:
  """A positive of a query.

  Attributes:
    label: `easy` or `hard`.
    has_transform: whether verification accepted one.
    overlaps: by answer, intersection over union with the true region.
  """

  label: str
  has_transform: bool
  overlaps: Mapping[str, float]


def measure_lists(
  dataset: Dataset,
  lists: Mapping[str, np.ndarray],
  queries: _Features,
  images: _Features,
  regions: Regions,
  *,
  depth: int,
) -> list[dict[str, Any]]:
  """Locates the positives among the first results of lists.

  Args:
    dataset: with its ground truth, of Q queries and N images.
    lists: by name, rankings `[Q, N]`.
    queries: the local features of each, cut to its box.
    images: those of the images.
    regions: the true ones.
    depth: first results that are looked at, without junk.

  Returns:
    A row a list and answer as JSON: the numbers of positives, easy and hard, and of those with a
    transform; `located`, the share in percent of overlaps of at least one half, also of the labels
    alone; `mean_overlap` in [0, 1]; and `loc_score` in percent. Null where there is no positive.
  """
  found: dict[str, list[list[_Located | None]]] = {name: [] for name in lists}
  for row, judgement in enumerate(track(dataset.ground_truth.queries, "regions", unit="queries")):
    first = {
      name: [image for image in ranking[row].tolist() if image not in judgement.junk][:depth]
      for name, ranking in lists.items()
    }
    labels = {image: label for label in _LABELS for image in getattr(judgement, label).tolist()}
    wanted = sorted({image for ids in first.values() for image in ids if image in labels})
    truth = regions[dataset.ground_truth.qimlist[row]]
    locate = functools.partial(_locate, judgement.bbx, queries[row], images, dataset, truth, labels)
    located = dict(zip(wanted, in_threads(locate, wanted), strict=True))
    for name, ids in first.items():
      found[name].append([located.get(image) for image in ids])
  positives = [len(query.easy) + len(query.hard) for query in dataset.ground_truth.queries]
  return [_row(name, answer, rows, positives) for name, rows in found.items() for answer in ANSWERS]


def _locate(
  box: Box | None,
  query: Described,
  images: _Features,
  dataset: Dataset,
  regions: Mapping[str, Box],
  labels: Mapping[int, str],
  image: int,
) -> _Located:
  """Returns how well a positive of a query is located by each answer."""
  height, width = read_photograph(dataset.database_paths[image]).size
  other = images[image]
  made = verify_pair(query, other)
  locations = np.concatenate([features.locations for features in other])
  assert box is not None
  part = (0.0, 0.0, box[2] - box[0], box[3] - box[1])
  answers = (
    measure.mapped_box(made.transform, part, (height, width)),
    measure.box_around(locations[made.inliers[:, 1]]),
    (0.0, 0.0, float(width), float(height)),
  )
  truth = regions.get(dataset.ground_truth.imlist[image])
  overlaps = {name: measure.overlap(box, truth) for name, box in zip(ANSWERS, answers, strict=True)}
  return _Located(labels[image], made.transform is not None, overlaps)


def _row(
  name: str, answer: str, rows: Sequence[Sequence[_Located | None]], positives: Sequence[int]
) -> dict[str, Any]:
  found = [located for row in rows for located in row if located is not None]
  overlaps = {
    label: np.array([located.overlaps[answer] for located in found if located.label == label])
    for label in _LABELS
  }
  both = np.concatenate([*overlaps.values()])
  scores = [
    measure.loc_score([None if one is None else one.overlaps[answer] for one in row], count)
    for row, count in zip(rows, positives, strict=True)
    if count
  ]
  return {
    "list": name,
    "answer": answer,
    "positives": len(found),
    "with_transform": sum(located.has_transform for located in found),
    "located": _share(both),
    **{f"located_{label}": _share(values) for label, values in overlaps.items()},
    "mean_overlap": float(np.mean(both)) if len(both) else None,
    "loc_score": 100 * float(np.mean(scores)) if scores else None,
  }


def _share(overlaps: np.ndarray) -> float | None:
  return 100 * float(np.mean(overlaps >= LEAST_OVERLAP)) if len(overlaps) else None
