"""A set of local descriptors without images: each is a query against the others."""

import pathlib

import numpy as np

from experiments.shortlists import Shortlists
from l2g_jax.data.ground_truth import GroundTruth, QueryJudgement
from l2g_jax.errors import InputError
from l2g_jax.features.aggregate import fit_vlad
from l2g_jax.features.whitening import normalize_rows
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.ranking.rescoring import rank_table
from l2g_jax.runtime.progress import track
from l2g_jax.similarity.chamfer import chamfer_similarity
from l2g_jax.similarity.kernels import Kernel

_ARRAYS = ("names", "descriptors", "landmarks")


def read_descriptors(path: pathlib.Path, kernel: Kernel, *, seed: int = 0) -> Shortlists:
  """Reads a set such as published FIRe descriptors, and compares all of it exactly.

  Relevant to a query are the others of its landmark, all as hard ones; itself is junk. Global
  features are VLAD.

  Args:
    path: `.npz` of names `[n]`, descriptors `[n, count, d]` of any norm, and landmarks `[n]`.
    kernel: f of the similarity.
    seed: of VLAD's codebook.

  Raises:
    InputError: the file is missing, or its arrays do not fit.
  """
  names, descriptors, landmarks = _read(path)
  sets = np.stack([normalize_rows(values.astype(np.float32)) for values in descriptors])
  table = np.stack(
    [
      np.asarray(chamfer_similarity(values, sets, kernel=kernel))
      for values in track(sets, f"similarities of {path.stem}", unit="images")
    ]
  )
  lists = rank_table(table, len(sets) - 1, skip_self=True)
  _, vectors = fit_vlad(sets.reshape(-1, sets.shape[2]), sets, seed=seed)
  queries = tuple(
    QueryJudgement(
      easy=np.zeros(0, np.int64),
      hard=np.setdiff1d(np.flatnonzero(landmarks == landmarks[number]), number),
      junk=np.array([number]),
      bbx=(0.0, 0.0, 1.0, 1.0),
    )
    for number in range(len(sets))
  )
  truth = GroundTruth(imlist=names, qimlist=names, queries=queries)
  return Shortlists(lists, lists, GlobalFeatures(vectors, vectors), truth)


def _read(path: pathlib.Path) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
  try:
    with np.load(path, allow_pickle=False) as file:
      names, descriptors, landmarks = (file[name] for name in _ARRAYS)
  except (OSError, ValueError, KeyError) as error:
    raise InputError(f"{path} must be an .npz with {', '.join(_ARRAYS)}: {error}") from error
  if descriptors.ndim != 3 or not len(names) == len(descriptors) == len(landmarks) > 1:
    raise InputError(f"{path} must hold descriptors [n, count, d], n names and n landmarks.")
  if not np.all(np.isfinite(descriptors)):
    raise InputError(f"{path} holds a descriptor that is not finite.")
  return tuple(map(str, names)), descriptors, landmarks
