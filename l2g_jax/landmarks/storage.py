"""The files of an index of landmarks, each whole or absent.

A folder holds the bundles `landmarks` and `frame`, for each part of the collection
`profile-NNNNNN`, `points-NNNNNN` and, for each round in which items were compared to others,
`near-RRR-NNNNNN`, and `index.json`. The last one is written when all it names is there; parts and
rounds that it does not name are those of work that goes on.
"""

import dataclasses
import functools
import itertools
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from l2g_jax.errors import InputError, reading
from l2g_jax.landmarks.config import LandmarkConfig
from l2g_jax.landmarks.frame import Frame, Placed
from l2g_jax.landmarks.graph import Near
from l2g_jax.landmarks.scale import Range, range_of
from l2g_jax.runtime import files

_VERSION = 2
_KIND = "l2g_jax.landmarks"
_INDEX = "index.json"


@dataclasses.dataclass(frozen=True)
class State:
  """What an index consists of.

  Attributes:
    config: how it was built.
    parts: items of each part, in the order of the collection.
    num_built: items of the build; those behind were added.
    stress: mean stress-1 of the items of the build.
    removed: positions that were removed, ascending.
    rounds: in which items were compared to those that seemed near.
    evaluations: pairs that were evaluated for all this, searches left out.
  """

  config: LandmarkConfig
  parts: tuple[int, ...]
  num_built: int
  stress: float
  removed: tuple[int, ...] = ()
  rounds: int = 0
  evaluations: int = 0

  @property
  def num_items(self) -> int:
    """N, removed ones included."""
    return sum(self.parts)

  @property
  def spans(self) -> list[tuple[int, int]]:
    """The first item of each part, and that behind its last one."""
    return list(itertools.pairwise(itertools.accumulate(self.parts, initial=0)))


# Arrays are not compared.
@dataclasses.dataclass(frozen=True, eq=False)
class Landmarks:
  """Landmarks and how alike they are.

  Attributes:
    ids: `[L]` int64, positions in the collection, ascending.
    similarities: `[L, L]` float32, rows in the role of the query.
    evaluations: pairs that were evaluated to choose and compare them.
  """

  ids: np.ndarray
  similarities: np.ndarray
  evaluations: int

  @functools.cached_property
  def range(self) -> Range:
    """Of the similarity."""
    return range_of(self.similarities)


def write_state(root: pathlib.Path, state: State) -> None:
  """Writes the file that makes an index complete."""
  body = dataclasses.asdict(state)
  files.write_manifest(root / _INDEX, {"kind": _KIND, "version": _VERSION, "state": body})


def read_state(root: pathlib.Path) -> State | None:
  """Reads it; None where there is no complete index.

  Raises:
    InputError: the file is damaged, or of another kind or version.
  """
  path = root / _INDEX
  if not path.is_file():
    return None
  manifest = files.read_manifest(path)
  if (manifest.get("kind"), manifest.get("version")) != (_KIND, _VERSION):
    raise InputError(
      f"{path} is of {manifest.get('kind')} version {manifest.get('version')}, and this release"
      f" reads version {_VERSION} of {_KIND}: build the index anew, in another folder."
    )
  with reading(path, "does not describe an index of landmarks"):
    body = dict(manifest["state"])
    body["config"] = LandmarkConfig(**body["config"])
    for name in ("parts", "removed"):
      body[name] = tuple(body[name])
    return State(**body)


def write_landmarks(
  root: pathlib.Path, landmarks: Landmarks, config: LandmarkConfig, num_items: int
) -> None:
  """Writes the landmarks of an index that is to be built of N items."""
  _save(
    root / "landmarks",
    {"ids": landmarks.ids, "similarities": landmarks.similarities},
    {
      "config": dataclasses.asdict(config),
      "num_items": num_items,
      "evaluations": landmarks.evaluations,
    },
  )


def read_landmarks(root: pathlib.Path) -> tuple[Landmarks, LandmarkConfig, int] | None:
  """Reads landmarks, and the settings and number of items of the build; None = there are none."""
  if not (root / "landmarks").is_dir():
    return None
  arrays, metadata = _load(root / "landmarks")
  landmarks = Landmarks(
    np.array(arrays["ids"]), np.array(arrays["similarities"]), metadata["evaluations"]
  )
  return landmarks, LandmarkConfig(**metadata["config"]), metadata["num_items"]


def write_frame(root: pathlib.Path, frame: Frame, evaluations: int) -> None:
  """Writes the embedded landmarks, and how many evaluations chose their settings."""
  metadata = {
    "power": frame.power,
    "weighting": frame.weighting,
    "mixing": frame.mixing,
    "evaluations": evaluations,
  }
  arrays = {"anchors": frame.anchors, "mean": frame.mean, "deviation": frame.deviation}
  _save(root / "frame", arrays, metadata)


def read_frame(root: pathlib.Path) -> tuple[Frame, int] | None:
  """Reads what `write_frame` wrote; None = there is none."""
  if not (root / "frame").is_dir():
    return None
  arrays, metadata = _load(root / "frame")
  kept = {name: np.array(arrays[name]) for name in ("anchors", "mean", "deviation")}
  frame = Frame(
    **kept,
    power=metadata["power"],
    weighting=metadata["weighting"],
    mixing=metadata["mixing"],
  )
  return frame, metadata["evaluations"]


def write_profile(root: pathlib.Path, part: int, shares: np.ndarray) -> None:
  """Writes how alike the items of a part are to the landmarks, `[n, L]` in [0, 1]."""
  _save(root / f"profile-{part:06d}", {"shares": shares.astype(np.float16)}, {})


def read_profile(root: pathlib.Path, part: int) -> np.ndarray | None:
  """Returns the profiles of a part, `[n, L]` float16 by memory map; None = there are none."""
  path = root / f"profile-{part:06d}"
  return _load(path)[0]["shares"] if path.is_dir() else None


def write_points(root: pathlib.Path, part: int, placed: Placed) -> None:
  """Writes the points of a part."""
  _save(root / f"points-{part:06d}", {"points": placed.points, "stress": placed.stress}, {})


def read_points(root: pathlib.Path, part: int) -> Placed | None:
  """Returns the points of a part; None = there are none."""
  path = root / f"points-{part:06d}"
  if not path.is_dir():
    return None
  arrays, _ = _load(path)
  return Placed(arrays["points"], arrays["stress"])


def write_near(root: pathlib.Path, number: int, part: int, near: Near, evaluations: int) -> None:
  """Writes what the items of a part were compared to, and how many pairs the round evaluated."""
  arrays = {"ids": near.ids, "shares": near.shares}
  _save(_near(root, number, part), arrays, {"evaluations": evaluations})


def read_near(root: pathlib.Path, number: int, part: int) -> tuple[Near, int] | None:
  """Reads what `write_near` wrote after round `number`; None = there is none."""
  path = _near(root, number, part)
  if not path.is_dir():
    return None
  arrays, metadata = _load(path)
  return Near(arrays["ids"], arrays["shares"]), metadata["evaluations"]


def remove_older(root: pathlib.Path, state: State) -> None:
  """Removes the lists of rounds before the last."""
  for path in root.glob("near-*-*"):
    if path.name < _near(root, state.rounds, 0).name:
      files.remove_ours(path)


def _near(root: pathlib.Path, number: int, part: int) -> pathlib.Path:
  return root / f"near-{number:03d}-{part:06d}"


def _save(path: pathlib.Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]):
  files.save_bundle(path, kind=_KIND, version=_VERSION, arrays=arrays, metadata=metadata)


def _load(path: os.PathLike | str) -> tuple[Mapping[str, np.ndarray], Mapping[str, Any]]:
  bundle = files.load_bundle(path, kind=_KIND, version=_VERSION)
  return bundle.arrays, bundle.metadata
