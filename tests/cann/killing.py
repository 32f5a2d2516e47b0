"""Kills changes of an index at random points and checks what is found after each.

python -m tests.cann.killing DIRECTORY KILLS prints, as JSON, how many kills hit which change.

Processes are forked from this one, which has compiled everything, so that a kill costs little.
"""

import collections
import json
import multiprocessing
import os
import pathlib
import shutil
import signal
import sys
import time

import numpy as np

from l2g_jax.cann import CannConfig, CannIndex, exists
from tests.cann import oracle

CONFIG = CannConfig(num_lists=10)


def build(root: pathlib.Path) -> None:
  CannIndex.build(root, oracle.collection(0).items(), CONFIG)


def add(root: pathlib.Path) -> None:
  CannIndex.open(root).add([("more", np.eye(16))])


def remove(root: pathlib.Path) -> None:
  CannIndex.open(root).remove(["more"])


def compact(root: pathlib.Path) -> None:
  CannIndex.open(root).compact()


def contents(root: pathlib.Path) -> list[tuple[str, bytes]] | None:
  """What an index holds, every checksum compared; None where there is no index."""
  if not exists(root):
    return None
  index = CannIndex.open(root, verify=True)
  index.search(np.eye(16), 5)
  return [(name, index.codes(i).values.tobytes()) for i, name in enumerate(index.names)]


def kill(change, root: pathlib.Path, seconds: float) -> bool:
  """Runs a change in a process of its own and kills it after some time; whether it was hit."""
  process = multiprocessing.get_context("fork").Process(target=change, args=(root,))
  process.start()
  process.join(seconds)
  hit = process.is_alive()
  assert process.pid is not None
  if hit:
    os.kill(process.pid, signal.SIGKILL)
    process.join()
  assert hit or process.exitcode == 0
  return hit


def main(root: pathlib.Path, num_kills: int) -> None:
  rng = np.random.default_rng(0)
  changes = (build, add, remove, compact)
  shutil.rmtree(root)
  build(root)  # loads what the processes then share
  shutil.rmtree(root)
  # Every change is run to its end once, for its duration and for what it leaves.
  durations, results = {}, {}
  for change in changes:
    start = time.monotonic()
    kill(change, root, 60.0)
    durations[change] = time.monotonic() - start
    results[change] = contents(root)
  hits = collections.Counter()
  while hits.total() < num_kills:
    shutil.rmtree(root)
    before = None
    for change in changes:
      # Killed again and again, until it is done.
      done = False
      while not done:
        hit = kill(change, root, float(rng.uniform(0.0, 1.2 * durations[change])))
        hits[change.__name__] += hit
        found = contents(root)
        changed = found == results[change]
        assert changed or (hit and found == before), change
        # What a compaction leaves is what was there, so that it must come to its end.
        done = changed and not (hit and found == before)
      before = results[change]
  print(json.dumps(hits))


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
