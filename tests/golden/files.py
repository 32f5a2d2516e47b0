"""Reads golden files; an image is kept in two halves, to keep files small."""

import pathlib
from collections.abc import Mapping

import numpy as np

FOLDER = pathlib.Path(__file__).parent


def load_golden(name: str) -> Mapping[str, np.ndarray]:
  """Returns the outputs of the reference."""
  return np.load(FOLDER / f"{name}.npz")


def load_image(name: str) -> np.ndarray:
  """Returns the image that they were made from."""
  halves = [np.load(FOLDER / f"{name}_image_{half}.npz")["image"] for half in ("top", "bottom")]
  return np.concatenate(halves, axis=-3)
