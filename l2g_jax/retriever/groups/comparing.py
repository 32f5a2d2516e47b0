"""Comparisons of many pairs of pictures: on all cores, kept as they are done."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.ranking import matching, spatial
from l2g_jax.retriever.groups import look, plain
from l2g_jax.retriever.groups.ledger import Entries, Ledger, Pair
from l2g_jax.retriever.groups.measurement import explained_points, overlay, sight
from l2g_jax.retriever.groups.pictures import Pictures
from l2g_jax.retriever.sources import local_settings, short_key
from l2g_jax.runtime import files
from l2g_jax.runtime.progress import Meter
from l2g_jax.runtime.threads import in_threads

# Is told the work, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]

# An interrupted run loses at most so many pairs, or pictures.
_PAIRS, _SEARCHES = 1000, 100
# Counted up when measurements change.
_MEASURED = 1
# Correlations below no threshold that makes sense are not kept.
_LEAST_KEPT = 0.8

Compare = Callable[[Pair], tuple[Any, Entries]]


@contextlib.contextmanager
def open_ledger(pictures: Pictures, name: str, *settings: object) -> Iterator[Ledger]:
  """Opens the ledger of measurements with these settings; others wait until it is closed."""
  kinds = [local_settings(kind.options.local) for kind in pictures.collection.kinds]
  fixed = [_MEASURED, matching.RATIO, matching.MUTUAL, spatial.MODEL, spatial.THRESHOLD]
  fixed += [plain.THRESHOLD, look.SIDE]
  root = pictures.collection.directory / f"{name}-{short_key(kinds, fixed, list(settings))}"
  notice = f"Another process compares the pairs of {root}; waiting until it is done."
  with files.locked(root, refusal=None, notice=notice):
    ledger = Ledger(root)
    yield ledger
    ledger.compact(list(pictures.names))


def compare_pairs(
  ledger: Ledger,
  pairs: Iterable[Pair],
  compare: Compare,
  title: str,
  progress: Progress | None,
) -> None:
  """Measures the pairs that a ledger does not know yet, and enters them."""
  todo = sorted(pair for pair in set(pairs) if pair not in ledger.entries.pairs)
  for chunk in _steps(todo, _PAIRS, title, "pairs", progress):
    made = Entries()
    for pair, (value, noted) in zip(chunk, in_threads(compare, chunk), strict=True):
      made.pairs[pair] = value
      made.update(noted)
    ledger.add(made)


def search_pictures(
  ledger: Ledger,
  way: str,
  keys: Iterable[str],
  search: Callable[[str], tuple[list[str], Entries]],
  title: str,
  progress: Progress | None,
) -> None:
  """Searches for the pictures that were not searched for in this way yet, and enters the found.

  A search returns the keys that it found, and what it measured on the way.
  """
  known = ledger.entries.searched.get(way, {})
  todo = sorted(key for key in set(keys) if key not in known)
  for chunk in _steps(todo, _SEARCHES, title, "pictures", progress):
    made = Entries(searched={way: {}})
    for key, (found, noted) in zip(chunk, in_threads(search, chunk), strict=True):
      made.searched[way][key] = found
      made.update(noted)
    ledger.add(made)


def compare_overlay(pictures: Pictures, min_inliers: int, pair: Pair) -> tuple[Any, Entries]:
  """Lays one picture over another; the value is an `Overlay` as JSON."""
  first, second, is_mirrored = pair
  if is_mirrored:
    features = pictures.mirrored(first), pictures.plain(second)
    kinds = pictures.mirror_kinds
  else:
    features = pictures.features(first), pictures.features(second)
    kinds = tuple(kind.options.local for kind in pictures.collection.kinds)
  points = explained_points(*features, kinds)
  if len(points) < min_inliers:
    return None, Entries()
  try:
    looks = pictures.look(first), pictures.look(second)
  except InputError:
    # It went or changed meanwhile, and then has another key at the next look at the folder.
    return None, Entries()
  found = overlay(points, *looks, is_mirrored=is_mirrored)
  if found is None or found.correlation < _LEAST_KEPT:
    return None, Entries()
  facts = {key: seen.facts for key, seen in zip(pair[:2], looks, strict=True)}
  return found.to_json(), Entries(facts=facts)


def compare_sight(pictures: Pictures, pair: Pair) -> tuple[Any, Entries]:
  """Verifies two pictures by a homography; the value is a `Sight` as JSON."""
  first, second, _ = pair
  found = sight(
    pictures.features(first), pictures.features(second), min_inliers=spatial.MIN_INLIERS
  )
  return None if found is None else found.to_json(), Entries()


def pairs_of(first: str, others: Iterable[str], *, is_mirrored: bool = False) -> set[Pair]:
  """Returns the pairs of a picture with others; itself is none."""
  return {(min(first, other), max(first, other), is_mirrored) for other in others if other != first}


def among(
  pictures: Pictures, found: Mapping[str, Iterable[str]], *, is_mirrored: bool = False
) -> set[Pair]:
  """Returns the pairs that searches found, of pictures that are still there."""
  pairs: set[Pair] = set()
  for key, others in found.items():
    if key in pictures.names:
      here = [other for other in others if other in pictures.names]
      pairs |= pairs_of(key, here, is_mirrored=is_mirrored)
  return pairs


def listed_pairs(pictures: Pictures, depth: int) -> set[Pair]:
  """Returns the pairs of every picture with its first different neighbours."""
  lists = pictures.collection.lists
  found: set[Pair] = set()
  for key, number in pictures.ids.items():
    others = pictures.first_keys(np.asarray(lists.ids[number]), depth + 1)
    found.update(pairs_of(key, [other for other in others if other != key][:depth]))
  return found


def _steps(
  items: Sequence[Any], size: int, title: str, unit: str, progress: Progress | None
) -> Iterator[Sequence[Any]]:
  """Yields items step by step, and tells how many are done."""
  with Meter(title, total=len(items), unit=unit, disabled=progress is not None) as meter:
    for start in range(0, len(items), size):
      if progress is not None:
        progress(title, start, len(items))
      yield items[start : start + size]
      meter.advance(len(items[start : start + size]))
  if progress is not None and len(items):
    progress(title, len(items), len(items))
