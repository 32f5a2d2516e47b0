"""Kills searches of a folder that changes at writes of theirs, and searches again.

python -m tests.retriever.killing DIRECTORY KILLS prints, as JSON, how many points of killing
there are and at how many of them, evenly spread, a process was killed; 0 stands for all.
"""

import json
import multiprocessing
import os
import pathlib
import shutil
import signal
import sys

import numpy as np

from tests.retriever import photos


def change(folder: pathlib.Path) -> None:
  """Adds, removes, changes and renames photographs."""
  photos.write(folder / "a-first.bmp", 77)
  (folder / "photo-003.bmp").unlink()
  photos.write(folder / "photo-004.bmp", 78)
  (folder / "photo-005.bmp").rename(folder / "renamed.bmp")


def search(root: pathlib.Path, fatal: int) -> None:
  """Follows the folder; kills itself at a sync of a file, or tells how many there were."""
  count = 0
  sync = os.fsync

  def fsync(descriptor):
    nonlocal count
    if count == fatal:
      os.kill(os.getpid(), signal.SIGKILL)
    count += 1
    sync(descriptor)

  os.fsync = fsync
  photos.follow(root / "jpg", root / "work")
  (root / "syncs").write_text(str(count))


def run(root: pathlib.Path, fatal: int) -> int | None:
  process = multiprocessing.get_context("fork").Process(target=search, args=(root, fatal))
  process.start()
  process.join()
  return process.exitcode


def main(directory: pathlib.Path, num_kills: int) -> None:
  base = directory / "base"
  photos.write_folder(base / "jpg")
  # Loads and compiles what the processes then share, too.
  photos.check(photos.follow(base / "jpg", base / "work"), base / "jpg")
  shutil.copytree(base / "jpg", directory / "first" / "jpg")
  change(base / "jpg")
  points = []
  for start in ("base", "first"):
    shutil.copytree(directory / start, directory / "whole")
    assert run(directory / "whole", -1) == 0
    points += [(start, n) for n in range(int((directory / "whole" / "syncs").read_text()))]
    shutil.rmtree(directory / "whole")
  chosen = np.linspace(0, len(points) - 1, num_kills or len(points)).round().astype(int)
  killed = 0
  for start, fatal in (points[number] for number in chosen):
    root = directory / "killed"
    shutil.copytree(directory / start, root)
    killed += run(root, fatal) == -signal.SIGKILL
    photos.check(photos.follow(root / "jpg", root / "work"), root / "jpg")
    shutil.rmtree(root)
  print(json.dumps({"points": len(points), "killed": killed}))


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
