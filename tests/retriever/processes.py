"""Searches one folder from many processes at once, while it changes.

python -m tests.retriever.processes DIRECTORY RUNS AT_ONCE prints, as JSON, how many runs there
were, how many failed, and how many got a wrong answer. The first ones find nothing in the work
folder. Every run has a query of its own, all of which have one name, size and time.
"""

import json
import multiprocessing
import pathlib
import sys
import traceback

import numpy as np

from l2g_jax.features.extraction import ImageJob, extract_local
from tests.retriever import photos

_WRONG = 3


def search(root: pathlib.Path, run: int) -> None:
  """Searches for one photograph, and describes it in a store that all runs share."""
  number = run % photos.NUM_IMAGES
  query = root / "queries" / str(run) / "query.bmp"
  query.parent.mkdir(parents=True)
  photos.write(query, number)
  try:
    if run % 6 == 5:
      photos.write(root / "jpg" / f"more-{run % 4}.bmp", 1000 + run)
    if run % 11 == 10:
      (root / "jpg" / f"more-{run % 4}.bmp").unlink(missing_ok=True)
    collection = photos.follow(root / "jpg", root / "work")
    job = ImageJob("query.bmp", query)
    store = extract_local(
      [job], photos.extractor(), root / "store", num_workers=1, show_progress=False
    )
    expected = photos.describe(photos.pixels(number)).descriptors
    right = photos.best(collection, query) == f"photo-{number:03d}"
    right &= np.array_equal(store[0].descriptors, expected.astype(np.float16))
  except BaseException:
    traceback.print_exc()
    raise
  sys.exit(0 if right else _WRONG)


def main(root: pathlib.Path, num_runs: int, at_once: int) -> None:
  photos.write_folder(root / "jpg")
  # Loads and compiles what the processes then share.
  photos.check(photos.follow(root / "jpg", root / "warm"), root / "jpg")
  context = multiprocessing.get_context("fork")
  waiting = list(range(num_runs))
  running, codes = [], []
  while waiting or running:
    while waiting and len(running) < at_once:
      process = context.Process(target=search, args=(root, waiting.pop(0)))
      process.start()
      running.append(process)
    running[0].join(0.02)
    # Looked at once: one may end at any time.
    ended = [process for process in running if not process.is_alive()]
    codes += [process.exitcode for process in ended]
    running = [process for process in running if process not in ended]
  wrong = sum(code == _WRONG for code in codes)
  failed = sum(code not in (0, _WRONG) for code in codes)
  print(json.dumps({"runs": len(codes), "failed": failed, "wrong": wrong}))


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
