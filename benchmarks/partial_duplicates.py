"""Crops, insets, screenshots and other changed copies: what `l2g groups` finds, beside its peers.

  python -m benchmarks.partial_duplicates --images=FOLDER --folder=MADE [--peer_python=PYTHON]

Copies photographs of a folder, makes changed ones of some of them, and asks every method which
pairs are of one picture. Peers stand at the threshold of the highest recall at a precision of 0.99,
chosen on these very pictures, or, where none has it, at that of the best F1; `l2g groups` at its
defaults. `--sweep` adds rows of other thresholds. Peers are packages of pip, `ImageHash`, `pdqhash`
and `imagededup`, here or in another Python; one that is missing is told.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

import numpy as np
from absl import flags

from benchmarks import common, hash_peers, made_duplicates
from benchmarks.common import Ceilings, Row
from benchmarks.duplicate_scores import Names, Truth, score, score_distances
from l2g_jax.cli.command import Group, Values
from l2g_jax.cli.feature_flags import FEATURES, read_features
from l2g_jax.cli.work_flags import WORK, work_folder
from l2g_jax.errors import InputError
from l2g_jax.retriever import Retriever
from l2g_jax.retriever.groups import GroupOptions, Groups, find_groups

_PRECISION = 0.99
_CORRELATIONS = (0.8, 0.85, 0.9, 0.93, 0.95, 0.96, 0.97, 0.98, 0.99)


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_string("images", None, "Folder of photographs.", flag_values=values)
  flags.DEFINE_string(
    "folder", None, "Folder for the pictures; made once, and used again.", flag_values=values
  )
  flags.DEFINE_integer("originals", 1000, "Photographs to copy.", 1, flag_values=values)
  flags.DEFINE_integer("sources", 250, "Of these, to make others of.", 1, flag_values=values)
  flags.DEFINE_integer("made", 1000, "Pictures to make.", 1, flag_values=values)
  flags.DEFINE_string(
    "peer_python",
    None,
    "Python in which the peers are installed; omitted: this.",
    flag_values=values,
  )
  flags.DEFINE_bool(
    "slow_peers",
    True,
    "Run the peers that take much longer too: hashes of turned pictures and of segments.",
    flag_values=values,
  )
  flags.DEFINE_bool("sweep", False, "Show other thresholds too.", flag_values=values)


def compare(values: Values, _: Ceilings) -> dict[str, Sequence[Row]]:
  """Makes the pictures, runs all methods and returns a row each."""
  if not values.images or not values.folder:
    raise InputError("--images and --folder are needed; --help lists the flags.")
  share = 10 if values.quick else 1
  made = made_duplicates.make(
    pathlib.Path(values.images),
    pathlib.Path(values.folder),
    num_originals=values.originals // share,
    num_sources=values.sources // share,
    num_made=values.made // share,
    seed=values.seed,
  )
  truth = Truth.of(made)
  retriever = Retriever.open_or_build(
    made.folder, work_folder(values), features=read_features(values), seed=values.seed
  )
  prepared = sum(retriever.watch.seconds.values())
  rows = list(our_rows(retriever, truth, prepared))
  rows += peer_rows(made.folder, truth, values.peer_python, is_fast=not values.slow_peers)
  tables: dict[str, Sequence[Row]] = {
    f"{made.num_pictures} pictures, recall by kind of change": rows
  }
  if values.sweep:
    tables["Threshold of the correlation"] = list(sweep_rows(retriever, truth))
  return tables


def our_rows(retriever: Retriever, truth: Truth, prepared: float) -> Iterator[Row]:
  """Yields the rows of `find_groups`, without and with mirrors.

  Args:
    retriever: of the pictures.
    truth: the pairs.
    prepared: seconds that features, index and lists took; they serve searches too.
  """
  for mirrors in (False, True):
    start = time.perf_counter()
    found = find_groups(retriever, GroupOptions(mirrors=mirrors))
    seconds = time.perf_counter() - start
    method = "l2g groups --mirrors" if mirrors else "l2g groups"
    row = score(truth, pairs_of(found))
    yield {"method": method, **row, "seconds": seconds, "prepared": prepared}


def sweep_rows(retriever: Retriever, truth: Truth) -> Iterator[Row]:
  """Yields a row a threshold; what was measured is kept, so that each takes no time."""
  for correlation in _CORRELATIONS:
    options = GroupOptions(mirrors=True, min_correlation=correlation)
    yield {
      "min_correlation": correlation,
      **score(truth, pairs_of(find_groups(retriever, options))),
    }


def pairs_of(found: Groups) -> set[Names]:
  """Returns the pairs that are copies or parts; those of one file stand for each other."""
  relations = [relation for group in found for relation in group.relations]
  copies: dict[str, set[str]] = {}
  for relation in relations:
    if relation.kind == "same file":
      copies.setdefault(relation.first, {relation.first}).add(relation.second)
  pairs = set()
  for relation in relations:
    for first in copies.get(relation.first, {relation.first}):
      for second in copies.get(relation.second, {relation.second}):
        pairs.add(frozenset((first, second)))
  return {pair for pair in pairs if len(pair) == 2}


def peer_rows(
  folder: pathlib.Path, truth: Truth, python: str | None, *, is_fast: bool
) -> list[Row]:
  """Returns the rows of peers, and prints which are missing."""
  with tempfile.TemporaryDirectory() as scratch:
    output = pathlib.Path(scratch) / "distances.npz"
    program = pathlib.Path(hash_peers.__file__)
    command = [python or sys.executable, program, folder, output, *["fast"] * is_fast]
    subprocess.run(command, check=True)
    with np.load(output) as arrays:
      head = json.loads(str(arrays["head"]))
      values = [arrays[f"distances_{number}"] for number in range(len(head["methods"]))]
  for name in head["missing"]:
    print(f"{name} is not installed there: its rows are left out.")
  return [
    {
      "method": method,
      **score_distances(truth, head["names"], distances, precision=_PRECISION),
      "seconds": head["seconds"][method],
    }
    for method, distances in zip(head["methods"], values, strict=True)
  ]


BENCHMARK = common.Benchmark(compare, [Group("Pictures", _define), FEATURES, WORK])

if __name__ == "__main__":
  common.run("partial_duplicates", __doc__, BENCHMARK)
