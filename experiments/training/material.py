"""What is trained on: lists of searches with labels, of renderings and of photographs."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from absl import flags

import mini
from experiments.built_in import MINI
from experiments.material import Material
from experiments.training import labels
from l2g_jax.cli import evaluate
from l2g_jax.cli.command import Group, Values
from l2g_jax.data.dataset import Dataset, load_dataset
from l2g_jax.errors import InputError, SettingError
from l2g_jax.ranked import Ranked
from l2g_jax.retriever import pair_similarity
from l2g_jax.retriever.similarities import spatial_similarity
from l2g_jax.runtime import files
from l2g_jax.runtime.digests import new_digest

_KIND = "experiments.training.found"
_VERSION = 1
# More queries than the benchmark has, since each brings a list; a few minutes on two cores.
_RENDERING = mini.MiniConfig(
  num_landmarks=80, num_queries=240, fewest_views=4, most_views=20, num_distractor_scenes=50
)
# One landmark in so many is kept for validation.
_VALIDATED = 5
# Neighbours of a photograph that are verified.
_VERIFIED = 10


@dataclasses.dataclass(frozen=True)
class LabelledLists:
  """Lists of A anchors of one set, each a query or an image of it.

  Attributes:
    material: the set.
    is_query: `[A]` bool.
    numbers: `[A]` int32, of the query or of the image.
    found: `[A, L]`, what the local search found, or the stored list of the image.
    labels: `[A, L]` int8, see `labels`.
    validates: `[A]` bool, whether the list is kept for validation; only queries are.
  """

  material: Material
  is_query: np.ndarray
  numbers: np.ndarray
  found: Ranked
  labels: np.ndarray
  validates: np.ndarray

  def key(self) -> str:
    """Identifies all of it by content."""
    digest = new_digest()
    for array in (self.is_query, self.numbers, *self.found, self.labels, self.validates):
      digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_list(
    "seeds", ["1"], "Seeds of the renderings to train on; 0 is the benchmark.", flag_values=values
  )
  flags.DEFINE_list(
    "photographs",
    [],
    "Folders of data sets whose images are trained on, by spatial verification alone. Images that"
    " are labelled for a query of odd number are left out, so that these queries can be evaluated.",
    flag_values=values,
  )


MATERIAL = Group("Material", _define)
# The flags of features and of the search, as those of `experiments.compare`, without its data set.
GROUPS = (MATERIAL, *evaluate.GROUPS[1:])


def open_lists(values: Values) -> list[LabelledLists]:
  """Makes the material that the flags name, or opens it."""
  seeds = _read_seeds(values)
  values.local = values.local or MINI.local
  made = []
  for seed in seeds:
    root = pathlib.Path(values.work_dir) / "training" / f"seed-{seed}"
    mini.make_mini(root, config=_RENDERING, seed=seed)
    rendered = load_dataset(root, mini.NAME)
    made.append(by_ground_truth(_open(values, rendered, f"{mini.NAME}-seed-{seed}")))
  for name in values.photographs:
    path = pathlib.Path(name)
    made.append(by_verification(_open(values, load_dataset(path.parent, path.name), path.name)))
  return made


def _read_seeds(values: Values) -> list[int]:
  if not all(text.isdecimal() and int(text) for text in values.seeds) or not values.seeds:
    raise SettingError("--seeds", "whole numbers above 0, of which one is needed", values.seeds)
  return [int(text) for text in values.seeds]


def _open(values: Values, dataset: Dataset, name: str) -> Material:
  """Makes a set ready for queries under a name of its own in the work folder."""
  named = dataclasses.replace(dataset, name=name)
  return Material(named, evaluate.open_retriever(values, named))


def by_ground_truth(given: Material) -> LabelledLists:
  """Labels the lists of a set's queries, and those of its images that are easy for one."""
  truth = given.dataset.ground_truth
  lists, searched = _arrays(given.lists), _search(given)
  # Both are as long as the shorter.
  length = min(searched.ids.shape[1], lists.ids.shape[1])
  images, of_images = labels.label_images(truth, lists.ids[:, :length])
  validates = labels.group_queries(truth) % _VALIDATED == 0
  away = labels.images_of(truth, np.flatnonzero(validates).tolist())
  trained = ~np.isin(images, away)
  num_images = int(trained.sum())
  found = Ranked(
    *(
      np.concatenate([queries[:, :length], stored[images[trained], :length]])
      for queries, stored in zip(searched, lists, strict=True)
    )
  )
  of_queries = labels.label_queries(truth, searched.ids[:, :length])
  made = LabelledLists(
    given,
    is_query=np.repeat([True, False], [given.num_queries, num_images]),
    numbers=np.append(np.arange(given.num_queries), images[trained]).astype(np.int32),
    found=found,
    labels=np.concatenate([of_queries, of_images[trained]]),
    validates=np.append(validates, np.zeros(num_images, bool)),
  )
  return _without(made, away)


def by_verification(given: Material) -> LabelledLists:
  """Labels the lists of a set's images by spatial verification; its queries are not touched."""
  truth = given.dataset.ground_truth
  similarity = spatial_similarity(list_depth=_VERIFIED)
  verified = pair_similarity.open_or_make_lists(similarity, given.collection, given.images)
  lists = _arrays(given.lists)
  away = labels.images_of(truth, range(1, len(truth.queries), 2))
  images = np.setdiff1d(np.arange(given.num_images), away).astype(np.int32)
  made = LabelledLists(
    given,
    is_query=np.zeros(len(images), bool),
    numbers=images,
    found=Ranked(lists.ids[images], lists.similarities[images]),
    labels=labels.label_verified(verified, lists.ids)[images],
    validates=np.zeros(len(images), bool),
  )
  return _without(made, away)


def _search(given: Material) -> Ranked:
  """Searches for the queries of a set, or opens what was found before."""
  digest = new_digest()
  states = [kind.index.state for kind in given.collection.kinds]
  digest.update(
    repr((states, given.collection.options.index, given.retriever.num_searched)).encode()
  )
  for described in given.queries.descriptors:
    for values in described:
      digest.update(np.ascontiguousarray(values).tobytes())
  path = given.retriever.directory / f"found-{digest.hexdigest()[:16]}"
  # What is missing or damaged is searched for.
  with contextlib.suppress(InputError):
    arrays = files.load_bundle(path, kind=_KIND, version=_VERSION, verify=True).arrays
    return Ranked(np.array(arrays["ids"]), np.array(arrays["similarities"]))
  found = _arrays(given.found)
  arrays = {"ids": found.ids, "similarities": found.similarities}
  files.save_bundle(path, kind=_KIND, version=_VERSION, arrays=arrays, metadata={})
  return found


def _without(made: LabelledLists, away: np.ndarray) -> LabelledLists:
  """Takes images out of the lists that are trained on."""
  hidden = np.isin(made.found.ids, away) & ~made.validates[:, None]
  return dataclasses.replace(made, labels=np.where(hidden, np.int8(-1), made.labels))


def _arrays(ranked: Ranked) -> Ranked:
  return Ranked(np.asarray(ranked.ids), np.asarray(ranked.similarities))


def trained_rows(made: LabelledLists) -> np.ndarray:
  """Returns the anchors with a positive and a negative that are trained on."""
  usable = np.any(made.labels == 1, axis=1) & np.any(made.labels == 0, axis=1)
  return np.flatnonzero(usable & ~made.validates)


def describe(material: Sequence[LabelledLists]) -> Iterator[str]:
  """Yields a line on each set, for the log."""
  for made in material:
    rows = trained_rows(made)
    if not len(rows):
      raise InputError(f"No list of {made.material.dataset.name} has a positive and a negative.")
    positives = int(np.sum(made.labels[rows] == 1))
    yield (
      f"{made.material.dataset.name}: {len(rows)} lists with {positives} positives to train on,"
      f" {int(made.validates.sum())} to validate on"
    )
