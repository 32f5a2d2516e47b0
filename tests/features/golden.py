"""Golden files of the learned features; an image is kept in two halves, to keep files small."""

import pathlib
from collections.abc import Mapping

import numpy as np

_FOLDER = pathlib.Path(__file__).parents[1] / "golden"


def load_golden(name: str) -> Mapping[str, np.ndarray]:
  """Returns the outputs of the reference."""
  return np.load(_FOLDER / f"{name}.npz")


def load_image(name: str) -> np.ndarray:
  """Returns the image that they were made from."""
  halves = [np.load(_FOLDER / f"{name}_image_{half}.npz")["image"] for half in ("top", "bottom")]
  return np.concatenate(halves, axis=-3)
